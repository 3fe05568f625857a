"""A queue of the in-process broker, and its consumers."""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING

from tenuto.broker.protocol import Delivery, Outgoing, QueueInfo, QueueSpec

if TYPE_CHECKING:
    from tenuto.broker.memory.server import Connection

__all__ = ["Consumer", "Queue"]

logger = logging.getLogger("tenuto.broker")

_BATCH = 256
"""Deliveries between two looks at the rest of the event loop."""


@dataclass(slots=True, kw_only=True)
class _Message:
    outgoing: Outgoing
    position: int
    """Its place in the queue, kept when it is given back."""
    redelivered: bool = False
    death: Mapping[str, str] = field(default_factory=dict)
    """The headers that dead-lettering added, as RabbitMQ names them."""

    def delivery(self, tag: int) -> Delivery:
        sent = self.outgoing
        return Delivery(
            tag=tag,
            body=sent.body,
            redelivered=self.redelivered,
            message_id=sent.message_id,
            correlation_id=sent.correlation_id,
            reply_to=sent.reply_to,
            timestamp=None if sent.timestamp is None else float(int(sent.timestamp)),
            headers={**sent.headers, **self.death},
        )


_position = attrgetter("position")


class Queue:
    """Messages that are ready, and the consumers that take them in turn."""

    def __init__(
        self, spec: QueueSpec, *, owner: Connection | None, dead_letter: Callable[[QueueSpec, Outgoing], None]
    ) -> None:
        self.spec = spec
        self.owner = owner
        """The only connection that may use it, if it is exclusive."""
        self._dead_letter = dead_letter
        self._ready: deque[_Message] = deque()
        self._consumers: deque[Consumer] = deque()
        self._published = 0
        self._awake = False

    def info(self) -> QueueInfo:
        return QueueInfo(messages=len(self._ready), consumers=len(self._consumers))

    def publish(self, outgoing: Outgoing, *, death: Mapping[str, str] | None = None) -> None:
        self._published += 1
        self._ready.append(_Message(outgoing=outgoing, position=self._published, death=death or {}))
        self.wake()

    def purge(self) -> None:
        self._ready.clear()

    def add(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        self.wake()

    def remove(self, consumer: Consumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def cancel_consumers(self) -> None:
        """The queue is gone: what its consumers hold is gone with it."""
        self._ready.clear()
        for consumer in list(self._consumers):
            consumer.unacked.clear()
            consumer.lose("the broker cancelled the consumer: the queue was deleted")

    def give_back(self, messages: list[_Message]) -> None:
        """Put unacknowledged messages, oldest first, back to where they were."""
        for message in reversed(messages):
            message.redelivered = True
            if not self._ready or message.position < self._ready[0].position:
                self._ready.appendleft(message)
            else:
                bisect.insort(self._ready, message, key=_position)
        self.wake()

    def reject(self, message: _Message) -> None:
        self._dead_letter(self.spec, message.outgoing)

    def wake(self) -> None:
        """Deliver soon, if there is anything to deliver and anybody to deliver to."""
        if self._ready and self._consumers and not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._awake = False
        for _ in range(_BATCH):
            if not self._ready:
                return
            consumer = self._next_with_room()
            if consumer is None:
                return
            consumer.deliver(self._ready.popleft())
        self.wake()

    def _next_with_room(self) -> Consumer | None:
        for _ in range(len(self._consumers)):
            consumer = self._consumers[0]
            self._consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None


class Consumer:
    """The server's side of a subscription."""

    def __init__(
        self,
        queue: Queue,
        connection: Connection,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.unacked: dict[int, _Message] = {}
        self._queue = queue
        self._connection = connection
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._tag = 0
        self._live = True
        self._told = False

    @property
    def has_room(self) -> bool:
        return self._live and len(self.unacked) < self._prefetch

    def deliver(self, message: _Message) -> None:
        self._tag += 1
        self.unacked[self._tag] = message
        try:
            self._on_delivery(message.delivery(self._tag))
        except Exception:
            logger.exception("The consumer of queue %s failed on a delivery", self._queue.spec.name)
            self.lose("its on_delivery raised an exception")

    def ack(self, tag: int, *, multiple: bool) -> None:
        if not self._live:
            return
        if tag not in self.unacked:
            self.lose(f"unknown delivery tag {tag}")
            return
        for settled in list(takewhile(tag.__ge__, self.unacked)) if multiple else (tag,):
            del self.unacked[settled]
        self._queue.wake()

    def nack(self, tag: int, *, requeue: bool) -> None:
        if not self._live:
            return
        message = self.unacked.pop(tag, None)
        if message is None:
            self.lose(f"unknown delivery tag {tag}")
        elif requeue:
            self._queue.give_back([message])
        else:
            self._queue.reject(message)
            self._queue.wake()

    def cancel(self) -> None:
        """Deliver nothing more; what was delivered can still be settled."""
        self._queue.remove(self)

    def lose(self, reason: str) -> None:
        """End it from the server's side and tell its user why: soon, so that nobody is called back from
        within a call."""
        if self._live:
            self._end()
            asyncio.get_running_loop().call_soon(self._tell, reason)

    def close(self) -> None:
        """End it from the user's side, who is told nothing any more."""
        self._told = True
        if self._live:
            self._end()

    def _end(self) -> None:
        self._live = False
        self._connection.consumers.pop(self, None)
        self._queue.remove(self)
        unacked, self.unacked = list(self.unacked.values()), {}
        self._queue.give_back(unacked)

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._on_lost(reason)
