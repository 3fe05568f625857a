"""What owners and clients read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.core.reserved import PREFIX
from tenuto.core.status import Status
from tenuto.errors import StoreError
from tenuto.store import schema
from tenuto.store.database import Database
from tenuto.store.protocol import (
    InboxRow,
    InstanceFilter,
    InstanceRecord,
    Recovery,
    StoredInstance,
    Tally,
    TimerRow,
)
from tenuto.store.rows import (
    INBOX_COLUMNS,
    INSTANCE_COLUMNS,
    TIMER_COLUMNS,
    inbox_row,
    instance_record,
    outbox_row,
    tag_digest,
    timer_row,
)

__all__ = ["Reading"]

T = TypeVar("T")

_RECORDS = select(*(schema.instances.c[name] for name in INSTANCE_COLUMNS))
_TIMERS = select(*(schema.timers.c[name] for name in TIMER_COLUMNS)).order_by(
    schema.timers.c.fire_at, schema.timers.c.instance, schema.timers.c.command, schema.timers.c.attempt
)
_LETTERS = select(*(schema.inbox.c[name] for name in INBOX_COLUMNS)).order_by(schema.inbox.c.position)
_OUTBOX = select(
    schema.outbox.c.partition, schema.outbox.c.epoch, schema.outbox.c.seq, schema.outbox.c.body
).order_by(schema.outbox.c.epoch, schema.outbox.c.seq)
_TURNS = (
    select(schema.history.c.instance, schema.history.c.events)
    .join(
        schema.instances,
        and_(
            schema.instances.c.id == schema.history.c.instance,
            schema.instances.c.generation == schema.history.c.generation,
        ),
    )
    .order_by(schema.history.c.instance, schema.history.c.turn)
)
"""Turns of present generations."""

_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF


class Reading:
    """The verbs that change nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recovery(self, partition: int, *, inbox: int, timers: int) -> Recovery:
        async def work(connection: AsyncConnection) -> Recovery:
            token = await connection.execute(
                select(schema.partitions.c.broker_token).where(schema.partitions.c.partition == partition)
            )
            outbox = await connection.execute(_OUTBOX.where(schema.outbox.c.partition == partition))
            letters = await connection.execute(
                _LETTERS.where(schema.inbox.c.partition == partition).limit(inbox)
            )
            due = await connection.execute(
                _TIMERS.where(schema.timers.c.partition == partition).limit(timers)
            )
            known = token.scalar_one_or_none()
            if known is None:
                raise StoreError(
                    f"{self._database.where} holds no partition {partition}; the deployment has fewer partitions"
                )
            return Recovery(
                outbox=_all(outbox_row, outbox),
                inbox=_all(inbox_row, letters),
                timers=_all(timer_row, due),
                broker_token=known,
            )

        return await self._database.read(work)

    async def inbox(self, partitions: Sequence[int], *, limit: int) -> Sequence[InboxRow]:
        letters = schema.inbox.c
        query = _LETTERS.where(
            self._database.among(letters.partition, partitions), letters.held == false()
        ).limit(limit)

        async def work(connection: AsyncConnection) -> Sequence[InboxRow]:
            return _all(inbox_row, await connection.execute(query))

        return await self._database.read(work)

    async def timers(
        self, partitions: Sequence[int], *, until: datetime, limit: int, since: datetime | None = None
    ) -> Sequence[TimerRow]:
        table = schema.timers.c
        query = _TIMERS.where(self._database.among(table.partition, partitions), table.fire_at <= until)
        if since is not None:
            query = query.where(table.fire_at >= since)
        query = query.limit(limit)

        async def work(connection: AsyncConnection) -> Sequence[TimerRow]:
            return _all(timer_row, await connection.execute(query))

        return await self._database.read(work)

    async def load(self, ids: Sequence[str]) -> Mapping[str, StoredInstance]:
        async def work(connection: AsyncConnection) -> Mapping[str, StoredInstance]:
            records = await self._records(connection, ids)
            turns: dict[str, list[bytes]] = {id_: [] for id_ in records}
            if records:
                for id_, events in await connection.execute(
                    _TURNS.where(self._database.among(schema.history.c.instance, list(records)))
                ):
                    turns[id_].append(events)
            return {id_: StoredInstance(record=records[id_], turns=turns[id_]) for id_ in records}

        return await self._database.read(work)

    async def pending(
        self, partition: int, *, idle_since: datetime | None, limit: int, after: str | None = None
    ) -> Sequence[str]:
        table = schema.instances.c
        query = select(table.id).where(table.partition == partition, table.tasks_pending > 0)
        if idle_since is not None:
            query = query.where(table.updated_at <= idle_since)
        if after is not None:
            query = query.where(table.id > after)
        query = query.order_by(table.id).limit(limit)

        async def work(connection: AsyncConnection) -> Sequence[str]:
            return (await connection.execute(query)).scalars().all()

        return await self._database.read(work)

    async def ended(
        self, partitions: Sequence[int], status: Status, *, before: datetime, limit: int
    ) -> Sequence[tuple[str, str, int]]:
        table = schema.instances.c
        query = (
            select(table.id, table.run, table.turn)
            .where(
                table.status == status.value,
                table.created_at < before,  # which the next implies, and which the index goes by
                table.ended_at < before,
                self._database.among(table.partition, partitions),
            )
            .order_by(table.created_at, table.id)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str, int]]:
            return [(row.id, row.run, row.turn) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def waiting(self, row_ids: Sequence[str]) -> frozenset[str]:
        query = select(schema.inbox.c.id).where(self._database.among(schema.inbox.c.id, row_ids))

        async def work(connection: AsyncConnection) -> frozenset[str]:
            return frozenset((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def instances(self, ids: Sequence[str]) -> Mapping[str, InstanceRecord]:
        async def work(connection: AsyncConnection) -> Mapping[str, InstanceRecord]:
            return await self._records(connection, ids)

        return await self._database.read(work)

    async def find(
        self, where: InstanceFilter, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> Sequence[InstanceRecord]:
        table = schema.instances.c
        query = _RECORDS.where(*_conditions(where)).order_by(table.created_at.desc(), table.id.desc())
        if after is not None:
            # Two conditions on the time, so that the planner sees a range of the index in the first.
            created_at, id_ = after
            query = query.where(
                table.created_at <= created_at,
                or_(table.created_at < created_at, table.id < id_),
            )

        async def work(connection: AsyncConnection) -> Sequence[InstanceRecord]:
            return _all(instance_record, await connection.execute(query.limit(limit)))

        return await self._database.read(work)

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        table = schema.instances.c
        groups = (table.workflow, table.version, table.status)
        query = select(*groups, func.count()).where(*_conditions(where)).group_by(*groups)

        async def work(connection: AsyncConnection) -> Sequence[Tally]:
            rows = await connection.execute(query)
            tallies = (
                Tally(workflow=workflow, version=version, status=Status(status), count=count)
                for workflow, version, status, count in rows
            )
            return sorted(tallies, key=lambda tally: tally.place)

        return await self._database.read(work)

    async def history(self, instance: str) -> Sequence[bytes]:
        query = _TURNS.with_only_columns(schema.history.c.events).where(schema.history.c.instance == instance)

        async def work(connection: AsyncConnection) -> Sequence[bytes]:
            return (await connection.execute(query)).scalars().all()

        return await self._database.read(work)

    async def _records(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, InstanceRecord]:
        rows = await connection.execute(_RECORDS.where(self._database.among(schema.instances.c.id, ids)))
        return {row[0]: instance_record(row) for row in rows}


def _conditions(where: InstanceFilter) -> list[ColumnElement[bool]]:
    table, tags = schema.instances.c, schema.tags.c
    found: list[ColumnElement[bool]] = []
    if where.statuses:
        found.append(table.status.in_(sorted(where.statuses)))
    if where.workflow is not None:
        found.append(table.workflow == where.workflow)
    elif not where.builtin:
        found.append(func.substr(table.workflow, 1, len(PREFIX)) != PREFIX)
    if where.version is not None:
        found.append(table.version == where.version)
    found += [
        exists().where(tags.instance == table.id, tags.digest == tag_digest(name, value))
        for name, value in sorted(where.tags.items())
    ]
    if where.id_prefix:
        found += _prefixed(where.id_prefix)
    if where.parent is not None:
        found.append(table.parent == where.parent)
    if where.created_after is not None:
        found.append(table.created_at >= where.created_after)
    if where.created_before is not None:
        found.append(table.created_at < where.created_before)
    if where.ended_before is not None:  # which implies the first, and that is what the indexes go by
        found += [table.created_at < where.ended_before, table.ended_at < where.ended_before]
    return found


def _prefixed(prefix: str) -> list[ColumnElement[bool]]:
    """Ids that begin with this, as a range of the index: from the prefix to the next string that does not have it."""
    table = schema.instances.c
    found: list[ColumnElement[bool]] = [table.id >= prefix]
    stem = prefix.rstrip(chr(sys.maxunicode))
    if stem:
        last = ord(stem[-1]) + 1
        if _FIRST_SURROGATE <= last <= _LAST_SURROGATE:
            last = _LAST_SURROGATE + 1  # no string has a surrogate in it
        found.append(table.id < stem[:-1] + chr(last))
    return found


def _all(make: Callable[[Any], T], rows: Iterable[Any]) -> list[T]:
    return [make(row) for row in rows]
