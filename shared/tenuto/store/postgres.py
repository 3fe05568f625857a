"""PostgreSQL, by asyncpg.

Sessions are set up so that a process that is stopped, or cut off, cannot hold a lock for longer than its lease
(rule O3), and so that statements, which go by key all of them, are planned by index also while the tables are young
and their statistics say nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    URL,
    AsyncAdaptedQueuePool,
    Column,
    ColumnElement,
    Interval,
    NullPool,
    any_,
    bindparam,
    func,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tenuto.errors import SettingsError, StoreError, StoreUnavailableError
from tenuto.store.bulk import ArrayStyle, Rows
from tenuto.store.column_types import UtcTime
from tenuto.store.commits import Step
from tenuto.store.database import ENGINE_OPTIONS, AtOnce, Database
from tenuto.store.errors import sqlstate_of, translated
from tenuto.store.migrate import run_migrations
from tenuto.store.postgres_commit import OneStatement, is_definite
from tenuto.store.sql import SqlStore

__all__ = ["PostgresStore", "driver_url"]

_DRIVER = "postgresql+asyncpg"
_OPTIONS = {"ssl": "ssl", "sslmode": "ssl", "host": "host", "port": "port"}
"""What may follow the `?` of a URL, by the name that the driver has for it."""
_REFUSED = {
    "28000": "the user may not log in",
    "28P01": "the password is wrong",
    "3D000": "there is no such database; create it",
    "42501": "the user lacks the permission",
}
"""SQLSTATEs at a connection that waiting does not cure."""
_PATIENCE = 60.0
"""Seconds that a statement of a client's may take."""


