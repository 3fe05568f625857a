"""An engine for client tests: a real store, the in-process broker, and an owner that does just what it is told.

The owner takes letters from the inbox and answers them as an orchestrator does, by the verbs of the store, but runs no
workflows: a test says how an instance ends. Nothing here waits for time to pass.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import msgspec

from tenuto.broker import make_broker
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.protocol import Broker, Delivery, Outgoing, QueueSpec
from tenuto.client import Client
from tenuto.clock import SYSTEM_CLOCK
from tenuto.core.letters import (
    Letter,
    Purge,
    Raise,
    Request,
    Rerun,
    Resume,
    Start,
    Suspend,
    Terminate,
    decode_letter,
)
from tenuto.core.status import ReuseAction, Status
from tenuto.errors import BrokerUnavailableError
from tenuto.messages import Bell, Notice, NoticeEntry, Watch, decode_turn_message, encode
from tenuto.naming import Names
from tenuto.settings import ClientSettings
from tenuto.store import make_store
from tenuto.store.protocol import (
    Deployment,
    HistoryRow,
    InboxRow,
    InstanceDelete,
    InstanceRecord,
    InstanceUpdate,
    Member,
    PartitionWrites,
    Store,
)

NEVER = 3600.0
"""An interval after which a test has long failed: only a notification can have ended a wait."""
OFTEN = 0.01
LEASE = timedelta(hours=1)


class Spy:
    """A store that counts its calls, and in which a test can hold a verb back."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.arguments: dict[str, list[Any]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}
        self.entered: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def __getattr__(self, verb: str) -> Any:
        function = getattr(self.inner, verb)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[verb] += 1
            self.arguments[verb].append(args[0] if args else kwargs)
            self.entered[verb].set()
            if verb in self.gates:
                await self.gates[verb].wait()
            return await function(*args, **kwargs)

        return call


@dataclass
class Owner:
    """Owns every partition."""

    store: Store
    broker: Broker
    names: Names
    partitions: int = 4
    silent: bool = False
    """Send no notifications."""
    refuses_reruns: str | None = None
    """With these words."""
    bells: int = 0
    watches: list[str] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    _watchers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _epochs: dict[int, int] = field(default_factory=dict)
    _rung: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def start(self, *, workflows: dict[str, list[str]] | None = None) -> None:
        await self.store.deployment(Deployment(partitions=self.partitions))
        member = Member(owner="owner", workflows=workflows or {}, activities={})
        if workflows is not None:
            await self.store.beat(member, lease=LEASE, ttl=LEASE)
        taken = await self.store.claim("owner", range(self.partitions), lease=LEASE)
        self._epochs = dict(taken)
        await self.broker.declare([QueueSpec(name=self.names.turns(p)) for p in range(self.partitions)])
        for partition in range(self.partitions):
            await self._listen(self.names.turns(partition))
        self._task = asyncio.create_task(self._run())

    async def _listen(self, queue: str) -> None:
        def lost(reason: str) -> None:
            raise AssertionError(f"the owner lost {queue}: {reason}")

        tags: list[int] = []

        def take(delivery: Delivery) -> None:
            tags.append(delivery.tag)
            match decode_turn_message(delivery.body):
                case Bell():
                    self.bells += 1
                    self._rung.set()
                case Watch(instance=instance, queue=watcher):
                    self.watches.append(instance)
                    self._watchers[instance].add(watcher)
                case other:
                    raise AssertionError(f"no client sends {other}")

        await self.broker.subscribe(queue, take, prefetch=1000, on_lost=lost)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    def pause(self) -> None:
        """Take no letters until `work` is called."""
        assert self._task is not None
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self.work()

    async def work(self) -> None:
        """Take every letter that is there."""
        for row in await self.store.inbox(range(self.partitions), limit=10_000):
            await self._take(row)

    async def _take(self, row: InboxRow) -> None:
        letter = decode_letter(row.body)
        self.letters.append(letter)
        record = (await self.store.instances([row.target])).get(row.target)
        writes = self._writes(row.partition)
        writes.inbox_taken.append(row.id)
        error = self._apply(letter, row, record, writes)
        assert not await self.store.commit([writes], lease=LEASE)
        request = getattr(letter, "request", None)
        if isinstance(letter, Start) and letter.request is not None and error is None:
            self._watchers[row.target].add(letter.request.queue)
        if request is not None:
            await self._answer(row.target, request, error)

    def epoch(self, partition: int) -> int:
        return self._epochs[partition]

    def _writes(self, partition: int) -> PartitionWrites:
        return PartitionWrites(partition=partition, epoch=self.epoch(partition))

    def _apply(
        self, letter: Letter, row: InboxRow, record: InstanceRecord | None, writes: PartitionWrites
    ) -> str | None:
        if isinstance(letter, Start):
            return _start(letter, row, record, writes)
        if isinstance(letter, Rerun):
            return self.refuses_reruns or _start(_started_anew(letter), row, record, writes)
        if record is None:
            return f"NotFoundError: there is no instance {row.target!r}"
        match letter:
            case Purge(force=force):
                if not record.status.is_terminal and not force:
                    return f"RequestError: instance {row.target!r} is {record.status}"
                writes.deletes.append(InstanceDelete(id=record.id, run=record.run, expected_turn=record.turn))
            case Raise() | Suspend() | Resume() | Terminate() if record.status.is_terminal:
                return f"InstanceOverError: instance {row.target!r} is {record.status}"
            case Suspend(reason=reason):
                writes.updates.append(_update(record, status=Status.SUSPENDED, reason=reason))
            case Resume():
                writes.updates.append(_update(record, status=Status.RUNNING))
            case Terminate(output=output, reason=reason):
                writes.updates.append(
                    _update(record, status=Status.TERMINATED, output=bytes(output), reason=reason)
                )
            case _:
                pass
        return None

    async def _answer(self, instance: str, request: Request, error: str | None) -> None:
        await self._notify(request.queue, NoticeEntry(instance=instance, request=request.id, error=error))

    async def _notify(self, queue: str, entry: NoticeEntry) -> None:
        if not self.silent:
            body = encode(Notice(entries=[entry]))
            await self.broker.publish([Outgoing(queue=queue, body=body, mandatory=False)])

    async def end(
        self, instance: str, *, status: Status = Status.COMPLETED, output: bytes = b"null", **fields: Any
    ) -> None:
        """End an instance, and tell whoever watches it."""
        record = (await self.store.instances([instance]))[instance]
        writes = self._writes(record.partition)
        writes.updates.append(_update(record, status=status, output=output, **fields))
        writes.turns.append(HistoryRow(instance=instance, turn=record.turn, generation=0, events=b"[]"))
        assert not await self.store.commit([writes], lease=LEASE)
        for queue in self._watchers[instance]:
            await self._notify(queue, NoticeEntry(instance=instance))


