"""What the simulated database tells an onlooker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tenuto.core.status import LIVE, Status
from tenuto.errors import StoreError
from tenuto.store.protocol import Backlog, Health, InboxRow, InstanceRecord, PartitionLease
from tests.simulation.database import Database

__all__ = ["health_of"]

_Waiting = tuple[datetime, str]


def health_of(database: Database, examples: int) -> Health:
    """`Store.health` over the tables as they stand."""
    if database.recorded is None:
        raise StoreError("there is no deployment yet; start an orchestrator first")
    now = database.now()
    records = list(database.records.values())
    letters = list(database.letters.values())

    def backlog(waiting: Iterable[_Waiting]) -> Backlog:
        found = sorted(waiting)
        if not found:
            return Backlog()
        shown = tuple(dict.fromkeys(who for _, who in found[:examples]))
        return Backlog(count=len(found), oldest=found[0][0], examples=shown)

    def inserted(rows: Iterable[InboxRow]) -> list[_Waiting]:
        return [(database.inserted[row.id], row.target) for row in rows]

    return Health(
        now=now,
        broker_token=database.recorded.broker_token,
        leases=_leases(database, now),
        live=_live(records),
        pending=backlog(
            (r.created_at, r.id)
            for r in records
            if r.status is Status.PENDING and not (r.start_at and r.start_at > now)
        ),
        stalled=backlog((r.updated_at, r.id) for r in records if r.status is Status.STALLED),
        unanswered=backlog((r.updated_at, r.id) for r in records if r.tasks_pending),
        timers=backlog((t.fire_at, t.instance) for _, t in database.due.values() if t.fire_at <= now),
        inbox=backlog(inserted(row for row in letters if not row.held)),
        held=backlog(inserted(row for row in letters if row.held)),
        outbox=backlog((database.inserted[key], str(key[0])) for key in database.outboxes),
    )


def _leases(database: Database, now: datetime) -> list[PartitionLease]:
    return [
        PartitionLease(
            partition=row.partition,
            owner=row.owner,
            epoch=row.epoch,
            remaining=row.remaining(now),
            broker_token=row.broker_token,
        )
        for row in database.leases.values()
    ]


def _live(records: Iterable[InstanceRecord]) -> dict[Status, int]:
    counts = dict.fromkeys(sorted(LIVE), 0)
    for record in records:
        if record.status in counts:
            counts[record.status] += 1
    return counts
