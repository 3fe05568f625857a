"""A deployment in which all is well, to be spoilt in one thing by each test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tenuto.broker.protocol import QueueInfo
from tenuto.core.events import Event, ExecutionStarted, TurnStarted, encode_events
from tenuto.core.status import LIVE, Status
from tenuto.doctor import Finding, InstanceLook, Look
from tenuto.naming import Names
from tenuto.store.protocol import Backlog, Deployment, Health, InstanceRecord, Member, PartitionLease

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAMES = Names("ns")
MARKER = "m"
PARTITIONS = 3
NULL = msgspec.Raw(b"null")


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def waiting(**age: float) -> Backlog:
    return Backlog(count=2, oldest=ago(**age), examples=("one", "two"))


def lease(partition: int, **changes: Any) -> PartitionLease:
    fields: dict[str, Any] = {"owner": "me", "epoch": 1, "remaining": 3.0, "broker_token": MARKER}
    return PartitionLease(partition=partition, **(fields | changes))


def health(**changes: Any) -> Health:
    nothing = {
        name: Backlog() for name in ("pending", "stalled", "unanswered", "timers", "inbox", "held", "outbox")
    }
    fields: dict[str, Any] = {
        "now": NOW,
        "broker_token": MARKER,
        "leases": [lease(number) for number in range(PARTITIONS)],
        "live": dict.fromkeys(LIVE, 0),
        **nothing,
    }
    return Health(**(fields | changes))


def member(**changes: Any) -> Member:
    fields: dict[str, Any] = {
        "owner": "me",
        "workflows": {"fulfil": [], "old": ["v1"]},
        "activities": {"charge": "payments"},
    }
    return Member(**(fields | changes))


def queues(**changes: QueueInfo | None) -> Mapping[str, QueueInfo | None]:
    """By short names: `turns_1`, `payments`, `start`, `start_dead`, `dead`, `marker`."""
    read = QueueInfo(messages=0, consumers=1)
    unread = QueueInfo(messages=0, consumers=0)
    names = {f"turns_{number}": NAMES.turns(number) for number in range(PARTITIONS)} | {
        "payments": NAMES.activities("payments"),
        "start": NAMES.start,
        "start_dead": NAMES.start_dead,
        "dead": NAMES.dead,
        "marker": NAMES.marker(MARKER),
    }
    usual = {short: unread if short in ("start_dead", "dead", "marker") else read for short in names}
    return {names[short]: info for short, info in (usual | changes).items()}


def look(**changes: Any) -> Look:
    fields: dict[str, Any] = {
        "names": NAMES,
        "deployment": Deployment(partitions=PARTITIONS, broker_token=MARKER),
        "health": health(),
        "members": [member()],
        "queues": queues(),
    }
    return Look(**(fields | changes))


def record(id_: str = "order", **changes: Any) -> InstanceRecord:
    fields: dict[str, Any] = {
        "run": "run",
        "partition": 0,
        "workflow": "fulfil",
        "version": None,
        "status": Status.RUNNING,
        "generation": 0,
        "turn": 1,
        "tasks_pending": 0,
        "input": b"null",
        "created_at": ago(hours=1),
        "updated_at": ago(hours=1),
    }
    return InstanceRecord(id=id_, **(fields | changes))


def history(*events: Event, at: datetime | None = None) -> list[bytes]:
    started = ExecutionStarted(workflow="fulfil", input=NULL, seed="s")
    turn = TurnStarted(at=ago(hours=1) if at is None else at)
    return [encode_events([started, turn, *events])]


def look_at(
    *events: Event,
    at: datetime | None = None,
    rows: Sequence[bytes] | None = None,
    children: Sequence[InstanceRecord] = (),
    deployment: Look | None = None,
    **changes: Any,
) -> InstanceLook:
    return InstanceLook(
        deployment=look() if deployment is None else deployment,
        record=record(**changes),
        history=history(*events, at=at) if rows is None else rows,
        children={child.id: child for child in children},
    )


def kinds(findings: Sequence[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def with_leases(*changed: PartitionLease) -> Look:
    """All is well but for these partitions."""
    by_number = {one.partition: one for one in changed}
    leases = [by_number.get(number, lease(number)) for number in range(PARTITIONS)]
    return replace(look(), health=health(leases=leases))
