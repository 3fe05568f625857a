"""The client side of the in-process broker: `Broker` and `Subscription`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Self

from tenuto.broker.checks import check_prefetch, check_queue_name
from tenuto.broker.memory.queue import Consumer
from tenuto.broker.memory.server import Connection, MemoryServer
from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import Delivery, Outcome, Outgoing, QueueInfo, QueueSpec, Subscription
from tenuto.errors import BrokerUnavailableError, SettingsError

__all__ = ["MemoryBroker", "MemorySubscription"]

_URL = "memory://"


class MemorySubscription:
    """A consumer on the in-process broker."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._consumer.ack(tag, multiple=multiple)

    def nack(self, tag: int, *, requeue: bool) -> None:
        self._consumer.nack(tag, requeue=requeue)

    async def cancel(self) -> None:
        self._consumer.cancel()

    async def close(self) -> None:
        self._consumer.close()


class MemoryBroker:
    """One client connection to a `MemoryServer`."""

    def __init__(self, server: MemoryServer, *, options: BrokerOptions | None = None) -> None:
        self._server = server
        self._options = options or BrokerOptions()
        self._open = False

    @classmethod
    def from_url(cls, url: str, options: BrokerOptions) -> Self:
        """A connection to a server of its own; share a `MemoryServer` object to have several connections to
        one.

        Raises:
            SettingsError: the URL says more than `memory://`; there is nothing more to say.
        """
        if url.lower() != _URL:
            raise SettingsError(f"The URL of the in-process broker is {_URL} and nothing more")
        return cls(MemoryServer(), options=options)

    @property
    def blocked(self) -> bool:
        """The server holds back publishers."""
        return self._open and self._server.blocked

    async def open(self) -> None:
        self._open = True
        try:
            await self._connection(self._options.connect_timeout)
        except BrokerUnavailableError:
            self._open = False
            raise

    async def close(self) -> None:
        self._open = False
        self._server.disconnect(self)

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        connection = await self._connection(self._options.operation_timeout)
        for spec in queues:
            check_queue_name(spec.name)
            self._server.declare(connection, spec)

    async def inspect(self, queue: str) -> QueueInfo | None:
        check_queue_name(queue)
        connection = await self._connection(self._options.operation_timeout)
        found = self._server.find(connection, queue)
        return None if found is None else found.info()

    async def delete(self, queue: str) -> None:
        check_queue_name(queue)
        connection = await self._connection(self._options.operation_timeout)
        self._server.delete(connection, queue)

    async def purge(self, queue: str) -> None:
        check_queue_name(queue)
        connection = await self._connection(self._options.operation_timeout)
        found = self._server.find(connection, queue)
        if found is not None:
            found.purge()

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        try:
            connection = await self._connection(self._options.publish_timeout)
        except BrokerUnavailableError:
            return [Outcome.UNKNOWN] * len(messages)
        await self._server.accepting()
        if not connection.alive:
            return [Outcome.UNKNOWN] * len(messages)
        largest = self._options.max_message_bytes
        outcomes = [
            self._server.publish(message) if len(message.body) <= largest else Outcome.REFUSED  # rule B4
            for message in messages
        ]
        # A caller that publishes in a loop must not starve the rest of the event loop, consumers first of
        # all.
        await asyncio.sleep(0)
        return outcomes if connection.alive else [Outcome.UNKNOWN] * len(messages)

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
        connection = await self._connection(self._options.operation_timeout)
        return MemorySubscription(
            self._server.consume(
                connection, queue, prefetch=prefetch, on_delivery=on_delivery, on_lost=on_lost
            )
        )

    async def _connection(self, timeout: float) -> Connection:
        connection = self._server.connection(self)
        if connection is not None:
            return connection
        if self._open:
            try:
                async with asyncio.timeout(timeout):
                    connection = await self._server.connect(self)
            except TimeoutError:
                raise BrokerUnavailableError(
                    f"The in-process broker was not there within {timeout:g} s"
                ) from None
            if self._open:
                return connection
            self._server.disconnect(self)
        raise BrokerUnavailableError(
            "The in-process broker is not open: open() it before use, and not after close()"
        )
