"""Faults on a running cluster, by a schedule that depends on a seed alone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, assert_never

import pika
import pika.exceptions
import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.support.fleet import Fleet, Slot
from tests.support.journal import plain_url
from tests.support.proxy import Proxy
from tests.support.servers import PrivatePostgres, PrivateRabbitMQ

__all__ = ["Chaos", "Fault", "Kind", "make_schedule", "running"]


class Kind(StrEnum):
    """What may happen."""

    KILL_ORCHESTRATOR = "kill -9 of an orchestrator"
    KILL_WORKER = "kill -9 of a worker"
    KILL_ALL = "kill -9 of every process"
    STOP_ORCHESTRATOR = "SIGTERM to an orchestrator"
    STOP_WORKER = "SIGTERM to a worker"
    FREEZE_ORCHESTRATOR = "SIGSTOP of an orchestrator"
    FREEZE_WORKER = "SIGSTOP of a worker"
    RESTART_BROKER = "the broker is restarted"
    KILL_BROKER = "the broker is killed and started"
    RESET_BROKER = "the broker is wiped: a new, empty one"
    DELETE_QUEUES = "every queue is deleted"
    PURGE_POOL = "a pool's queue is purged"
    PURGE_TURNS = "a turn queue is purged"
    MEMORY_ALARM = "memory alarm: publishers are blocked"
    CUT_BROKER = "connections to the broker are cut"
    FREEZE_BROKER = "connections to the broker are half-open"
    SLOW_BROKER = "latency to the broker"
    REFUSE_BROKER = "no way to the broker"
    RESTART_DATABASE = "the database is restarted"
    KILL_DATABASE = "the database is killed and started"
    TERMINATE_SESSIONS = "pg_terminate_backend of all"
    READ_ONLY = "the database refuses writes"
    CUT_DATABASE = "connections to the database are cut"
    FREEZE_DATABASE = "connections to the database are half-open"
    SLOW_DATABASE = "latency to the database"
    REFUSE_DATABASE = "no way to the database"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that happens."""

    at: float
    """Seconds after the schedule's beginning."""
    kind: Kind
    seconds: float
    """How long, where it lasts."""
    seed: int
    """Decides what of several things it strikes."""

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind} ({self.seconds:.1f} s)"


def make_schedule(seed: int, duration: float, *, gap: float = 7.0) -> list[Fault]:
    """Faults for so many seconds, `gap` apart on average. Each kind comes once before any comes again."""
    random = Random(f"schedule {seed}")
    schedule: list[Fault] = []
    bag: list[Kind] = []
    at = random.uniform(1.0, 4.0)
    while at < duration:
        if not bag:
            bag = random.sample(list(Kind), k=len(Kind))
        seconds = random.choice([random.uniform(0.5, 4.0), random.uniform(4.0, 12.0)])
        schedule.append(Fault(at=at, kind=bag.pop(), seconds=seconds, seed=random.getrandbits(32)))
        at += random.uniform(0.4 * gap, 1.6 * gap)
    return schedule


