"""The way in: the subscription to the pool's queue, renewed for as long as the worker lives.

A worker never declares a queue: one that is missing was never declared by an orchestrator or went with a
wiped broker, and an orchestrator must notice (rule B1). So the worker waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from tenuto.broker.protocol import Broker, Delivery, Subscription
from tenuto.errors import BrokerError, QueueMissingError

__all__ = ["Intake", "Line"]

_logger = logging.getLogger("tenuto.worker")

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 3.0
"""Seconds between attempts to subscribe."""


class Intake:
    """Consumes one pool's queue.

    `receive` is called for each delivery, in order, and must not block. `on_lost` is called when a
    subscription dies: its deliveries are the broker's again, and acknowledging them does nothing any more.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        pool: str,
        queue: str,
        prefetch: int,
        receive: Callable[[Delivery, Subscription], None],
        on_lost: Callable[[Subscription], None],
    ) -> None:
        self._broker = broker
        self._pool = pool
        self._queue = queue
        self._prefetch = prefetch
        self._receive = receive
        self._on_lost = on_lost
        self._subscription: Subscription | None = None
        self._complaint: str | None = None
        self._consuming = asyncio.Event()

    @property
    def consuming(self) -> bool:
        """Whether there is a live subscription."""
        return self._consuming.is_set()

    async def begun(self) -> None:
        """Wait until there is a live subscription."""
        await self._consuming.wait()

    async def run(self) -> None:
        """Subscribe, and again whenever the subscription is lost, until cancelled."""
        while True:
            line = Line(self._receive)
            subscription = await self._subscribe(line)
            self._subscription = subscription
            self._complaint = None
            self._consuming.set()
            _logger.info("Serving pool %r (queue %s).", self._pool, self._queue)
            line.open(subscription)
            reason = await line.lost
            self._consuming.clear()
            self._subscription = None
            _logger.warning(
                "The subscription to pool %r was lost: %s. Subscribing again.", self._pool, reason
            )
            self._on_lost(subscription)
            await subscription.close()
            # So that a subscription which is granted and lost at once does not make a busy loop.
            await asyncio.sleep(_FIRST_WAIT)

    async def cancel(self) -> None:
        """Take no more deliveries, once `run` has been cancelled.

        Those taken can still be acknowledged, until `close`.
        """
        self._consuming.clear()
        if self._subscription is not None:
            await self._subscription.cancel()

    async def close(self) -> None:
        """End the subscription; what is not acknowledged goes back to the queue."""
        if self._subscription is not None:
            await self._subscription.close()

    async def _subscribe(self, line: Line) -> Subscription:
        waits = wait_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT) + wait_random(0, _FIRST_WAIT)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(BrokerError), wait=waits, before_sleep=self._complain
        )
        return await retrying(
            self._broker.subscribe,
            self._queue,
            line.deliver,
            prefetch=self._prefetch,
            on_lost=line.lose,
        )

    def _complain(self, state: RetryCallState) -> None:
        """Say why there is no subscription, once per reason and not once per attempt."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, QueueMissingError):
            complaint = (
                f"No orchestrator has declared the queue of pool {self._pool!r} yet ({self._queue}); "
                "waiting for it."
            )
        else:
            complaint = f"The queue of pool {self._pool!r} cannot be consumed: {error}. Trying on."
        if complaint != self._complaint:
            self._complaint = complaint
            _logger.warning(complaint)


class Line:
    """The two ends of a subscription, which may be heard of before `subscribe` has returned it."""

    def __init__(self, receive: Callable[[Delivery, Subscription], None]) -> None:
        self._receive = receive
        self._early: list[Delivery] = []
        self._subscription: Subscription | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def deliver(self, delivery: Delivery) -> None:
        if self._subscription is None:
            self._early.append(delivery)
        else:
            self._receive(delivery, self._subscription)

    def lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def open(self, subscription: Subscription) -> None:
        self._subscription = subscription
        early, self._early = self._early, []
        for delivery in early:
            self._receive(delivery, subscription)
