"""SQLite: one file, no server; the embedded default.

One connection writes, its transactions one after the other; a few read. Every commit is flushed to disk
(`synchronous=FULL`), so that what the engine says is durable is. A database in memory has one connection for all.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite
import msgspec
from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Column,
    ColumnElement,
    Connection,
    StaticPool,
    Text,
    bindparam,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, wait_random

from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.errors import SchemaError, SettingsError
from tenuto.store.bulk import ManyStyle
from tenuto.store.column_types import UtcTime
from tenuto.store.database import ENGINE_OPTIONS, Database, Work
from tenuto.store.errors import translated
from tenuto.store.migrate import run_migrations
from tenuto.store.sql import SqlStore

__all__ = ["SqliteStore"]

T = TypeVar("T")

_DRIVER = "sqlite+aiosqlite"
_READERS = 2
_BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction on the same file."""


class SqliteStore(SqlStore):
    """The store in a SQLite file, or in memory.

    The URL is `sqlite+aiosqlite:///relative.db`, `…:////absolute.db` or `…:///:memory:`. Leases are reckoned by the
    host's `clock`, as SQLite has none of its own. `lease` and `connect_timeout` are every store's; here no session
    outlives its process, and there is no server to wait for.

    Raises:
        SettingsError: a schema is given, of which SQLite knows nothing, or another driver than aiosqlite.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        schema: str | None = None,
        lease: timedelta | None = None,  # noqa: ARG002 - every store's
        connect_timeout: float = 30.0,  # noqa: ARG002 - every store's
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if schema is not None:
            raise SettingsError(
                "SQLite has no schemas; leave the schema out, or give each namespace its own file"
            )
        parsed = make_url(url)
        if parsed.drivername not in (_DRIVER, "sqlite"):
            raise SettingsError(
                f"SQLite is used through aiosqlite: write {_DRIVER}://…, not {parsed.drivername}://…"
            )
        super().__init__(_SqliteDatabase(parsed.set(drivername=_DRIVER), clock))


class _SqliteDatabase(Database):
    style = ManyStyle()

    def __init__(self, url: URL, clock: Clock) -> None:
        self._file = None if url.database in (None, "", ":memory:") else Path(url.database)
        self.where = f"SQLite database {self._file or 'in memory'}"
        self._clock = clock
        self._turn = asyncio.Lock()
        self._exclusive: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        if self._file is None:
            self._writer = self._reader = _engine(url, poolclass=StaticPool)
        else:
            self._writer = _engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0)
            self._reader = _engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=_READERS, max_overflow=0)
        event.listen(self._writer.sync_engine, "begin", _begin)

    async def reach(self) -> None:
        if self._file is not None and not self._file.exists():
            raise SchemaError(f"{self.where} does not exist yet; run `tenuto db upgrade` to create it")

    async def upgrade(self) -> None:
        if self._file is not None and not self._file.parent.is_dir():
            raise SettingsError(
                f"{self.where} cannot be created: there is no folder {self._file.parent}; create it"
            )

        async def work(connection: AsyncConnection) -> None:
            await connection.begin()  # takes the write lock, so that other processes wait until this is done
            await connection.run_sync(run_migrations, self.where)

        await self.write(work)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        """Held by SQLite's own lock on an empty file beside the database, so that it ends with the process."""
        async with self._exclusive[name]:
            if self._file is None:
                yield
            else:
                async with self._file_lock(
                    self._file.with_name(f"{self._file.name}-{quote(name, safe='')}.lock")
                ):
                    yield

    @asynccontextmanager
    async def _file_lock(self, file: Path) -> AsyncIterator[None]:
        connection = aiosqlite.connect(file, isolation_level=None, timeout=0)
        try:
            with translated(self.where):
                await _to_end(_started(connection))
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception(_is_busy), wait=wait_random(0.02, 0.05), reraise=True
                ):
                    with attempt:
                        await connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            await _to_end(connection.close())

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()

    async def read(self, work: Work[T]) -> T:
        if self._file is not None:
            return await _to_end(super().read(work))
        async with self._turn:
            return await _to_end(super().read(work))

    async def write(self, work: Work[T]) -> T:
        async with self._turn:
            return await _to_end(super().write(work))

    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._reader.connect()

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._writer.connect()

    async def _abandon(self, connection: AsyncConnection) -> None:
        await connection.rollback()

    def now(self) -> ColumnElement[datetime]:
        return bindparam(None, callable_=self._clock.now, type_=UtcTime(), unique=True)

    def after(self, delay: timedelta) -> ColumnElement[datetime]:
        return bindparam(None, callable_=lambda: self._clock.now() + delay, type_=UtcTime(), unique=True)

    def among(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        listed = bindparam(None, msgspec.json.encode(list(values)).decode(), type_=Text(), unique=True)
        return column.in_(select(func.json_each(listed).table_valued("value").c.value))

    def among_given(self, column: Column[Any]) -> ColumnElement[bool]:
        listed = bindparam("given", type_=Text())
        return column.in_(select(func.json_each(listed).table_valued("value").c.value))

    def given(self, values: Sequence[Any]) -> dict[str, Any]:
        return {"given": msgspec.json.encode(list(values)).decode()}


def _engine(url: URL, **pool: Any) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": _BUSY_TIMEOUT}, **ENGINE_OPTIONS, **pool)
    event.listen(engine.sync_engine, "connect", _configure)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # no implicit BEGIN by the driver; transactions begin in `_begin`
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that begins by reading could fail when it comes to write; this one waits for its turn at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


async def _started(connection: aiosqlite.Connection) -> None:
    await connection


async def _to_end(work: Coroutine[Any, Any, T]) -> T:
    """Let work run to its end, and only then be cancelled.

    A statement cannot be interrupted in the driver's thread anyway; and SQLAlchemy closes a connection in which it was
    cancelled, which for a database in memory is the end.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # seen: what became of the work is as unknown to the caller as after any cancellation
        raise cancelled
    return task.result()