@dataclass(kw_only=True)
class Chaos:
    """Carries a schedule out. Faults overlap, except that one server suffers one thing at a time."""

    fleet: Fleet
    rabbitmq: PrivateRabbitMQ
    postgres: PrivatePostgres
    to_broker: Proxy
    to_database: Proxy
    namespace: str
    note: Callable[[str], None]
    done: list[Fault] = field(default_factory=list)
    skipped: list[Fault] = field(default_factory=list)
    """Faults that met nothing which they could strike, such as a process when all were being started."""
    _broker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _database_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, schedule: Sequence[Fault]) -> None:
        """Returns when the last fault is over and everything is healed."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                await asyncio.sleep(began + fault.at - asyncio.get_running_loop().time())
                group.create_task(self._strike(fault))

    async def _strike(self, fault: Fault) -> None:
        self.note(str(fault))
        if await self._fault(fault, Random(fault.seed)):
            self.done.append(fault)
        else:
            self.skipped.append(fault)
        self.note(f"          over: {fault.kind}")

    async def _fault(self, fault: Fault, random: Random) -> bool:
        match fault.kind:
            case (
                Kind.KILL_ORCHESTRATOR
                | Kind.KILL_WORKER
                | Kind.KILL_ALL
                | Kind.STOP_ORCHESTRATOR
                | Kind.STOP_WORKER
                | Kind.FREEZE_ORCHESTRATOR
                | Kind.FREEZE_WORKER
            ):
                return await self._on_processes(fault, random)
            case (
                Kind.CUT_BROKER
                | Kind.FREEZE_BROKER
                | Kind.SLOW_BROKER
                | Kind.REFUSE_BROKER
                | Kind.CUT_DATABASE
                | Kind.FREEZE_DATABASE
                | Kind.SLOW_DATABASE
                | Kind.REFUSE_DATABASE
            ):
                await self._on_the_way(fault, random)
            case (
                Kind.RESTART_BROKER
                | Kind.KILL_BROKER
                | Kind.RESET_BROKER
                | Kind.DELETE_QUEUES
                | Kind.PURGE_POOL
                | Kind.PURGE_TURNS
                | Kind.MEMORY_ALARM
            ):
                async with self._broker_lock:
                    await self._on_broker(fault, random)
            case Kind.RESTART_DATABASE | Kind.KILL_DATABASE | Kind.TERMINATE_SESSIONS | Kind.READ_ONLY:
                async with self._database_lock:
                    await self._on_database(fault)
            case _ as unreachable:
                assert_never(unreachable)
        return True

    # Processes -------------------------------------------------------------------------------------------

    async def _on_processes(self, fault: Fault, random: Random) -> bool:
        if fault.kind is Kind.KILL_ALL:
            chosen = [slot for slot in self.fleet.slots if slot.up and not slot.busy]
        else:
            orchestrators = fault.kind in {
                Kind.KILL_ORCHESTRATOR,
                Kind.STOP_ORCHESTRATOR,
                Kind.FREEZE_ORCHESTRATOR,
            }
            slots = self.fleet.orchestrators if orchestrators else self.fleet.workers
            one = self.fleet.pick(slots, random)
            chosen = [] if one is None else [one]
        await asyncio.gather(*(self._on_process(slot, fault) for slot in chosen))
        return bool(chosen)

    async def _on_process(self, slot: Slot, fault: Fault) -> None:
        slot.busy = True
        self.note(f"          it is {slot.name}, pid {slot.process.pid}")
        match fault.kind:
            case Kind.FREEZE_ORCHESTRATOR | Kind.FREEZE_WORKER:
                slot.process.pause()
                await asyncio.sleep(fault.seconds)
                slot.process.resume()
            case Kind.STOP_ORCHESTRATOR | Kind.STOP_WORKER:
                slot.ended_by_us = True
                slot.process.terminate()
                await slot.process.wait(timeout=90)
            case _:
                slot.ended_by_us = True
                slot.process.send(signal.SIGKILL)
                await slot.process.wait()
                await asyncio.sleep(fault.seconds / 4)
        slot.busy = False

    # The network -----------------------------------------------------------------------------------------

    async def _on_the_way(self, fault: Fault, random: Random) -> None:
        broker = fault.kind in {Kind.CUT_BROKER, Kind.FREEZE_BROKER, Kind.SLOW_BROKER, Kind.REFUSE_BROKER}
        proxy = self.to_broker if broker else self.to_database
        share = random.choice([0.3, 0.6, 1.0])
        match fault.kind:
            case Kind.CUT_BROKER | Kind.CUT_DATABASE:
                proxy.cut(share, random)
            case Kind.FREEZE_BROKER | Kind.FREEZE_DATABASE:
                thaw = proxy.freeze(share, random)
                # Longer than leases, heartbeats and time-outs at times.
                await asyncio.sleep(fault.seconds * random.choice([1.0, 2.0]))
                thaw()
            case Kind.SLOW_BROKER | Kind.SLOW_DATABASE:
                proxy.latency = random.uniform(0.02, 0.3)
                await asyncio.sleep(fault.seconds)
                proxy.latency = 0.0
            case _:
                proxy.refuse()
                proxy.cut(share, random)
                await asyncio.sleep(fault.seconds)
                await proxy.start()

    # The broker ------------------------------------------------------------------------------------------

    async def _on_broker(self, fault: Fault, random: Random) -> None:
        match fault.kind:
            case Kind.RESTART_BROKER:
                await self.rabbitmq.restart()
            case Kind.KILL_BROKER:
                await self.rabbitmq.kill()
                await self.rabbitmq.start()
            case Kind.RESET_BROKER:
                await self.rabbitmq.wipe()
            case Kind.MEMORY_ALARM:
                await self.rabbitmq.control("set_vm_memory_high_watermark", "0.000001")
                await asyncio.sleep(fault.seconds)
                await self.rabbitmq.control("set_vm_memory_high_watermark", "0.4")
            case _:
                await self._on_queues(fault.kind, random)

    async def _on_queues(self, kind: Kind, random: Random) -> None:
        listed = await self.rabbitmq.control("list_queues", "name", "--no-table-headers")
        names = sorted(name for name in listed.split() if name.startswith(self.namespace))
        if kind is Kind.DELETE_QUEUES:
            await asyncio.to_thread(_on_channels, self.rabbitmq.url, names, _delete)
            return
        part = ".activities." if kind is Kind.PURGE_POOL else ".turns."
        fitting = [name for name in names if part in name]
        chosen = random.sample(fitting, k=min(len(fitting), random.randint(1, 4)))
        await asyncio.to_thread(_on_channels, self.rabbitmq.url, chosen, _purge)

    # The database ----------------------------------------------------------------------------------------

    async def _on_database(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.RESTART_DATABASE:
                await self.postgres.restart()
            case Kind.KILL_DATABASE:
                await self.postgres.kill()
                await self.postgres.start()
            case Kind.READ_ONLY:
                await asyncio.to_thread(_set_read_only, self.postgres, read_only=True)
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(_set_read_only, self.postgres, read_only=False)
            case _:
                await asyncio.to_thread(_terminate_sessions, self.postgres)


@asynccontextmanager
async def running(main: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something beside the block, and end it with the block. What breaks it is raised at the end of the block."""
    task = asyncio.create_task(main)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


