"""The verbs of the `Broker` protocol, on RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from pamqp import commands as spec

from tenuto.broker.checks import check_prefetch, check_queue_name
from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import Delivery, Outcome, Outgoing, QueueInfo, QueueSpec, Subscription
from tenuto.broker.rabbitmq.address import Address
from tenuto.broker.rabbitmq.channel import Channel, RefusedError
from tenuto.broker.rabbitmq.consuming import RabbitSubscription
from tenuto.broker.rabbitmq.link import Link
from tenuto.broker.rabbitmq.publishing import Publisher
from tenuto.errors import BrokerError, QueueMissingError

__all__ = ["RabbitBroker"]

_NOT_FOUND: Final = 404
_PRECONDITION_FAILED: Final = 406


class RabbitBroker:
    """A client of a RabbitMQ, over two connections."""

    def __init__(self, address: Address, options: BrokerOptions) -> None:
        self._address = address
        self._options = options
        self._consuming = Link(address, name=options.name, purpose="consuming")
        self._publishing = Link(address, name=options.name, purpose="publishing")
        self._publisher = Publisher(self._publishing, options)
        self._subscriptions: set[RabbitSubscription] = set()

    @classmethod
    def from_url(cls, url: str, options: BrokerOptions) -> Self:
        """A client for `amqp://user:password@host:5672/vhost` or `amqps://…`; aiormq's query parameters
        (`cafile`, `certfile`, `keyfile`, …) are passed on.

        Raises:
            SettingsError: the URL is malformed.
        """
        return cls(Address.parse(url, options), options)

    @property
    def blocked(self) -> bool:
        """The broker holds back publishers: it is short of memory or disk."""
        return self._publisher.blocked

    async def open(self) -> None:
        await self._consuming.open(self._options.connect_timeout)
        try:
            await self._publishing.open(self._options.connect_timeout)
        except BaseException:
            await self._consuming.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions))
        await self._publisher.close()
        await self._publishing.close()
        await self._consuming.close()

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        async with self._channel() as channel:
            for queue in queues:
                check_queue_name(queue.name)
                await self._declare(channel, queue)

    async def inspect(self, queue: str) -> QueueInfo | None:
        check_queue_name(queue)
        async with self._channel() as channel:
            try:
                found = await channel.call(
                    spec.Queue.Declare(queue=queue, passive=True), spec.Queue.DeclareOk
                )
            except RefusedError as error:
                if error.code == _NOT_FOUND:
                    return None
                raise
        return QueueInfo(messages=found.message_count or 0, consumers=found.consumer_count or 0)

    async def delete(self, queue: str) -> None:
        check_queue_name(queue)
        async with self._channel() as channel:
            await channel.call(spec.Queue.Delete(queue=queue), spec.Queue.DeleteOk)

    async def purge(self, queue: str) -> None:
        check_queue_name(queue)
        async with self._channel() as channel:
            try:
                await channel.call(spec.Queue.Purge(queue=queue), spec.Queue.PurgeOk)
            except RefusedError as error:
                if error.code != _NOT_FOUND:
                    raise

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        return await self._publisher.publish(messages)

    async def subscribe(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        on_lost: Callable[[str], None],
    ) -> Subscription:
        check_queue_name(queue)
        check_prefetch(prefetch)
        channel = await self._open_channel()
        subscription = RabbitSubscription(queue, channel, on_delivery, on_lost)
        try:
            await subscription.start(prefetch)
        except RefusedError as error:
            if error.code == _NOT_FOUND:
                raise QueueMissingError(
                    f"There is no queue {queue}: it was not declared yet, or the broker was wiped"
                ) from error
            raise
        # Not before the caller has the subscription in its hands, to acknowledge on.
        asyncio.get_running_loop().call_soon(subscription.begin)
        self._subscriptions.add(subscription)
        channel.end.add_done_callback(lambda _: self._subscriptions.discard(subscription))
        return subscription

    async def _declare(self, channel: Channel, queue: QueueSpec) -> None:
        try:
            await channel.call(
                spec.Queue.Declare(
                    queue=queue.name,
                    durable=not queue.exclusive,
                    exclusive=queue.exclusive,
                    arguments=self._arguments(queue),
                ),
                spec.Queue.DeclareOk,
            )
        except RefusedError as error:
            if error.code == _PRECONDITION_FAILED:
                raise BrokerError(
                    f"Queue {queue.name} exists with other arguments: delete it, or use another layout or "
                    f"namespace ({error})"
                ) from error
            raise

    def _arguments(self, queue: QueueSpec) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if queue.type == "quorum" and not queue.exclusive:
            # rule B3: 4.x drops a message after 20 deliveries, and classic queues refuse the limit
            arguments |= {"x-queue-type": "quorum", "x-delivery-limit": self._options.delivery_limit}
        else:
            arguments["x-queue-type"] = "classic"
        if queue.dead_letter is not None:
            arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue.dead_letter}
        return arguments

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        """A channel to throw away: what the broker refuses closes it."""
        channel = await self._open_channel()
        try:
            yield channel
        finally:
            await channel.close()

    async def _open_channel(self) -> Channel:
        timeout = self._options.operation_timeout
        return await Channel.open(await self._consuming.connection(timeout), timeout=timeout)
