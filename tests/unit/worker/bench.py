"""A worker's surroundings in a test: an owner that sends tasks and collects what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from tenuto.app import App
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.protocol import (
    Broker,
    Delivery,
    Outcome,
    Outgoing,
    QueueInfo,
    QueueSpec,
    Subscription,
)
from tenuto.faults import NO_FAULTS, Faults
from tenuto.messages import (
    ActivityResult,
    ActivityTask,
    Beat,
    Results,
    Returned,
    TaskRef,
    Tasks,
    TurnMessage,
    decode_turn_message,
    encode,
)
from tenuto.naming import Names
from tenuto.settings import WorkerSettings
from tenuto_worker import Worker

PATIENCE = 30.0
"""Seconds after which a test that waits for something fails."""


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing in this process can tell of, such as a file of another process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  another process sets no event here
            await asyncio.sleep(0.005)


class Owner:
    """Plays the orchestrator: declares the queues, sends tasks, and collects what the worker says."""

    def __init__(self, broker: Broker, namespace: str, *, pool: str = "default", partitions: int = 2) -> None:
        names = Names(namespace)
        self.broker = broker
        self.pool_queue = names.activities(pool)
        self.dead_queue = names.dead
        self.turn_queues = [names.turns(partition) for partition in range(partitions)]
        self.heard: list[tuple[str, TurnMessage]] = []
        self._changed = asyncio.Event()

    async def declare(self) -> None:
        await self.broker.declare([QueueSpec(name=self.dead_queue, type="classic")])
        await self.broker.declare(
            [QueueSpec(name=self.pool_queue, type="classic", dead_letter=self.dead_queue)]
        )
        await self.broker.declare([QueueSpec(name=name, type="classic") for name in self.turn_queues])

    async def listen(self) -> None:
        for queue in self.turn_queues:
            ear = _Ear(self, queue)
            ear.subscription = await self.broker.subscribe(queue, ear.hear, prefetch=1000, on_lost=ear.lost)

    async def send(self, *tasks: ActivityTask) -> None:
        """Send tasks in one message."""
        await self.send_raw(encode(Tasks(tasks=list(tasks))))

    async def send_raw(self, body: bytes) -> None:
        (outcome,) = await self.broker.publish([Outgoing(queue=self.pool_queue, body=body)])
        assert outcome is Outcome.CONFIRMED

    def task(
        self, name: str, value: Any = None, /, *, turn: int = 0, command: int = 0, **fields: Any
    ) -> ActivityTask:
        """A task of instance `order-1`."""
        return ActivityTask(
            **{
                "instance": "order-1",
                "run": "r1",
                "generation": 0,
                "command": command,
                "attempt": 1,
                "name": name,
                "input": msgspec.Raw(msgspec.json.encode(value)),
                "workflow": "fulfil",
                "key": f"key-{command}",
                "reply_to": self.turn_queues[turn],
                **fields,
            }
        )

    @property
    def results(self) -> list[ActivityResult]:
        return [
            result for _, message in self.heard if isinstance(message, Results) for result in message.results
        ]

    @property
    def returned(self) -> list[Returned]:
        return [message for _, message in self.heard if isinstance(message, Returned)]

    @property
    def returned_commands(self) -> list[int]:
        return [task.command for message in self.returned for task in message.tasks]

    @property
    def beats(self) -> list[Beat]:
        return [message for _, message in self.heard if isinstance(message, Beat)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition, on what was heard, holds."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise TimeoutError(f"what was heard: {[message for _, message in self.heard]}") from error

    async def result(self) -> ActivityResult:
        """Wait for exactly one result."""
        await self.until(lambda: bool(self.results))
        (result,) = self.results
        return result

    async def ask(self, name: str, value: Any = None, /, **fields: Any) -> ActivityResult:
        """Send one task and wait for its result."""
        await self.send(self.task(name, value, **fields))
        return await self.result()

    async def ready_messages(self) -> int:
        """Messages that wait in the pool's queue."""
        info = await self.broker.inspect(self.pool_queue)
        assert info is not None
        return info.messages

    def note(self, queue: str, message: TurnMessage) -> None:
        self.heard.append((queue, message))
        self._changed.set()


class _Ear:
    def __init__(self, owner: Owner, queue: str) -> None:
        self._owner = owner
        self._queue = queue
        self._early: list[int] = []
        self._subscription: Subscription | None = None

    @property
    def subscription(self) -> Subscription | None:
        return self._subscription

    @subscription.setter
    def subscription(self, subscription: Subscription) -> None:
        self._subscription = subscription
        for tag in self._early:
            subscription.ack(tag)

    def hear(self, delivery: Delivery) -> None:
        self._owner.note(self._queue, decode_turn_message(delivery.body))
        if self._subscription is None:
            self._early.append(delivery.tag)
        else:
            self._subscription.ack(delivery.tag)

    def lost(self, reason: str) -> None:
        """The test took the queue away, and will see that nothing comes."""


