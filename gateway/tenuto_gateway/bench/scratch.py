"""A place in the database that is the benchmark's own, and gone afterwards: no live deployment's tables are touched."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tenuto.errors import SettingsError

__all__ = ["Scratch", "scratch"]


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Where the benchmark's tables are."""

    url: str
    schema: str | None
    size: Callable[[], Awaitable[int]]
    """Bytes that they take on disk."""


@asynccontextmanager
async def scratch(url: str) -> AsyncIterator[Scratch]:
    """On PostgreSQL a schema of its own in that database; for SQLite a file in a new folder beside the one named.

    Raises:
        SettingsError: the database is of another kind.
    """
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            beside = Path(parsed.database).parent if parsed.database not in (None, "", ":memory:") else None
            with tempfile.TemporaryDirectory(prefix="tenuto-bench-", dir=beside) as folder:
                yield _file(Path(folder))
        case "postgresql":
            async with _schema(url) as place:
                yield place
        case other:
            raise SettingsError(
                f"`tenuto bench` knows no place of its own in {other!r} databases: serve the app "
                "tenuto_gateway.bench.program:app on a database that nothing else uses, and give --attach"
            )


def _file(folder: Path) -> Scratch:
    async def size() -> int:
        with os.scandir(folder) as files:
            return sum(file.stat().st_size for file in files)

    return Scratch(url=f"sqlite+aiosqlite:///{folder}/bench.db", schema=None, size=size)


@asynccontextmanager
async def _schema(url: str) -> AsyncIterator[Scratch]:
    from tenuto.store.postgres import driver_url  # noqa: PLC0415  needs an extra

    engine = create_async_engine(driver_url(url))
    schema = f"tenuto_bench_{uuid.uuid4().hex[:12]}"

    async def size() -> int:
        query = text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relkind = 'r'"
        )
        async with engine.connect() as connection:
            return int(await connection.scalar(query, {"schema": schema}))

    try:
        yield Scratch(url=url, schema=schema, size=size)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        await engine.dispose()
