"""What one instance waits for, and whether it will come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

import msgspec

from tenuto.core.histories import read_history
from tenuto.core.pending import (
    Pending,
    PendingActivity,
    PendingChild,
    PendingCompensation,
    PendingLock,
    PendingTimer,
)
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.doctor.findings import Finding, Patience, Severity, span
from tenuto.doctor.look import InstanceLook

__all__ = ["Examination", "Wait", "examine_instance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that the instance has asked for and not got."""

    kind: str
    """`activity`, `timer` or `child`."""
    subject: str
    since: datetime
    says: str
    """How it stands with it, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """An instance, examined."""

    instance: str
    status: Status
    waits: Sequence[Wait]
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What came of looking at one thing that it waits for."""

    wait: Wait
    findings: Sequence[Finding] = ()


def examine_instance(look: InstanceLook, patience: Patience) -> Examination:
    """How an instance is: what it waits for, and what is wrong with it."""
    record = look.record
    findings = [*_standing(look)]
    waits: list[Wait] = []
    if not record.status.is_terminal:
        findings += _surroundings(look)
        try:
            state = _state(look)
        except (msgspec.DecodeError, ValueError, KeyError, AttributeError) as error:
            findings.append(_unreadable(look, error))
        else:
            parts = [_part(look, patience, state, pending) for pending in state.pending.values()]
            waits = sorted((part.wait for part in parts), key=lambda wait: wait.kind == "compensation")
            findings += [finding for part in parts for finding in part.findings]
            findings += _waiting_for_nothing(look, patience, waits)
    return Examination(instance=record.id, status=record.status, waits=waits, findings=findings)


def _state(look: InstanceLook) -> State:
    return State.fold(look.record.id, look.record.run, read_history(look.history))


# The instance itself -------------------------------------------------------------------------------------


def _standing(look: InstanceLook) -> Iterator[Finding]:
    record, who = look.record, f"instance {look.record.id!r}"
    since = span(look.deployment.health.now - record.updated_at)
    match record.status:
        case Status.STALLED:
            yield Finding(
                kind="instance-stalled",
                what=f"{who} is STALLED since {since}: {record.reason or 'no reason is recorded'}",
                remedy="it goes on by itself when an orchestrator with code that fits its history starts; or "
                "terminate it",
                instances=(record.id,),
            )
        case Status.SUSPENDED:
            yield Finding(
                kind="instance-suspended",
                severity=Severity.NOTE,
                what=f"{who} is SUSPENDED since {since}" + (f": {record.reason}" if record.reason else ""),
                remedy="somebody asked for this; resume it to let it go on",
                instances=(record.id,),
            )
        case Status.COMPLETED | Status.FAILED | Status.TERMINATED:
            yield Finding(
                kind="instance-over",
                severity=Severity.NOTE,
                what=f"{who} has ended as {record.status}; there is nothing left for it to do",
                remedy=f"see its history: tenuto workflow history {record.id}",
                instances=(record.id,),
            )
        case Status.PENDING | Status.RUNNING:
            return
        case _ as unreachable:
            assert_never(unreachable)


def _surroundings(look: InstanceLook) -> Iterator[Finding]:
    record, lease, members = look.record, look.lease, look.deployment.members
    if not members:
        yield Finding(
            kind="no-orchestrator",
            what="no orchestrator is alive, so it cannot go on",
            remedy="start one: tenuto orchestrator module:app",
        )
        return
    if lease is None or lease.owner is None or lease.remaining <= 0:
        yield Finding(
            kind="partition-unowned",
            what=f"its partition, {record.partition}, has no live owner",
            remedy="this lasts five seconds after an orchestrator has died; if it stays, see the orchestrators' logs",
        )
    serving = [member for member in members if record.workflow in member.workflows]
    if not serving:
        yield Finding(
            kind="workflow-unserved",
            what=f"no live orchestrator serves the workflow {record.workflow!r}",
            remedy="start one whose app has it; the instance then goes on by itself",
            instances=(record.id,),
        )
    elif record.version is not None and not any(
        record.version in member.workflows[record.workflow] for member in serving
    ):
        yield Finding(
            kind="workflow-unserved",
            what=f"no live orchestrator serves version {record.version!r} of the workflow {record.workflow!r}",
            remedy="start one whose app still has that version; the instance then goes on by itself",
            instances=(record.id,),
        )


