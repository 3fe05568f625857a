"""One process's connection to the simulated database, with all that may happen on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from tenuto.core.events import decode_events, newest
from tenuto.core.status import Status
from tenuto.errors import StoreUnavailableError, UsageError
from tenuto.store.protocol import (
    Admission,
    Cluster,
    Deployment,
    Health,
    InboxRow,
    InstanceFilter,
    InstanceRecord,
    Member,
    PartitionWrites,
    Recovery,
    StoredInstance,
    Tally,
    TimerRow,
)
from tests.simulation.database import Database
from tests.simulation.health import health_of
from tests.simulation.loop import CURRENT, Process, SimLoop
from tests.simulation.trouble import Fate, Trouble

__all__ = ["DatabaseServer", "EarlierStore", "SimStore"]

T = TypeVar("T")


class DatabaseServer:
    """The database, as far as it can be reached, and its advisory locks."""

    def __init__(self, database: Database, trouble: Trouble) -> None:
        self.database = database
        self.trouble = trouble
        self.down = False
        self.outages = 0
        self._locks: dict[str, deque[asyncio.Future[None]]] = {}
        """The first in the queue holds the lock."""

    def stop(self) -> None:
        """Every connection is lost, and with them the locks."""
        self.down = True
        self.outages += 1
        for queue in self._locks.values():
            for place in queue:
                if not place.done():
                    place.set_exception(StoreUnavailableError("the database is away"))
        self._locks.clear()

    def start(self) -> None:
        self.down = False

    def lock(self, name: str, place: asyncio.Future[None]) -> None:
        queue = self._locks.setdefault(name, deque())
        queue.append(place)
        if queue[0] is place:
            place.set_result(None)

    def unlock(self, name: str, place: asyncio.Future[None]) -> None:
        queue = self._locks.get(name)
        if queue is None or place not in queue:
            return
        queue.remove(place)
        while queue and queue[0].cancelled():
            queue.popleft()
        if queue and not queue[0].done():
            queue[0].set_result(None)


class SimStore:
    """A `Store`. A statement is sent, lands, and is answered; each of those may fail to happen, or happen late."""

    def __init__(self, server: DatabaseServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = CURRENT.get(None)

    async def open(self) -> None:
        """Nothing to connect: each statement finds out by itself."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def upgrade(self) -> None:
        """There is no schema."""

    # One statement, or one transaction ----------------------------------------------------------------------------

    async def _ask(self, work: Callable[[], T], *, write: bool = False) -> T:
        statement = _Statement(self._server, self._loop, self._process, work, write=write)
        statement.send()
        try:
            return await statement.reply
        except asyncio.CancelledError:
            statement.abandon()
            raise

    # Deployment and ownership ---------------------------------------------------------------------------------------

    async def deployment(self, wanted: Deployment | None = None) -> Deployment | None:
        return await self._ask(lambda: self._tables.deployment(wanted), write=wanted is not None)

    async def beat(self, member: Member, *, lease: timedelta, ttl: timedelta) -> Cluster:
        return await self._ask(lambda: self._tables.beat(member, lease, ttl), write=True)

    async def claim(self, owner: str, partitions: Sequence[int], *, lease: timedelta) -> Mapping[int, int]:
        return await self._ask(lambda: self._tables.claim(owner, partitions, lease), write=True)

    async def release(self, owner: str, partitions: Sequence[int]) -> None:
        await self._ask(lambda: self._tables.release(owner, partitions), write=True)

    async def leave(self, owner: str) -> None:
        await self._ask(lambda: self._tables.leave(owner), write=True)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        place: asyncio.Future[None] = self._loop.create_future()
        if self._server.down:
            raise StoreUnavailableError("the database is away")
        if self._process is not None:
            self._process.on_crash.append(lambda: self._server.unlock(name, place))
        self._server.lock(name, place)
        try:
            await place
            yield
        finally:
            self._server.unlock(name, place)

    async def set_broker_token(self, token: str) -> None:
        await self._ask(lambda: self._tables.set_broker_token(token), write=True)

    async def members(self, *, ttl: timedelta) -> Sequence[Member]:
        return await self._ask(lambda: self._tables.members(ttl))

    async def health(self, *, examples: int = 5) -> Health:
        return await self._ask(lambda: health_of(self._tables, examples))

    # The owner's ------------------------------------------------------------------------------------------------

    async def recovery(self, partition: int, *, inbox: int, timers: int) -> Recovery:
        return await self._ask(lambda: self._tables.recovery(partition, inbox, timers))

    async def inbox(self, partitions: Sequence[int], *, limit: int) -> Sequence[InboxRow]:
        return await self._ask(lambda: self._tables.inbox(partitions, limit))

    async def timers(
        self, partitions: Sequence[int], *, until: datetime, limit: int, since: datetime | None = None
    ) -> Sequence[TimerRow]:
        return await self._ask(lambda: self._tables.timers(partitions, until, limit, since))

    async def load(self, ids: Sequence[str]) -> Mapping[str, StoredInstance]:
        return await self._ask(lambda: self._tables.load(ids))

    async def pending(
        self, partition: int, *, idle_since: datetime | None, limit: int, after: str | None = None
    ) -> Sequence[str]:
        return await self._ask(lambda: self._tables.pending(partition, idle_since, limit, after))

    async def ended(
        self, partitions: Sequence[int], status: Status, *, before: datetime, limit: int
    ) -> Sequence[tuple[str, str, int]]:
        return await self._ask(lambda: self._tables.ended(partitions, status, before, limit))

    async def commit(self, writes: Sequence[PartitionWrites], *, lease: timedelta) -> frozenset[int]:
        return await self._ask(lambda: self._tables.commit(writes, lease), write=True)

    # Outsiders' -------------------------------------------------------------------------------------------------

    async def deliver(self, rows: Sequence[InboxRow], *, connection: Any = None) -> None:
        if connection is not None:
            raise UsageError(
                f"the simulated database has no connections of a user's own: {type(connection).__name__}"
            )
        await self._ask(lambda: self._tables.deliver(rows), write=True)

    async def admit(self, admissions: Sequence[Admission]) -> Sequence[bool]:
        return await self._ask(lambda: self._tables.admit(admissions), write=True)

    async def forget_seen(self, *, before: datetime) -> int:
        return await self._ask(lambda: self._tables.forget_seen(before), write=True)

    async def waiting(self, row_ids: Sequence[str]) -> frozenset[str]:
        return await self._ask(lambda: self._tables.waiting(row_ids))

    async def instances(self, ids: Sequence[str]) -> Mapping[str, InstanceRecord]:
        return await self._ask(lambda: self._tables.instances(ids))

    async def find(
        self, where: InstanceFilter, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> Sequence[InstanceRecord]:
        return await self._ask(lambda: self._tables.find(where, limit, after))

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        return await self._ask(lambda: self._tables.tally(where))

    async def history(self, instance: str) -> Sequence[bytes]:
        return await self._ask(lambda: self._tables.history(instance))

    @property
    def _tables(self) -> Database:
        return self._server.database


class EarlierStore(SimStore):
    """As the first release sees it, which reads events of level 1 only (rule U1)."""

    async def beat(self, member: Member, *, lease: timedelta, ttl: timedelta) -> Cluster:
        return await super().beat(replace(member, event_format=1), lease=lease, ttl=ttl)

    async def load(self, ids: Sequence[str]) -> Mapping[str, StoredInstance]:
        found = await super().load(ids)
        return {
            id_: replace(stored, turns=[_as_first_read(body) for body in stored.turns])
            for id_, stored in found.items()
        }


def _as_first_read(events: bytes) -> bytes:
    level, kind = newest(decode_events(events))
    return events if level == 1 else events.replace(kind.encode(), b"Unheard")


class _Statement:
    """A statement on its way. It lands in the server's context, whatever has become of its sender."""

    def __init__(
        self,
        server: DatabaseServer,
        loop: asyncio.AbstractEventLoop,
        process: Process | None,
        work: Callable[[], Any],
        *,
        write: bool,
    ) -> None:
        self.reply: asyncio.Future[Any] = loop.create_future()
        self._server = server
        self._loop = loop
        self._process = process
        self._work = work
        self._write = write
        self._fate = server.trouble.statement(write=write)
        self._landed = False
        self._outages = server.outages

    def send(self) -> None:
        self._later(
            self._server.trouble.delay() + (self._server.trouble.disk() if self._write else 0), self._arrive
        )

    def abandon(self) -> None:
        """Nobody waits any more. What has not landed lands never, or some time later."""
        if not self._landed:
            exact = self._server.trouble.exact
            self._fate = Fate.REFUSED if exact or self._server.trouble.coin() else Fate.FINE

    def _arrive(self) -> None:
        server = self._server
        if server.down or server.outages != self._outages:
            self._landed = True
            self._answer(StoreUnavailableError("the database is away"))
            return
        if self._process is not None and not self._process.alive and server.trouble.coin():
            return  # it died with its sender's connection
        match self._fate:
            case Fate.REFUSED:
                self._landed = True
                self._answer(
                    StoreUnavailableError("the connection was lost before the statement was carried out")
                )
            case Fate.LATE:
                self._answer(StoreUnavailableError("the connection was lost; the outcome is unknown"))
                self._later(server.trouble.lateness(), self._land)
            case Fate.AMBIGUOUS:
                self._land()
                self._answer(StoreUnavailableError("the connection was lost; the outcome is unknown"))
            case Fate.FINE:
                self._answer(self._land())

    def _land(self) -> Any:
        """Carry it out; gives what it gives or raises."""
        self._landed = True
        if self._server.down or self._server.outages != self._outages:
            return StoreUnavailableError("the database went away")
        try:
            return self._work()
        except Exception as error:  # noqa: BLE001 - it is raised at whoever sent the statement
            return error

    def _answer(self, answer: Any) -> None:
        self._later(self._server.trouble.delay(), self._deliver, answer)

    def _deliver(self, answer: Any) -> None:
        if self.reply.done():
            return
        if self._server.outages != self._outages:
            answer = StoreUnavailableError("the connection was lost before the answer came")
        if isinstance(answer, Exception):
            self.reply.set_exception(answer)
        else:
            self.reply.set_result(answer)

    def _later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        if isinstance(self._loop, SimLoop):
            self._loop.at(self._loop.outside, self._loop.time() + delay, call, *args)
        else:
            self._loop.call_soon(cast("Callable[..., None]", call), *args)