class PostgresStore(SqlStore):
    """The store in a PostgreSQL database, or in one of its schemas.

    Args:
        url: `postgresql+asyncpg://user:password@host:port/database`, with `?sslmode=…` where needed.
        schema: where the tables are; `upgrade` creates it. By default whatever the server's search path says.
        lease: an orchestrator's; its sessions give up, and are given up, well within it (rule O3).
        connect_timeout: seconds to wait for a server that is still starting.
        connections: how many to keep open; as many again may be opened under load.

    Raises:
        SettingsError: the URL's driver or options, or the schema's name, cannot be used, or asyncpg is missing.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        schema: str | None = None,
        lease: timedelta | None = None,
        connect_timeout: float = 30.0,
        connections: int = 5,
    ) -> None:
        if schema is not None and not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise SettingsError(
                f"{schema!r} cannot be a schema: use lower-case letters, digits and underscores, 63 at the most"
            )
        parsed = driver_url(url)
        super().__init__(_PostgresDatabase(parsed, schema, lease, connect_timeout, connections))


class _PostgresDatabase(Database):
    style = ArrayStyle()

    def __init__(
        self, url: URL, schema: str | None, lease: timedelta | None, connect_timeout: float, connections: int
    ) -> None:
        self.schema = schema
        self.where = f"PostgreSQL database {url.database!r} at {url.host or 'localhost'}:{url.port or 5432}"
        self._connect_timeout = connect_timeout
        self._name = "tenuto" if lease is None else f"tenuto orchestrator {schema or ''}".strip()
        settings = {"application_name": self._name} | ({"search_path": schema} if schema else {})
        connecting: dict[str, Any] = {"timeout": min(connect_timeout, 10.0)}
        self._engine = _engine(
            url,
            connect_args=connecting
            | {
                "server_settings": settings | _PLANNING | _limits(lease),
                "command_timeout": lease.total_seconds() if lease is not None else _PATIENCE,
            },
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections,
            max_overflow=connections,
        )
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        # For what may have to wait for long: migrations, and locks over the deployment.
        self._patient = _engine(
            url, connect_args=connecting | {"server_settings": settings}, poolclass=NullPool
        )

    async def reach(self) -> None:
        attempts = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(self._connect_timeout),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            reraise=True,
        )
        try:
            with translated(self.where):
                async for attempt in attempts:
                    with attempt:
                        async with self._engine.connect() as connection:
                            await connection.execute(text("SELECT 1"))
        except StoreUnavailableError as error:
            state = sqlstate_of(error)
            if state in _REFUSED:
                raise SettingsError(f"{self.where} cannot be used: {_REFUSED[state]}") from error
            raise

    async def upgrade(self) -> None:
        await self.reach()
        with translated(self.where):
            async with self._patient.begin() as connection:
                await connection.execute(select(func.pg_advisory_xact_lock(self._lock_id("upgrade"))))
                if self.schema is not None:
                    await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {self.schema}"))
                await connection.run_sync(run_migrations, self.where)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        """Held by a session of its own, so that it ends with the process.

        Raises:
            StoreUnavailableError: the session, and with it the lock, was lost before the block ended.
        """
        key = self._lock_id(f"exclusive {name}")
        with translated(self.where):
            connection = await self._patient.connect()
        try:
            with translated(self.where):
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(select(func.pg_advisory_lock(key)))
            yield
            with translated(self.where):
                await connection.execute(select(func.pg_advisory_unlock(key)))
        finally:
            await connection.close()

    async def close(self) -> None:
        await self._engine.dispose()
        await self._patient.dispose()

    async def end_stopped_owners(self, lease: timedelta, error: StoreError) -> bool:
        # A session that waits for its client between two messages of one statement counts as active: neither
        # idle_in_transaction_session_timeout nor statement_timeout strikes, and its row locks stay for as long as its
        # process is stopped. Nothing that an orchestrator does lasts for a lease, so such a transaction is dead.
        if sqlstate_of(error) != _LOCK_TIMEOUT:
            return False
        ended = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = :name AND pid <> pg_backend_pid() "
            "AND wait_event_type = 'Client' AND xact_start < clock_timestamp() - CAST(:lease AS interval)"
        )
        with translated(self.where):
            async with self._reading() as connection:
                found = await connection.scalar(ended, {"name": self._name, "lease": lease})
        return bool(found)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield connection

    def at_once(self, steps: Sequence[Step]) -> AtOnce:
        one = OneStatement(steps, self._engine.dialect)

        async def commit(fence: Sequence[tuple[int, int]], rows: Sequence[Rows], lease: timedelta) -> bool:
            made = one.make(fence, rows, lease)
            if made is None:
                return False
            statement, arguments = made
            with translated(self.where):
                async with self._reading() as connection:
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    try:
                        with translated(self.where, committing=True):
                            await driver.fetchval(statement, *arguments)
                    except BaseException as error:
                        if is_definite(error):
                            return False
                        await self._lost(connection, dead=driver.is_closed())
                        raise
            return True

        return commit

    async def _lost(self, connection: AsyncConnection, *, dead: bool) -> None:
        await self._abandon(connection)
        if dead:  # and so, likely, are all that the pool holds
            await self._engine.dispose()

    async def _abandon(self, connection: AsyncConnection) -> None:
        # Interrupted between BEGIN and its answer, the session could be left in a transaction that nobody knows of.
        await connection.invalidate()

    def now(self) -> ColumnElement[datetime]:
        return func.clock_timestamp(type_=UtcTime())

    def after(self, delay: timedelta) -> ColumnElement[datetime]:
        return func.clock_timestamp() + literal(delay, Interval())

    def among(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        return column == any_(bindparam(None, list(values), type_=ARRAY(column.type), unique=True))

    def among_given(self, column: Column[Any]) -> ColumnElement[bool]:
        return column == any_(bindparam("given", type_=ARRAY(column.type)))

    def given(self, values: Sequence[Any]) -> dict[str, Any]:
        return {"given": list(values)}

    def _lock_id(self, name: str) -> int:
        digest = hashlib.sha256(f"tenuto {self.schema or ''} {name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


_LOCK_TIMEOUT = "55P03"
"""The SQLSTATE of a lock that was not to be had in time."""

_PLANNING = {
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def _limits(lease: timedelta | None) -> dict[str, str]:
    """An orchestrator's session settings: those that keep a stopped one from holding locks (rule O3), above all."""
    settings = {"default_transaction_isolation": "read committed"}
    if lease is None:
        return settings
    milliseconds = max(1, int(lease / timedelta(milliseconds=1)))
    seconds = max(1, milliseconds // 3000)
    return (
        settings
        | {
            "plan_cache_mode": "force_generic_plan",  # its statements go by key, so that a plan fits whatever comes
            "lock_timeout": str(milliseconds // 3),
            "idle_in_transaction_session_timeout": str(milliseconds // 2),
            "statement_timeout": str(milliseconds * 2 // 3),
            "tcp_user_timeout": str(milliseconds),
            "tcp_keepalives_idle": str(seconds),
            "tcp_keepalives_interval": str(seconds),
            "tcp_keepalives_count": "2",
        }
    )


def driver_url(url: str | URL) -> URL:
    """The URL as the driver takes it.

    Raises:
        SettingsError: its driver or options cannot be used.
    """
    parsed = make_url(url)
    if parsed.drivername not in (_DRIVER, "postgresql"):
        raise SettingsError(
            f"PostgreSQL is used through asyncpg: write {_DRIVER}://…, not {parsed.drivername}://…"
        )
    unknown = sorted(parsed.query.keys() - _OPTIONS.keys())
    if unknown:
        raise SettingsError(
            f"the database URL has options that are not known: {', '.join(unknown)} (known: {', '.join(_OPTIONS)})"
        )
    query = {_OPTIONS[name]: value for name, value in parsed.query.items()}
    return parsed.set(drivername=_DRIVER, query=query)


def _engine(url: URL, **options: Any) -> AsyncEngine:
    try:
        return create_async_engine(url, **ENGINE_OPTIONS, **options)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'the driver for PostgreSQL is not installed ({error.name}); run: pip install "tenuto[postgres]"'
        ) from error


def _may_pass(error: BaseException) -> bool:
    """Whether waiting may help: nobody listens yet, or the server says that it is starting."""
    return isinstance(error, Exception) and sqlstate_of(error) not in _REFUSED
