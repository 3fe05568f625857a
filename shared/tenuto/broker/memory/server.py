"""The server side of the in-process broker: the queues, and the connections to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tenuto.broker.memory.queue import Consumer, Queue
from tenuto.broker.protocol import Delivery, Outcome, Outgoing, QueueSpec
from tenuto.errors import BrokerError, BrokerUnavailableError, QueueMissingError

if TYPE_CHECKING:
    from tenuto.broker.memory.client import MemoryBroker

__all__ = ["Connection", "MemoryServer"]


class Connection:
    """One client's connection, until it is lost."""

    def __init__(self) -> None:
        self.alive = True
        self.consumers: dict[Consumer, None] = {}
        """In order, so that everything that happens to them happens in the same order in every run."""


class MemoryServer:
    """A message broker within the process. Use it from one event loop.

    The verbs for tests and for the simulation do to clients what happens to RabbitMQ's: `wipe`,
    `drop_connection`, `stop` and `start`, `block_publishers` and `unblock_publishers`.
    """

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._connections: dict[MemoryBroker, Connection] = {}
        self._running = asyncio.Event()
        self._running.set()
        self._accepting = asyncio.Event()
        self._accepting.set()

    # What happens to it --------------------------------------------------------------------------------

    def wipe(self) -> None:
        """Lose every queue with all that is in it; consumers are cancelled, connections stay."""
        for name in list(self._queues):
            self._remove(name)

    def drop_connection(self, broker: MemoryBroker) -> None:
        """Lose one client's connection; it reconnects by itself. No error if it has none."""
        connection = self._connections.pop(broker, None)
        if connection is not None:
            for consumer in list(connection.consumers):
                consumer.lose("the connection was lost")
            self._end(connection)

    def stop(self) -> None:
        """Lose all connections, and take no new ones until `start`. Queues keep their messages."""
        self._running.clear()
        for broker in list(self._connections):
            self.drop_connection(broker)

    def start(self) -> None:
        """Take connections again."""
        self._running.set()

    def block_publishers(self) -> None:
        """Hold back every publish, as RabbitMQ does when it is short of memory or disk."""
        self._accepting.clear()

    def unblock_publishers(self) -> None:
        """Let publishers go on."""
        self._accepting.set()

    # For clients ---------------------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        return not self._accepting.is_set()

    async def accepting(self) -> None:
        """Wait until publishers may go on."""
        await self._accepting.wait()

    def connection(self, broker: MemoryBroker) -> Connection | None:
        """The broker's connection, if it has one."""
        return self._connections.get(broker)

    async def connect(self, broker: MemoryBroker) -> Connection:
        """The broker's connection, a new one if it has none; waits while the server is stopped."""
        await self._running.wait()
        return self._connections.setdefault(broker, Connection())

    def disconnect(self, broker: MemoryBroker) -> None:
        connection = self._connections.pop(broker, None)
        if connection is not None:
            for consumer in list(connection.consumers):
                consumer.close()
            self._end(connection)

    def declare(self, connection: Connection, spec: QueueSpec) -> None:
        queue = self.find(connection, spec.name)
        if queue is None:
            owner = connection if spec.exclusive else None
            self._queues[spec.name] = Queue(spec, owner=owner, dead_letter=self._dead_letter)
        elif queue.spec != spec:
            raise BrokerError(
                f"Queue {spec.name} exists with other arguments: "
                "delete it, or use another layout or namespace"
            )

    def delete(self, connection: Connection, name: str) -> None:
        if self.find(connection, name) is not None:
            self._remove(name)

    def publish(self, message: Outgoing) -> Outcome:
        queue = self._queues.get(message.queue)
        if queue is not None:
            queue.publish(message)
            return Outcome.CONFIRMED
        return Outcome.RETURNED if message.mandatory else Outcome.CONFIRMED

    def consume(
        self,
        connection: Connection,
        name: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[str], None],
    ) -> Consumer:
        queue = self.find(connection, name)
        if queue is None:
            raise QueueMissingError(
                f"There is no queue {name}: it was not declared yet, or the broker was wiped"
            )
        consumer = Consumer(queue, connection, prefetch=prefetch, on_delivery=on_delivery, on_lost=on_lost)
        connection.consumers[consumer] = None
        queue.add(consumer)
        return consumer

    def find(self, connection: Connection, name: str) -> Queue | None:
        """A queue, if there is one and this connection may use it."""
        if not connection.alive:
            raise BrokerUnavailableError("The connection to the in-process broker was lost")
        queue = self._queues.get(name)
        if queue is not None and queue.owner is not None and queue.owner is not connection:
            raise BrokerError(f"Queue {name} is exclusive to another connection")
        return queue

    def _remove(self, name: str) -> None:
        self._queues.pop(name).cancel_consumers()

    def _end(self, connection: Connection) -> None:
        connection.alive = False
        for name in [name for name, queue in self._queues.items() if queue.owner is connection]:
            self._remove(name)

    def _dead_letter(self, source: QueueSpec, message: Outgoing) -> None:
        target = None if source.dead_letter is None else self._queues.get(source.dead_letter)
        if target is not None:
            death = {"x-first-death-queue": source.name, "x-first-death-reason": "rejected"}
            target.publish(message, death=death)
