"""What waits in the tables, and since when: for whoever wants to know whether all is well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, Text, cast, false, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.core.status import LIVE, Status
from tenuto.errors import StoreError
from tenuto.store import schema
from tenuto.store.database import Database
from tenuto.store.ownership import all_leases
from tenuto.store.protocol import Backlog, Health, PartitionLease

__all__ = ["Looking"]


class Looking:
    """The verb of onlookers: `health`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def health(self, *, examples: int = 5) -> Health:
        async def work(connection: AsyncConnection) -> Health:
            return await _Look(self._database, connection, examples).health()

        return await self._database.read(work)


class _Look:
    """One look, on one connection."""

    def __init__(self, database: Database, connection: AsyncConnection, examples: int) -> None:
        self._database = database
        self._connection = connection
        self._examples = examples

    async def health(self) -> Health:
        known = await self._connection.execute(select(self._database.now(), schema.deployment.c.broker_token))
        found = known.one_or_none()
        if found is None:
            raise StoreError(f"{self._database.where} holds no deployment yet; start an orchestrator first")
        now, token = found
        leases = await all_leases(self._connection, now)
        instances, inbox, outbox = schema.instances.c, schema.inbox.c, schema.outbox.c
        return Health(
            now=now,
            broker_token=token,
            leases=leases,
            live=await self._live(),
            pending=await self._backlog(
                instances.id,
                instances.created_at,
                [
                    instances.status == Status.PENDING.value,
                    or_(instances.start_at.is_(None), instances.start_at <= now),
                ],
            ),
            stalled=await self._backlog(
                instances.id, instances.updated_at, [instances.status == Status.STALLED.value]
            ),
            unanswered=await self._backlog(instances.id, instances.updated_at, [instances.tasks_pending > 0]),
            timers=await self._timers(now, leases),
            inbox=await self._backlog(inbox.target, inbox.created_at, [inbox.held == false()]),
            held=await self._backlog(inbox.target, inbox.created_at, [inbox.held == true()]),
            outbox=await self._backlog(cast(outbox.partition, Text), outbox.created_at, []),
        )

    async def _live(self) -> Mapping[Status, int]:
        status = schema.instances.c.status
        counts = await self._connection.execute(
            select(status, func.count().cast(Integer)).where(status.in_(sorted(LIVE))).group_by(status)
        )
        return dict.fromkeys(sorted(LIVE), 0) | {Status(row[0]): row[1] for row in counts}

    async def _timers(self, now: datetime, leases: Sequence[PartitionLease]) -> Backlog:
        timers = schema.timers.c
        # By partition, since that is how the index goes: timers that are not due may be very many.
        everywhere = self._database.among(timers.partition, [lease.partition for lease in leases])
        return await self._backlog(timers.instance, timers.fire_at, [everywhere, timers.fire_at <= now])

    async def _backlog(
        self, who: ColumnElement[str], since: Column[Any], where: Sequence[ColumnElement[bool]]
    ) -> Backlog:
        row = (await self._connection.execute(select(func.count(), func.min(since)).where(*where))).one()
        if not row[0]:
            return Backlog()
        found = await self._connection.execute(
            select(who).where(*where).order_by(since).limit(self._examples)
        )
        return Backlog(count=row[0], oldest=row[1], examples=tuple(dict.fromkeys(found.scalars())))