@dataclass
class Spied:
    """A subscription whose acknowledgements are written down."""

    inner: Subscription
    acked: list[int]

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self.acked.append(tag)
        self.inner.ack(tag, multiple=multiple)

    def nack(self, tag: int, *, requeue: bool) -> None:
        self.inner.nack(tag, requeue=requeue)

    async def cancel(self) -> None:
        await self.inner.cancel()

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class SpyBroker:
    """A broker that writes down what is published and acknowledged, and whose publishing a test can hold back or spoil."""

    inner: Broker
    published: list[list[Outgoing]] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    """Deliveries from pools' queues."""
    spoil: list[Outcome] = field(default_factory=list)
    """Outcomes of the next messages, one each, which are not really published."""
    limit: int | None = None
    """Larger bodies are REFUSED."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Publishing waits until it is set; it is, unless a test clears it."""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a publish waits at the gate."""

    def __post_init__(self) -> None:
        self.gate.set()

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        self.waiting.set()
        await self.gate.wait()
        self.published.append(list(messages))
        return [await self._outcome(message) for message in messages]

    async def _outcome(self, message: Outgoing) -> Outcome:
        if self.spoil:
            return self.spoil.pop(0)
        if self.limit is not None and len(message.body) > self.limit:
            return Outcome.REFUSED
        (outcome,) = await self.inner.publish([message])
        return outcome

    async def subscribe(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        on_lost: Callable[[str], None],
    ) -> Subscription:
        inner = await self.inner.subscribe(queue, on_delivery, prefetch=prefetch, on_lost=on_lost)
        return Spied(inner, self.acked if ".activities." in queue else [])

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        await self.inner.declare(queues)

    async def inspect(self, queue: str) -> QueueInfo | None:
        return await self.inner.inspect(queue)

    async def delete(self, queue: str) -> None:
        await self.inner.delete(queue)

    async def purge(self, queue: str) -> None:
        await self.inner.purge(queue)


class Bench:
    """An in-process broker, an owner on it, and workers."""

    def __init__(self, namespace: str = "bench") -> None:
        self.namespace = namespace
        self.server = MemoryServer()
        self.owner = Owner(MemoryBroker(self.server), namespace)
        self._workers: list[tuple[Worker, Broker]] = []

    async def __aenter__(self) -> Self:
        await self.owner.broker.open()
        await self.owner.declare()
        await self.owner.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker, broker in self._workers:
            await worker.stop()
            await broker.close()
        await self.owner.broker.close()

    def settings(self, **values: Any) -> WorkerSettings:
        return WorkerSettings(**{"namespace": self.namespace, "grace": 0.0, **values})

    @staticmethod
    def reference(task: TaskRef) -> TaskRef:
        return TaskRef(**{name: getattr(task, name) for name in TaskRef.__struct_fields__})

    def spy(self) -> SpyBroker:
        return SpyBroker(MemoryBroker(self.server))

    async def worker(
        self,
        app: App,
        *,
        broker: Broker | None = None,
        faults: Faults = NO_FAULTS,
        ready: bool = True,
        **settings: Any,
    ) -> Worker:
        """A started worker, ready unless that is not to be waited for."""
        broker = broker or MemoryBroker(self.server)
        worker = Worker(app, broker, self.settings(**settings), faults=faults)
        self._workers.append((worker, broker))
        await worker.start()
        if ready:
            await asyncio.wait_for(worker.until_ready(), PATIENCE)
        return worker

    @asynccontextmanager
    async def lost_once(self) -> AsyncIterator[None]:
        """What is sent in the block is delivered to a worker that dies with it, so that it comes again, redelivered."""
        broker = MemoryBroker(self.server)
        await broker.open()
        taken = asyncio.Event()
        await broker.subscribe(
            self.owner.pool_queue, lambda _: taken.set(), prefetch=100, on_lost=lambda _: None
        )
        yield
        await asyncio.wait_for(taken.wait(), PATIENCE)
        await broker.close()


def outcomes(results: Sequence[ActivityResult]) -> Mapping[int, Any]:
    """By command: the decoded result, or the failure."""
    return {
        result.command: result.failure if result.result is None else msgspec.json.decode(result.result)
        for result in results
    }
