"""What outsiders write: letters, and the ids of the messages that brought them (rules I2, I3, N2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

from tenuto.store.bulk import Insertion
from tenuto.store.database import Database
from tenuto.store.letters import insert_letters
from tenuto.store.protocol import Admission, InboxRow
from tenuto.store.rows import INBOX_COLUMNS, inbox_values
from tenuto.store.schema import inbox, seen

__all__ = ["Outside"]

_FORGOTTEN_AT_ONCE = 5_000
"""Rows of `seen` in one deletion, which must fit into the time that a statement has."""


class Outside:
    """The verbs of clients and of the public door."""

    def __init__(self, database: Database) -> None:
        self._database = database
        style = database.style
        self._insert_letters = style.insert(Insertion(table=inbox, names=INBOX_COLUMNS))
        self._insert_seen = style.insert(
            Insertion(table=seen, names=("instance", "message_id"), constants={"created_at": database.now()})
        )

    async def deliver(self, rows: Sequence[InboxRow], *, connection: Any = None) -> None:
        if isinstance(connection, async_scoped_session):
            connection = connection()
        match connection:
            case None:
                await self._deliver(rows)
            case AsyncConnection() | AsyncSession():
                await connection.run_sync(insert_letters, rows, schema=self._database.schema)
            case _:
                insert_letters(connection, rows, schema=self._database.schema)

    async def admit(self, admissions: Sequence[Admission]) -> Sequence[bool]:
        async def work(connection: AsyncConnection) -> list[bool]:
            # In one order, so that two processes which admit the same messages do not wait for each other in a circle.
            keys = sorted({key for one in admissions if (key := _seen_key(one)) is not None})
            fresh = set(await self._database.style.insert_new(self._insert_seen, connection, keys, seen))
            new: list[bool] = []
            letters: list[InboxRow] = []
            for one in admissions:
                key = _seen_key(one)
                new.append(key is None or key in fresh)
                fresh.discard(key)  # the same message twice in one go: the first counts
                letter = one.row if new[-1] else one.duplicate
                if letter is not None:
                    letters.append(letter)
            await self._insert_letters.run(connection, [inbox_values(letter) for letter in letters])
            return new

        return await self._database.write(work) if admissions else []

    async def forget_seen(self, *, before: datetime) -> int:
        async def work(connection: AsyncConnection) -> int:
            old = (
                select(*seen.primary_key.columns).where(seen.c.created_at < before).limit(_FORGOTTEN_AT_ONCE)
            )
            return (
                await connection.execute(delete(seen).where(tuple_(*seen.primary_key.columns).in_(old)))
            ).rowcount

        return await self._database.write(work)

    async def _deliver(self, rows: Sequence[InboxRow]) -> None:
        async def work(connection: AsyncConnection) -> None:
            await self._insert_letters.run(connection, [inbox_values(row) for row in rows])

        if rows:
            await self._database.write(work)


def _seen_key(admission: Admission) -> tuple[str, str] | None:
    return None if admission.message_id is None else (admission.row.target, admission.message_id)
