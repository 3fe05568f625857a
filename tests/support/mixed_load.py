"""A client under load with workflows of every kind, that holds out while servers are away, and knows what must come out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
    wait_random_exponential,
)

from tenuto import Client, Publisher
from tenuto.client import WorkflowHandle
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.errors import (
    BrokerUnavailableError,
    NotFoundError,
    QueueMissingError,
    StoreUnavailableError,
    TenutoError,
)
from tests.support import chaos_app
from tests.support import sample_app as sample

__all__ = ["MixedLoad", "Order"]

_SAME = ReusePolicy(action=ReuseAction.IGNORE, statuses=frozenset(Status))
_AWAY = (StoreUnavailableError, BrokerUnavailableError, QueueMissingError, TimeoutError)
_BAD_NEWS = (TenutoError, TimeoutError)
_TAKEN_IN = 10.0
"""Seconds after which a start by the public door that nobody has taken in is published again: a broker that was wiped has
lost it, and its sender alone can know of it."""


@dataclass(kw_only=True)
class Order:
    """An instance that was asked for, and what came of it."""

    instance: str
    workflow: Any
    input: Any
    expected: Any
    by_door: bool = False
    """Started by a message to the public queue, several times."""
    accepted: bool = False
    """Its start is known to be durable."""
    result: Any = None
    ended: bool = False
    seconds: float = 0.0
    error: str | None = None
    """What the client raised that was no outage."""


class MixedLoad:
    """Keeps `window` orders going until told to stop. What is ordered depends on the seed alone."""

    def __init__(
        self, client: Client, publisher: Publisher, *, seed: int, window: int, patience: float = 240.0
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._seed = seed
        self._window = window
        self._patience = patience
        self._stopping = False
        self._number = 0
        self.orders: list[Order] = []

    def stop(self) -> None:
        """Order nothing new; `run` returns when all that was ordered has ended, or patience has."""
        self._stopping = True

    @property
    def finished(self) -> int:
        return sum(order.ended for order in self.orders)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._window):
                group.create_task(self._keep_ordering())

    async def _keep_ordering(self) -> None:
        while not self._stopping:
            number, self._number = self._number, self._number + 1
            orders = make_orders(number, Random(f"{self._seed}/{number}"))
            self.orders += orders
            await self._see_through(orders)

    async def _see_through(self, orders: list[Order]) -> None:
        """Start them one after the other, since an event to an instance that is not there yet is nobody's; then wait."""
        began = asyncio.get_running_loop().time()
        try:
            handles = [await self._holding_out(partial(self._start, order)) for order in orders]
        except _BAD_NEWS as error:
            orders[0].error = _words(error)
            return
        await asyncio.gather(
            *(self._await_end(order, handle, began) for order, handle in zip(orders, handles, strict=True))
        )

    async def _await_end(self, order: Order, handle: WorkflowHandle[Any], began: float) -> None:
        try:
            order.result = await self._holding_out(partial(handle.result, timeout=30.0))
            order.ended = True
        except _BAD_NEWS as error:
            order.error = _words(error)
        order.seconds = asyncio.get_running_loop().time() - began

    async def _start(self, order: Order) -> WorkflowHandle[Any]:
        if order.by_door:
            handle = await self._start_by_door(order)
        else:
            handle = await self._client.start(
                order.workflow, order.input, instance_id=order.instance, reuse=_SAME
            )
        order.accepted = True
        return handle

    async def _start_by_door(self, order: Order) -> WorkflowHandle[Any]:
        """Publish the start twice, under one message id, and wait until the instance is there (rule N2)."""
        handle = self._client.get(order.instance, order.workflow)
        for _ in range(2):
            await self._publisher.start(
                order.workflow, order.input, instance_id=order.instance, message_id=f"m-{order.instance}"
            )
        await self._until_there(handle)
        return handle

    @staticmethod
    async def _until_there(handle: WorkflowHandle[Any]) -> None:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(NotFoundError),
            wait=wait_fixed(0.3),
            stop=stop_after_delay(_TAKEN_IN),
        )
        try:
            await attempts(handle.status)
        except RetryError as error:
            raise TimeoutError(f"{handle.instance_id} is not there yet") from error

    async def _holding_out(self, ask: Callable[[], Any]) -> Any:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_AWAY),
            wait=wait_random_exponential(multiplier=0.2, max=3.0),
            stop=stop_after_delay(self._patience),
            reraise=True,
        )
        return await attempts(ask)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def make_orders(number: int, random: Random) -> list[Order]:
    """One instance, or two that have to do with each other."""
    kind = random.choice(_KINDS)
    return kind(f"{kind.__name__.removeprefix('_')}-{number}", random)


def _chain(name: str, random: Random) -> list[Order]:
    order = sample.Chain(seed=name, steps=random.randint(1, 8))
    return [Order(instance=name, workflow=sample.chain, input=order, expected=sample.expected_chain(order))]


def _door(name: str, random: Random) -> list[Order]:
    order = sample.Chain(seed=name, steps=random.randint(1, 4))
    expected = sample.expected_chain(order)
    return [Order(instance=name, workflow=sample.chain, input=order, expected=expected, by_door=True)]


def _fan(name: str, random: Random) -> list[Order]:
    width = random.randint(1, 40)
    return [
        Order(instance=name, workflow=sample.fan_out, input=width, expected=sample.expected_fan_out(width))
    ]


def _naps(name: str, random: Random) -> list[Order]:
    order = sample.Naps(count=random.randint(1, 3), seconds=random.uniform(0.1, 2.0))
    return [Order(instance=name, workflow=sample.naps, input=order, expected=sample.expected_naps(order))]


def _family(name: str, random: Random) -> list[Order]:
    order = sample.Family(seed=name, children=random.randint(1, 4), steps=random.randint(1, 3))
    return [Order(instance=name, workflow=sample.family, input=order, expected=sample.expected_family(order))]


def _generations(name: str, random: Random) -> list[Order]:
    order = sample.Generations(left=random.randint(1, 5), value=name)
    expected = sample.expected_generations(order)
    return [Order(instance=name, workflow=sample.generations, input=order, expected=expected)]


def _stubborn(name: str, random: Random) -> list[Order]:
    attempt = random.randint(2, 5)
    expected = sample.expected_stubborn(attempt)
    return [Order(instance=name, workflow=sample.stubborn, input=attempt, expected=expected)]


def _toil(name: str, random: Random) -> list[Order]:
    order = chaos_app.Toil(name=name, tasks=random.randint(1, 4), seconds=random.uniform(0.1, 3.0))
    return [
        Order(instance=name, workflow=chaos_app.toil, input=order, expected=chaos_app.expected_toil(order))
    ]


def _relay(name: str, random: Random) -> list[Order]:
    count = random.randint(1, 5)
    order = sample.Relay(receiver=f"{name}-gather", count=count)
    return [
        Order(
            instance=order.receiver,
            workflow=sample.gather,
            input=count,
            expected=sample.expected_gather(count),
        ),
        Order(instance=name, workflow=sample.relay, input=order, expected=sample.expected_relay(order)),
    ]


_KINDS: tuple[Callable[[str, Random], list[Order]], ...] = (
    _chain,
    _door,
    _fan,
    _naps,
    _family,
    _generations,
    _stubborn,
    _toil,
    _relay,
)