def _start(
    letter: Start, row: InboxRow, record: InstanceRecord | None, writes: PartitionWrites
) -> str | None:
    if record is not None:
        action = letter.reuse.decide(record.status)
        if action is ReuseAction.IGNORE:
            return None
        if action is ReuseAction.ERROR:
            return f"AlreadyExistsError: instance {row.target!r} exists and is {record.status}"
        writes.deletes.append(InstanceDelete(id=record.id, run=record.run, expected_turn=record.turn))
    now = SYSTEM_CLOCK.now()
    writes.inserts.append(
        InstanceRecord(
            id=row.target,
            run=letter.run,
            partition=row.partition,
            workflow=letter.workflow,
            version=letter.version,
            status=Status.RUNNING,
            generation=0,
            turn=0,
            tasks_pending=0,
            input=bytes(letter.input),
            tags=letter.tags,
            parent=letter.tags.get("parent"),
            trace=letter.trace,
            created_at=now,
            updated_at=now,
        )
    )
    return None


def _started_anew(letter: Rerun) -> Start:
    """What a rerun comes to, as far as a client can tell."""
    return Start(workflow="w", input=msgspec.Raw(b"null"), run=letter.run, seed=letter.seed)


def _update(record: InstanceRecord, *, status: Status, **fields: Any) -> InstanceUpdate:
    now = SYSTEM_CLOCK.now()
    values: dict[str, Any] = {
        "output": record.output,
        "custom_status": record.custom_status,
        "failure": record.failure,
        "reason": None,
        **fields,
    }
    return InstanceUpdate(
        id=record.id,
        run=record.run,
        expected_turn=record.turn,
        turn=record.turn + 1,
        generation=record.generation,
        status=status,
        tasks_pending=0,
        updated_at=now,
        ended_at=now if status.is_terminal else None,
        **values,
    )


class DeadBroker(MemoryBroker):
    """A broker that cannot be reached; `tries` counts the attempts."""

    def __init__(self) -> None:
        super().__init__(MemoryServer())
        self.tries = 0

    async def open(self) -> None:
        self.tries += 1
        raise BrokerUnavailableError("nobody at broker.example:5672")


@dataclass
class Engine:
    """What a client test works with."""

    spy: Spy
    server: MemoryServer
    """Nothing is on it where the engine has another broker."""
    owner: Owner
    client_broker: Any
    settings: ClientSettings

    @property
    def store(self) -> Store:
        return cast("Store", self.spy)

    def client(self, *, poll: float = NEVER, request_timeout: float = NEVER, **options: Any) -> Client:
        settings = self.settings.model_copy(
            update={"poll_interval": poll, "request_timeout": request_timeout}
        )
        given = {"store": self.store, "broker": self.client_broker} | options
        return Client(settings, **given)


@asynccontextmanager
async def engine(
    settings: ClientSettings | None = None,
    *,
    workflows: dict[str, list[str]] | None = None,
    start: bool = True,
) -> AsyncIterator[Engine]:
    """An engine, by default in memory; without `start` no orchestrator has ever run on it."""
    settings = settings or ClientSettings(
        database_url="sqlite+aiosqlite:///:memory:", broker_url="memory://", connect_timeout=0.1
    )
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        store = make_store(settings.database_url)
        stack.push_async_callback(store.close)
        await store.upgrade()
        await store.open()
        brokers: list[Broker] = []
        for _ in range(2):
            memory = settings.broker_url == "memory://"
            broker = MemoryBroker(server) if memory else make_broker(settings.broker_url)
            stack.push_async_callback(broker.close)
            await broker.open()
            brokers.append(broker)
        owner = Owner(store=store, broker=brokers[0], names=Names(settings.namespace))
        stack.push_async_callback(owner.stop)
        if start:
            await owner.start(workflows=workflows)
        yield Engine(spy=Spy(store), server=server, owner=owner, client_broker=brokers[1], settings=settings)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Let other tasks run until a condition holds; the test's own timeout bounds it."""
    while not await condition():  # noqa: ASYNC110 - what is waited for is the progress of code that tells nobody
        await asyncio.sleep(0)
