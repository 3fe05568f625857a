"""Everything that a process waits for, and the one loop that looks for all of it.

Normally a notification ends a wait. Behind it stands a slow look into the database: every interval one query for all
requests and one for all instances that somebody waits for, however many there are. Between those, what a notification
mentioned and what somebody has just begun to wait for is looked at together, as soon as the look before is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from tenuto.errors import StoreUnavailableError, UsageError
from tenuto.messages import NoticeEntry
from tenuto.store.protocol import InstanceRecord, Store

__all__ = ["Answer", "Gone", "RequestWait", "Told", "Waits"]

logger = logging.getLogger("tenuto.client")


@dataclass(frozen=True, slots=True)
class Told:
    """A notification said that the request was dealt with."""

    error: str | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The request is no longer in the inbox, so it was dealt with; how, the instance must show."""


Answer: TypeAlias = Told | Gone


@dataclass(eq=False, slots=True)
class RequestWait:
    """A wait for the answer to the request in an inbox row. It begins before the row is sent, so that no notification
    can come too early; a look into the inbox counts only from `answer` on, when the row must have been there."""

    row: str
    future: asyncio.Future[Answer]
    grace: bool
    sent: bool = False
    missed: bool = False
    """It was gone at an earlier look."""

    async def answer(self) -> Answer:
        """The answer to the request, which has been sent by now."""
        self.sent = True
        return await self.future


@dataclass(eq=False, slots=True)
class _RecordWait:
    instance: str
    ready: Callable[[InstanceRecord | None], bool]
    future: asyncio.Future[InstanceRecord | None]


_Wait = TypeVar("_Wait", RequestWait, _RecordWait)


class _Register(Generic[_Wait]):
    """Waits by what they are for, and which of those are to be looked at next."""

    def __init__(self) -> None:
        self._waits: dict[str, dict[_Wait, None]] = {}
        self._fresh: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._waits)

    def __iter__(self) -> Iterator[_Wait]:
        return (wait for waits in self._waits.values() for wait in waits)

    @contextlib.contextmanager
    def holding(self, key: str, wait: _Wait) -> Iterator[None]:
        self._waits.setdefault(key, {})[wait] = None
        try:
            yield
        finally:
            waits = self._waits[key]
            del waits[wait]
            if not waits:
                del self._waits[key]
            if not wait.future.cancel() and not wait.future.cancelled():
                wait.future.exception()  # an error that came while nobody was looking is no news to anybody

    def of(self, key: str) -> Sequence[_Wait]:
        return tuple(self._waits.get(key, ()))

    def freshen(self, key: str) -> None:
        self._fresh[key] = None

    def freshen_all(self) -> None:
        self._fresh = dict.fromkeys(self._waits)

    def take(self) -> list[_Wait]:
        """The waits to be looked at now."""
        fresh, self._fresh = self._fresh, {}
        return [wait for key in fresh for wait in self.of(key)]


class Waits:
    """The waits of a client."""

    def __init__(self, store: Store, *, interval: float, listening: Callable[[], bool]) -> None:
        """`interval`: seconds between looks at everything. `listening`: notifications arrive at present."""
        self._store = store
        self._interval = interval
        self._listening = listening
        self._requests: _Register[RequestWait] = _Register()
        self._records: _Register[_RecordWait] = _Register()
        self._everything = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    @contextlib.contextmanager
    def request(self, row: str, *, sent: bool = False, grace: bool = False) -> Iterator[RequestWait]:
        """Wait for the answer to the request in that inbox row.

        `sent`: long ago, so look at once. `grace`: where notifications arrive, a row that is found gone is given one
        interval for its notification, which says more.
        """
        wait = RequestWait(row, asyncio.get_running_loop().create_future(), grace, sent)
        with self._requests.holding(row, wait):
            if sent:
                self._requests.freshen(row)
                self._wake.set()
            self._ensure_running()
            yield wait

    async def record(
        self, instance: str, ready: Callable[[InstanceRecord | None], bool]
    ) -> InstanceRecord | None:
        """The instance's record as soon as `ready` says so of it; looks at once."""
        wait = _RecordWait(instance, ready, asyncio.get_running_loop().create_future())
        with self._records.holding(instance, wait):
            self._records.freshen(instance)
            self._wake.set()
            self._ensure_running()
            return await wait.future

    def hear(self, entry: NoticeEntry) -> None:
        """Take a notification."""
        for wait in self._requests.of(entry.request) if entry.request else ():
            if not wait.future.done():
                wait.future.set_result(Told(entry.error))
        if self._records.of(entry.instance):
            self._records.freshen(entry.instance)
            self._wake.set()

    def look(self) -> None:
        """Look at everything now: notifications may have been missed."""
        self._everything = True
        self._wake.set()

    async def close(self) -> None:
        """Wake all that still wait, with an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail(UsageError("The client was closed while this call waited."))

    def _ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tenuto client waits")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval
        while self._requests or self._records:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            if self._everything or loop.time() >= due:
                self._everything = False
                self._requests.freshen_all()
                self._records.freshen_all()
                due = loop.time() + self._interval
            await self._look()

    async def _look(self) -> None:
        # Taken before the queries: what is asked for during them must not be answered by an older look.
        requests = [wait for wait in self._requests.take() if wait.sent]
        records = self._records.take()
        try:
            await self._look_for_requests(requests)
            await self._look_for_records(records)
        except StoreUnavailableError as error:
            if not self._failing:
                logger.warning("The client keeps waiting, but cannot look into the database: %s", error)
            self._failing = True
        except Exception as error:  # noqa: BLE001 - it is raised at everyone who waits
            self._fail(error)
        else:
            self._failing = False

    async def _look_for_requests(self, waits: Sequence[RequestWait]) -> None:
        if not waits:
            return
        present = await self._store.waiting(list(dict.fromkeys(wait.row for wait in waits)))
        for wait in waits:
            if wait.row in present or wait.future.done():
                continue
            if wait.grace and not wait.missed and self._listening():
                wait.missed = True
            else:
                wait.future.set_result(Gone())

    async def _look_for_records(self, waits: Sequence[_RecordWait]) -> None:
        if not waits:
            return
        records = await self._store.instances(list(dict.fromkeys(wait.instance for wait in waits)))
        for wait in waits:
            record = records.get(wait.instance)
            if not wait.future.done() and wait.ready(record):
                wait.future.set_result(record)

    def _fail(self, error: Exception) -> None:
        for wait in (*self._requests, *self._records):
            if not wait.future.done():
                wait.future.set_exception(error)
