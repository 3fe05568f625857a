"""What the parts of the suite share: clients of the broker under test, and a consumer that keeps what it gets."""
# ruff: noqa: S101 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

import pytest

from tenuto.broker import (
    Broker,
    BrokerOptions,
    Delivery,
    Outgoing,
    QueueInfo,
    QueueSpec,
    Subscription,
)

__all__ = ["PATIENCE", "BrokerFactory", "Consumer", "Fixtures", "bodies", "numbered", "until_inspected"]

BrokerFactory: TypeAlias = Callable[[BrokerOptions], Broker]

PATIENCE = 20.0
"""Seconds until what must happen has happened. Nothing is judged by how long it took."""


class Consumer:
    """Keeps what a subscription gets."""

    def __init__(self) -> None:
        self.deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self.losses: list[str] = []
        self._lost = asyncio.Event()
        self._subscription: Subscription | None = None

    @classmethod
    async def start(cls, broker: Broker, queue: str, *, prefetch: int = 100) -> Consumer:
        consumer = cls()
        consumer._subscription = await broker.subscribe(
            queue, consumer.deliveries.put_nowait, prefetch=prefetch, on_lost=consumer._lose
        )
        return consumer

    @property
    def subscription(self) -> Subscription:
        assert self._subscription is not None
        return self._subscription

    async def take(self, number: int = 1) -> list[Delivery]:
        """The next deliveries; waits for them."""
        async with asyncio.timeout(PATIENCE):
            return [await self.deliveries.get() for _ in range(number)]

    async def lost(self) -> None:
        """Wait until the subscription is lost."""
        async with asyncio.timeout(PATIENCE):
            await self._lost.wait()

    def _lose(self, reason: str) -> None:
        self.losses.append(reason)
        self._lost.set()


async def until_inspected(broker: Broker, queue: str, expected: QueueInfo | None) -> None:
    """Look at a queue until it is as expected: a broker may forget a consumer a little after it told the consumer."""
    async with asyncio.timeout(PATIENCE):
        while await broker.inspect(queue) != expected:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.01)


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def numbered(queue: str, count: int) -> list[Outgoing]:
    return [Outgoing(queue=queue, body=b"%d" % number) for number in range(count)]


class Fixtures:
    queue_type = "quorum"

    @pytest.fixture
    def make(self) -> BrokerFactory:
        """A new client, not yet open, of the server under test."""
        raise NotImplementedError("derive a class and override the fixture `make`")

    @pytest.fixture
    def prefix(self) -> str:
        """What the names of all queues of a test begin with."""
        return f"contract-{secrets.token_hex(5)}"

    @pytest.fixture
    async def broker(self, make: BrokerFactory) -> AsyncIterator[Broker]:
        broker = make(BrokerOptions(name="contract"))
        await broker.open()
        yield broker
        await broker.close()

    @pytest.fixture
    async def other(self, make: BrokerFactory) -> AsyncIterator[Broker]:
        """A second client of the same server."""
        broker = make(BrokerOptions(name="contract-other"))
        await broker.open()
        yield broker
        await broker.close()

    @pytest.fixture
    async def queue(self, broker: Broker, prefix: str) -> str:
        """A declared queue."""
        name = f"{prefix}.queue"
        await broker.declare([QueueSpec(name=name, type=self.queue_type)])
        return name
