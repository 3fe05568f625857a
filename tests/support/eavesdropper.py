"""Who reads along: everything that goes over a broker, and everything that a database holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from tenuto.broker.protocol import Broker, Outcome, Outgoing
from tenuto.store import schema
from tests.support.engine import Place


@dataclass
class Eavesdropper:
    """A broker's client whose every message is written down."""

    inner: Broker
    heard: list[bytes] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        self.heard += [message.body + repr(message.headers).encode() for message in messages]
        return await self.inner.publish(messages)


async def stored(place: Place) -> list[bytes]:
    """Every row of every table and, of a SQLite database, every file of it, what was deleted included."""
    engine = create_async_engine(place.database_url)
    try:
        async with engine.connect() as connection:
            rows = [
                repr(tuple(row)).encode()
                for table in schema.metadata.sorted_tables
                for row in await connection.execute(select(table))
            ]
    finally:
        await engine.dispose()
    return [*rows, *_files(engine.url.database if place.server is not None else None)]


def _files(database: str | None) -> Iterator[bytes]:
    if database is not None:
        for file in Path(database).parent.glob(Path(database).name + "*"):
            yield file.read_bytes()
