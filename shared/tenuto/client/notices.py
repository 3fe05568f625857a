"""The process's notification queue: how owners tell that a request took effect or that an instance has moved on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import msgspec

from tenuto.broker.protocol import Broker, Delivery, QueueSpec, Subscription
from tenuto.client.link import Link, retrying
from tenuto.errors import BrokerError
from tenuto.messages import NoticeEntry, decode_notice

__all__ = ["Notices"]

logger = logging.getLogger("tenuto.client")

_PREFETCH = 500


class Notices:
    """Listens on an exclusive queue, from the first time that somebody waits until it is closed.

    The queue ends with the connection; it is then declared again under its name, so that answers to requests that are
    under way still find it.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        hear: Callable[[NoticeEntry], None],
        regained: Callable[[], None],
    ) -> None:
        """`hear` is called for each entry; `regained` after every time during which entries may have been missed."""
        self.queue = queue
        self.listening = False
        """Entries arrive at present."""
        self._link = link
        self._hear = hear
        self._regained = regained
        self._settled = asyncio.Event()
        self._lost = asyncio.Event()
        self._subscription: Subscription | None = None
        self._heard = 0
        self._task: asyncio.Task[None] | None = None

    async def prepared(self, patience: float) -> None:
        """Return as soon as it listens or has failed to, after `patience` seconds in any case."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tenuto client notices")
        if not self._settled.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._settled.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while True:
                await self._listen()
        except Exception:
            logger.exception("Notifications are off; the client looks into the database instead")
        finally:
            self._settled.set()

    async def _listen(self) -> None:
        """Subscribe, and return when the subscription is lost."""
        broker: Broker = await retrying("No notifications from the broker")(self._subscribe)
        self.listening = True
        self._settled.set()
        self._regained()
        try:
            await self._lost.wait()
        finally:
            self.listening = False
            await self._unsubscribe(broker)

    async def _subscribe(self) -> Broker:
        try:
            broker = await self._link.broker()
            self._lost.clear()
            self._subscription, self._heard = None, 0
            await broker.declare([QueueSpec(name=self.queue, type="classic", exclusive=True)])
            subscription = await broker.subscribe(
                self.queue, self._on_delivery, prefetch=_PREFETCH, on_lost=self._on_lost
            )
        except BrokerError:
            self._settled.set()
            raise
        if self._heard:  # before the subscription was in our hands
            subscription.ack(self._heard, multiple=True)
        self._subscription = subscription
        return broker

    async def _unsubscribe(self, broker: Broker) -> None:
        if self._subscription is not None:
            await self._subscription.close()
        if not self._lost.is_set():
            # The connection may be one that lives on, and the queue with it.
            with contextlib.suppress(BrokerError):
                await broker.delete(self.queue)

    def _on_lost(self, reason: str) -> None:
        logger.info("The notification queue was lost (%s) and is declared again", reason)
        self._lost.set()

    def _on_delivery(self, delivery: Delivery) -> None:
        self._heard = delivery.tag
        try:
            for entry in decode_notice(delivery.body).entries:
                self._hear(entry)
        except msgspec.DecodeError:
            logger.warning("A message on the notification queue %s is no notice, and was dropped", self.queue)
        if self._subscription is not None:
            self._subscription.ack(delivery.tag)