_OnChannel = Callable[[Any, str], None]
_HARMLESS = {404, 405}
"""The queue is gone already; it is an exclusive one of somebody else's."""


def _on_channels(url: str, names: Sequence[str], work: _OnChannel) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for name in names:
            try:  # on a channel of its own, since a refusal closes it
                work(connection.channel(), name)
            except pika.exceptions.ChannelClosedByBroker as refusal:
                if refusal.reply_code not in _HARMLESS:
                    raise


def _delete(channel: Any, name: str) -> None:
    channel.queue_delete(name)


def _purge(channel: Any, name: str) -> None:
    channel.queue_purge(name)


def _connect_beside(postgres: PrivatePostgres) -> psycopg.Connection:
    """To the server's own database, which no setting of ours touches."""
    return psycopg.connect(plain_url(postgres.server.url), autocommit=True)


def _database(postgres: PrivatePostgres) -> str:
    name = make_url(postgres.url).database
    assert name is not None
    return name


def _terminate_sessions(postgres: PrivatePostgres) -> None:
    """As a failover does it: all sessions end at once, in whatever they were doing."""
    with _connect_beside(postgres) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [_database(postgres)]
        )


def _set_read_only(postgres: PrivatePostgres, *, read_only: bool) -> None:
    """New sessions may only read, as on a standby; those that there are end."""
    with _connect_beside(postgres) as connection:
        statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        value = sql.SQL("on" if read_only else "off")
        connection.execute(statement.format(sql.Identifier(_database(postgres)), value))
    _terminate_sessions(postgres)
