"""A subscription: one consumer on a channel of its own (rule O4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import assert_never

from pamqp import commands as spec

from tenuto.broker.protocol import Delivery
from tenuto.broker.rabbitmq.channel import Channel, Delivered, Received, Returned
from tenuto.broker.rabbitmq.codec import delivery
from tenuto.errors import BrokerError

__all__ = ["RabbitSubscription"]

logger = logging.getLogger("tenuto.broker")

_CONSUMER = "tenuto"
"""Consumer tags need be unique on a channel only."""


class _State(Enum):
    STARTING = auto()
    """Until `subscribe` has returned; what is delivered already waits."""
    LIVE = auto()
    OVER = auto()


class RabbitSubscription:
    """See `Subscription`. The tags are those of its channel (rule C8)."""

    def __init__(
        self,
        queue: str,
        channel: Channel,
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._channel = channel
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._state = _State.STARTING
        self._early: list[Delivered] = []
        self._lost: str | None = None

    async def start(self, prefetch: int) -> None:
        """Begin to consume.

        Raises:
            RefusedError: the broker refuses, as for a queue that does not exist (404).
            BrokerUnavailableError: the connection is lost.
        """
        self._channel.listen(on_received=self._receive, on_ended=self._end)
        await self._channel.call(spec.Basic.Qos(prefetch_count=prefetch), spec.Basic.QosOk)
        await self._channel.call(
            spec.Basic.Consume(queue=self._queue, consumer_tag=_CONSUMER), spec.Basic.ConsumeOk
        )

    def begin(self) -> None:
        """Hand over what came early, and from now on everything as it comes."""
        if self._state is not _State.STARTING:
            return
        self._state = _State.LIVE
        early, self._early = self._early, []
        for message in early:
            self._deliver(message)
        if self._lost is not None:
            self._lose(self._lost)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        if self._state is not _State.OVER:  # behind Channel.Close it would cost the whole connection
            self._channel.write_soon(spec.Basic.Ack(delivery_tag=tag, multiple=multiple))

    def nack(self, tag: int, *, requeue: bool) -> None:
        if self._state is not _State.OVER:
            self._channel.write_soon(spec.Basic.Nack(delivery_tag=tag, requeue=requeue))

    async def cancel(self) -> None:
        if not self._channel.ended:
            try:
                await self._channel.call(spec.Basic.Cancel(consumer_tag=_CONSUMER), spec.Basic.CancelOk)
            except BrokerError:
                # The channel has ended, and `on_lost` has told why.
                return

    async def close(self) -> None:
        self._state = _State.OVER
        await self._channel.close()

    def _receive(self, received: Received) -> None:
        match received:
            case Delivered():
                if self._state is _State.STARTING:
                    self._early.append(received)
                else:
                    self._deliver(received)
            case spec.Basic.Cancel():
                self._lose("the broker cancelled the consumer: the queue was deleted or moved")
            case Returned() | spec.Basic.Ack() | spec.Basic.Nack():
                pass  # nothing is published here
            case _:
                assert_never(received)

    def _deliver(self, message: Delivered) -> None:
        if self._state is not _State.LIVE:
            return
        try:
            self._on_delivery(delivery(message))
        except Exception:
            logger.exception("The consumer of queue %s failed on a delivery", self._queue)
            self._lose("its on_delivery raised an exception")

    def _end(self, error: BrokerError) -> None:
        self._lose(str(error))

    def _lose(self, reason: str) -> None:
        match self._state:
            case _State.STARTING:
                self._lost = reason
            case _State.LIVE:
                self._state = _State.OVER
                self._channel.abandon()
                self._tell(reason)
            case _State.OVER:
                pass
            case _:
                assert_never(self._state)

    def _tell(self, reason: str) -> None:
        try:
            self._on_lost(reason)
        except Exception:
            # Let through, it would end the connection's reader, and with it every other subscription.
            logger.exception("The consumer of queue %s failed on the loss of its subscription", self._queue)
