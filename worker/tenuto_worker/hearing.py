"""What owners tell a worker: which of its tasks nobody waits for any more.

They say it on a queue of the worker's own, which ends with its connection. It is made when the worker has something to
report in a beat for the first time; before, no owner knows that the worker has anything of theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential, wait_random

from tenuto.broker.protocol import Broker, Delivery, QueueSpec, Subscription
from tenuto.errors import BrokerError
from tenuto.messages import Unwanted, decode_dropped
from tenuto_worker.intake import Line

__all__ = ["Hearing"]

_logger = logging.getLogger("tenuto.worker")
_PREFETCH: Final = 100
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
"""Seconds between attempts to subscribe. What is missed meanwhile is said again after the next beat."""


class Hearing:
    """Listens until cancelled, from the first call of `begin` on."""

    def __init__(self, broker: Broker, queue: str, on_dropped: Callable[[Sequence[Unwanted]], None]) -> None:
        self._broker = broker
        self._queue = queue
        self._on_dropped = on_dropped
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """From now on owners may have something to say. Tolerates repeats."""
        self._begun.set()

    async def run(self) -> None:
        await self._begun.wait()
        try:
            while True:
                line = Line(self._hear)
                subscription = await self._subscribe(line)
                line.open(subscription)
                try:
                    await line.lost
                finally:
                    await subscription.close()
        finally:
            # The connection may be one that lives on, and the queue with it.
            with contextlib.suppress(BrokerError):
                await self._broker.delete(self._queue)

    async def _subscribe(self, line: Line) -> Subscription:
        waits = wait_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT) + wait_random(0, _FIRST_WAIT)
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(BrokerError), wait=waits):
            with attempt:
                await self._broker.declare([QueueSpec(name=self._queue, type="classic", exclusive=True)])
                return await self._broker.subscribe(
                    self._queue, line.deliver, prefetch=_PREFETCH, on_lost=line.lose
                )
        raise AssertionError("it is tried for ever")

    def _hear(self, delivery: Delivery, subscription: Subscription) -> None:
        try:
            self._on_dropped(decode_dropped(delivery.body).tasks)
        except msgspec.DecodeError:
            _logger.warning("A message on the worker's queue %s cannot be read; it is dropped.", self._queue)
        subscription.ack(delivery.tag)