def _unreadable(look: InstanceLook, error: Exception) -> Finding:
    return Finding(
        kind="history-unreadable",
        what=f"its history cannot be read ({type(error).__name__}: {error})",
        remedy="a newer release may have written it: then it goes on with that; if it is damaged, restore it from a "
        "backup, or purge the instance with force",
        instances=(look.record.id,),
    )


def _waiting_for_nothing(look: InstanceLook, patience: Patience, waits: Sequence[Wait]) -> Iterator[Finding]:
    record, now = look.record, look.deployment.health.now
    if record.status is Status.PENDING and now - record.created_at > patience.waiting:
        yield Finding(
            kind="instance-pending",
            what=f"its first turn has not come for {span(now - record.created_at)}",
            remedy="the owner of its partition takes it; see its log if nothing else is found here",
            instances=(record.id,),
        )
    elif record.status is Status.RUNNING and all(wait.kind == "compensation" for wait in waits):
        yield Finding(
            kind="waits-for-event",
            severity=Severity.NOTE,
            what="it waits for no activity, timer or child, hence for an external event; its last turn was "
            f"{span(now - record.updated_at)} ago",
            remedy=f"its code tells which event; its history, which have come: tenuto workflow history {record.id}",
            instances=(record.id,),
        )


# What it waits for ---------------------------------------------------------------------------------------


def _part(
    look: InstanceLook,
    patience: Patience,
    state: State,
    pending: Pending,
) -> _Part:
    match pending:
        case PendingTimer():
            return _timer(look, patience, pending)
        case PendingActivity() | PendingChild() if pending.waiting_until is not None:
            return _retry(look, patience, pending, pending.waiting_until)
        case PendingActivity():
            return _activity(look, patience, pending)
        case PendingChild():
            return _child(look, patience, pending, state.child(pending).run)
        case PendingLock():
            subject = f"the lock {pending.command.key!r}"
            return _Part(
                wait=Wait(kind="lock", subject=subject, since=pending.first, says="waited for, or held")
            )
        case PendingCompensation():
            return _Part(
                wait=Wait(
                    kind="compensation",
                    subject=pending.command.call.name,
                    since=pending.first,
                    says="to be run if the instance is terminated",
                )
            )
        case _ as unreachable:
            assert_never(unreachable)


def _timer(look: InstanceLook, patience: Patience, pending: PendingTimer) -> _Part:
    event = pending.command.event
    subject = "a timer" if event is None else f"the event {event!r}, or its deadline"
    wait = Wait(kind="timer", subject=subject, since=pending.first, says="")
    return _due(look, patience, wait, pending.waiting_until)


def _retry(
    look: InstanceLook, patience: Patience, pending: PendingActivity | PendingChild, until: datetime
) -> _Part:
    command = pending.command
    name = command.name if isinstance(pending, PendingActivity) else command.workflow  # type: ignore[union-attr]
    subject = f"attempt {pending.attempt} of {name}"
    wait = Wait(kind=pending.kind.value, subject=subject, since=pending.first, says="")
    return _due(look, patience, wait, until)


def _due(look: InstanceLook, patience: Patience, wait: Wait, at: datetime) -> _Part:
    """A wait for a point in time."""
    now = look.deployment.health.now
    if now <= at:
        return _Part(wait=replace(wait, says=f"due in {span(at - now)}"))
    wait = replace(wait, says=f"overdue by {span(now - at)}")
    if now - at <= patience.waiting or look.record.status in (Status.SUSPENDED, Status.STALLED):
        return _Part(wait=wait)
    finding = Finding(
        kind="timer-overdue",
        what=f"{wait.subject} is {wait.says}",
        remedy="the owner of its partition fires it; see its log if nothing else is found here",
        instances=(look.record.id,),
    )
    return _Part(wait=wait, findings=[finding])


