"""Large payloads in a table of their own, which statements of the hot path do not read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.store.bulk import Insertion
from tenuto.store.database import Database
from tenuto.store.schema import payloads

__all__ = ["Payloads"]

_PAGE = 1000
"""Rows that one transaction deletes, or one statement lists: it must fit into the time that a statement has."""
_BYTES_AT_ONCE = 8 * 1024 * 1024
"""What one transaction writes, if a single object is not larger; likewise."""


class Payloads:
    """A `tenuto.payload_store.PayloadStore` beside the tables of the engine. `DataRefusedError` and `SchemaError` are
    raised besides what that says. Times are the database's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.style.insert(Insertion(table=payloads, names=("key", "body")))

    async def put(self, objects: Mapping[str, bytes]) -> None:
        for rows in _parts(objects):

            async def work(connection: AsyncConnection, rows: Sequence[tuple[str, bytes]] = rows) -> None:
                await self._insert.run(connection, rows)

            await self._database.write(work)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        async def work(connection: AsyncConnection) -> dict[str, bytes]:
            wanted = self._database.among(payloads.c.key, keys)
            rows = await connection.execute(select(payloads.c.key, payloads.c.body).where(wanted))
            return {key: bytes(body) for key, body in rows}

        return await self._database.read(work) if keys else {}

    async def delete(self, prefix: str) -> None:
        async def work(connection: AsyncConnection) -> int:
            some = select(payloads.c.key).where(_below(prefix)).limit(_PAGE)
            return (await connection.execute(delete(payloads).where(payloads.c.key.in_(some)))).rowcount

        while await self._database.write(work) == _PAGE:
            pass

    async def keys(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        after = prefix
        while page := await self._page(prefix, after):
            for key, since in page:
                yield key, since
            after = page[-1][0]

    async def _page(self, prefix: str, after: str) -> Sequence[tuple[str, datetime]]:
        async def work(connection: AsyncConnection) -> list[tuple[str, datetime]]:
            listed = select(payloads.c.key, payloads.c.created_at).where(
                _below(prefix), payloads.c.key > after
            )
            rows = await connection.execute(listed.order_by(payloads.c.key).limit(_PAGE))
            return [(key, since) for key, since in rows]

        return await self._database.read(work)


def _below(prefix: str) -> ColumnElement[bool]:
    """Whether a key begins with the prefix: a range, which the primary key's index has. "0" follows "/" in ASCII."""
    return and_(payloads.c.key >= prefix, payloads.c.key < prefix.removesuffix("/") + "0")


def _parts(objects: Mapping[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """In the order of the keys, so that two writers of the same objects do not wait for each other in a circle."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for key, body in sorted(objects.items()):
        if part and size + len(body) > _BYTES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append((key, body))
        size += len(body)
    if part:
        yield part
