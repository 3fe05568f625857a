"""The engine's database from behind: what a disk, an operator or a newer release may have done to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["query", "tamper"]


async def tamper(database_url: str, statement: str, **values: Any) -> int:
    """Run a statement in a transaction of its own; the number of rows that it touched."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return (await connection.execute(text(statement), values)).rowcount
    finally:
        await engine.dispose()


async def query(database_url: str, statement: str, **values: Any) -> Sequence[Any]:
    """The rows that a query gives."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(statement), values)).all()
    finally:
        await engine.dispose()