def _activity(look: InstanceLook, patience: Patience, pending: PendingActivity) -> _Part:
    command, now = pending.command, look.deployment.health.now
    since = pending.first if pending.attempt == 1 else max(pending.first, look.record.updated_at)
    late = now - since > patience.unanswered
    says, problem, remedy = _here(late=late) if command.local else _pool(look, command.pool, late=late)
    subject = f"{command.name} (attempt {pending.attempt})"
    lost = f"; lost with its worker {pending.losses} times" if pending.losses else ""
    wait = Wait(kind="activity", subject=subject, since=since, says=says + lost)
    if problem is None:
        return _Part(wait=wait)
    finding = Finding(
        kind=problem,
        what=f"activity {subject} has been out for {span(now - since)}: {says}",
        remedy=remedy,
        instances=(look.record.id,),
    )
    return _Part(wait=wait, findings=[finding])


def _here(*, late: bool) -> tuple[str, str | None, str]:
    """How it stands with a local activity, as of a pool."""
    remedy = "see the log of its partition's owner; one that takes long should not be local"
    return "it runs in the orchestrator", "activity-unanswered" if late else None, remedy


def _pool(look: InstanceLook, pool: str, *, late: bool) -> tuple[str, str | None, str]:
    """How it stands with a pool: in words, the kind of problem if it is one, and the remedy."""
    queues = look.deployment.queues
    if queues is None:
        kind = "activity-unanswered" if late else None
        return f"pool {pool!r}; the broker was not asked about it", kind, "see the worker's log"
    info = queues.get(look.deployment.names.activities(pool))
    start = f"start a worker: tenuto worker module:app --pool {pool}"
    if info is None:
        return (
            f"the queue of pool {pool!r} is missing",
            "queue-missing",
            "orchestrators make it anew when they miss it",
        )
    if not info.consumers:
        return f"pool {pool!r} has no worker and {info.messages} messages", "pool-without-workers", start
    stands = f"pool {pool!r} has {info.consumers} workers and {info.messages} messages waiting"
    if not late:
        return stands, None, ""
    if info.messages:
        return stands, "activity-unanswered", f"the pool does not keep up; {start}"
    return (
        f"{stands}, so a worker has it",
        "activity-unanswered",
        "if it never takes that long, see the workers' logs; a task that is lost is sent again by itself",
    )


def _child(look: InstanceLook, patience: Patience, pending: PendingChild, run: str) -> _Part:
    now, child = look.deployment.health.now, look.children.get(pending.instance)
    subject = f"child {pending.instance} ({pending.command.workflow})"
    gone = child is None or child.run != run
    says = "it does not exist" if child is None or gone else f"it is {child.status}"
    if child is not None and not gone:
        since = child.ended_at if child.status.is_terminal else None
    else:
        since = max(pending.first, look.record.updated_at)
    wait = Wait(kind="child", subject=subject, since=pending.first, says=says)
    findings: list[Finding] = []
    if since is not None and now - since > patience.waiting:
        findings.append(
            Finding(
                kind="child-unheard",
                what=f"it waits for {subject}, and {says} since {span(now - since)}",
                remedy="a letter between the two is not read: see the owners of both partitions; a child that was "
                "purged by force while it lived never answers: terminate its parent",
                instances=(look.record.id, pending.instance),
            )
        )
    if child is not None and not gone and child.status is Status.STALLED:
        findings.append(
            Finding(
                kind="instance-stalled",
                what=f"it waits for {subject}, which is STALLED: {child.reason or 'no reason is recorded'}",
                remedy=f"examine the child: tenuto doctor {child.id}",
                instances=(child.id,),
            )
        )
    return _Part(wait=wait, findings=findings)
