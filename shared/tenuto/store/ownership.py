"""Who owns which partition, and who is alive (rules O1, O5, B1).

Whatever locks several partitions' rows does so in the order of their numbers, commits included, so that none waits for
another in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.errors import StoreError, StoreUnavailableError
from tenuto.store import schema
from tenuto.store.bulk import Insertion
from tenuto.store.database import Database
from tenuto.store.protocol import Cluster, Deployment, Member, PartitionLease
from tenuto.store.rows import decode_member, encode_member

__all__ = ["Ownership", "all_leases"]

_ONLY = 1
"""The id of the one row of the deployment."""


class Ownership:
    """The verbs of any orchestrator."""

    def __init__(self, database: Database) -> None:
        self._database = database
        style = database.style
        self._insert_deployment = style.insert(
            Insertion(
                table=schema.deployment, names=("id", "partitions", "layout", "queue_type", "broker_token")
            )
        )
        self._insert_partitions = style.insert(
            Insertion(table=schema.partitions, names=("partition", "epoch", "broker_token"))
        )

    async def deployment(self, wanted: Deployment | None = None) -> Deployment | None:
        found = await self._database.read(_deployment)
        if found is not None or wanted is None:
            return found

        async def record(connection: AsyncConnection) -> Deployment | None:
            row = (_ONLY, wanted.partitions, wanted.layout, wanted.queue_type, wanted.broker_token)
            if await self._insert_deployment.run(connection, [row]):
                await self._insert_partitions.run(connection, [(p, 0, "") for p in range(wanted.partitions)])
            return await _deployment(connection)

        return await self._database.write(record)

    async def beat(self, member: Member, *, lease: timedelta, ttl: timedelta) -> Cluster:
        async def work(connection: AsyncConnection) -> Cluster:
            await self._record_member(connection, member)
            await self._forget_silent(connection, member.owner, ttl)
            await self._renew(connection, member.owner, lease)
            return await self._look(connection, member.owner, ttl)

        return await self._database.write(work)

    async def claim(self, owner: str, partitions: Sequence[int], *, lease: timedelta) -> Mapping[int, int]:
        database = self._database

        async def work(connection: AsyncConnection) -> Mapping[int, int]:
            free = or_(
                schema.partitions.c.owner.is_(None),
                schema.partitions.c.owner == owner,
                schema.partitions.c.lease_until <= database.now(),
            )
            taken = await self._lock(
                connection, database.among(schema.partitions.c.partition, partitions), free
            )
            # rule O1: the epoch rises at every acquisition, also by the same process
            result = await connection.execute(
                update(schema.partitions)
                .where(database.among(schema.partitions.c.partition, taken))
                .values(owner=owner, epoch=schema.partitions.c.epoch + 1, lease_until=database.after(lease))
                .returning(schema.partitions.c.partition, schema.partitions.c.epoch)
            )
            return {row.partition: row.epoch for row in result}

        try:
            return await database.write(work)
        except StoreUnavailableError as error:
            if not await database.end_stopped_owners(lease, error):
                raise
            return await database.write(work)

    async def release(self, owner: str, partitions: Sequence[int]) -> None:
        database = self._database

        async def work(connection: AsyncConnection) -> None:
            await self._let_go(connection, owner, database.among(schema.partitions.c.partition, partitions))

        await database.write(work)

    async def leave(self, owner: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            await self._let_go(connection, owner)
            await connection.execute(delete(schema.members).where(schema.members.c.owner == owner))

        await self._database.write(work)

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._database.exclusive(name)

    async def set_broker_token(self, token: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            result = await connection.execute(update(schema.deployment).values(broker_token=token))
            if not result.rowcount:
                raise StoreError(
                    f"{self._database.where} holds no deployment yet, so it cannot take a broker token; "
                    "start an orchestrator first"
                )

        await self._database.write(work)

    async def members(self, *, ttl: timedelta) -> Sequence[Member]:
        async def work(connection: AsyncConnection) -> Sequence[Member]:
            table = schema.members.c
            rows = await connection.execute(
                select(table.owner, table.schemas).where(table.seen_at >= self._database.after(-ttl))
            )
            told = {owner: schemas or b"" for owner, schemas in rows}
            return [
                replace(member, schemas=told.get(member.owner, b""))
                for member in await self._members(connection, ttl)
            ]

        return await self._database.read(work)

    async def _record_member(self, connection: AsyncConnection, member: Member) -> None:
        now = self._database.now()
        document = encode_member(member)
        seen = (
            update(schema.members)
            .where(schema.members.c.owner == member.owner)
            .values(seen_at=now, document=document)
        )
        if not (await connection.execute(seen)).rowcount:
            await connection.execute(
                insert(schema.members).values(
                    owner=member.owner, seen_at=now, document=document, schemas=member.schemas
                )
            )

    async def _forget_silent(self, connection: AsyncConnection, caller: str, ttl: timedelta) -> None:
        # Two beats that forget the same members must not wait for each other: skip what another has locked.
        silent = (
            select(schema.members.c.owner)
            .where(schema.members.c.seen_at < self._database.after(-ttl), schema.members.c.owner != caller)
            .with_for_update(skip_locked=True)
        )
        await connection.execute(delete(schema.members).where(schema.members.c.owner.in_(silent)))

    async def _renew(self, connection: AsyncConnection, owner: str, lease: timedelta) -> None:
        held = await self._lock(connection, schema.partitions.c.owner == owner)
        if held:
            await connection.execute(
                update(schema.partitions)
                .where(self._database.among(schema.partitions.c.partition, held))
                .values(lease_until=self._database.after(lease))
            )

    async def _let_go(self, connection: AsyncConnection, owner: str, *which: ColumnElement[bool]) -> None:
        held = await self._lock(connection, schema.partitions.c.owner == owner, *which)
        if held:
            await connection.execute(
                update(schema.partitions)
                .where(self._database.among(schema.partitions.c.partition, held))
                .values(owner=None, lease_until=None)
            )

    async def _lock(self, connection: AsyncConnection, *which: ColumnElement[bool]) -> Sequence[int]:
        rows = (
            select(schema.partitions.c.partition)
            .where(*which)
            .order_by(schema.partitions.c.partition)
            .with_for_update()
        )
        return (await connection.execute(rows)).scalars().all()

    async def _look(self, connection: AsyncConnection, caller: str, ttl: timedelta) -> Cluster:
        alive = await self._members(connection, ttl, caller)
        token = select(schema.deployment.c.broker_token).scalar_subquery()
        now, token = (await connection.execute(select(self._database.now(), token))).one()
        leases = await all_leases(connection, now)
        return Cluster(now=now, members=alive, partitions=leases, broker_token=token or "")

    async def _members(
        self, connection: AsyncConnection, ttl: timedelta, caller: str | None = None
    ) -> Sequence[Member]:
        table = schema.members.c
        alive = table.seen_at >= self._database.after(-ttl)
        if caller is not None:
            alive = or_(alive, table.owner == caller)
        rows = await connection.execute(
            select(table.owner, table.document).where(alive).order_by(table.owner)
        )
        return [decode_member(owner, document) for owner, document in rows]


async def _deployment(connection: AsyncConnection) -> Deployment | None:
    table = schema.deployment.c
    found = await connection.execute(
        select(table.partitions, table.layout, table.queue_type, table.broker_token)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return Deployment(
        partitions=row.partitions, layout=row.layout, queue_type=row.queue_type, broker_token=row.broker_token
    )


async def all_leases(connection: AsyncConnection, now: datetime) -> list[PartitionLease]:
    """Every partition's lease, as of `now` by the database's clock."""
    rows = await connection.execute(select(schema.partitions).order_by(schema.partitions.c.partition))
    return [_lease(row, now) for row in rows]


def _lease(row: Row[Any], now: datetime) -> PartitionLease:
    until: datetime | None = row.lease_until
    return PartitionLease(
        partition=row.partition,
        owner=row.owner,
        epoch=row.epoch,
        remaining=0.0 if until is None else (until - now).total_seconds(),
        broker_token=row.broker_token,
    )
