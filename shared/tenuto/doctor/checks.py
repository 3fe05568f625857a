"""What can be wrong with a deployment: one function for each thing, from what was seen to what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from tenuto.doctor.findings import Finding, Patience, Severity, span
from tenuto.doctor.look import Look
from tenuto.store.protocol import Backlog, PartitionLease

__all__ = ["examine"]

_SHOWN = 5
"""How many of a kind a sentence names."""

_Check = Callable[[Look, Patience], Iterable[Finding]]


def examine(look: Look, patience: Patience, *, earlier: Look | None = None) -> list[Finding]:
    """Everything that is wrong with a deployment, the causes before what comes of them.

    `earlier`: a look from a few seconds before, without which it cannot be told whether leases change hands too often.
    """
    changed = [] if earlier is None else list(_flapping(earlier, look))
    return [*(finding for check in _CHECKS for finding in check(look, patience)), *changed]


# Who is at work ------------------------------------------------------------------------------------------


def _nobody(look: Look, _patience: Patience) -> Iterator[Finding]:
    if not look.members:
        yield Finding(
            kind="no-orchestrator",
            what="no orchestrator is alive, so no workflow can go on",
            remedy="start one: tenuto orchestrator module:app; if some are running, see their logs and whether they "
            "use this database",
        )


def _unowned(look: Look, _patience: Patience) -> Iterator[Finding]:
    free = [lease.partition for lease in look.health.leases if not _owned(lease)]
    if free and look.members:
        yield Finding(
            kind="partition-unowned",
            what=f"{_numbers('partition', free)} {_have(free)} no live owner, so their instances do not go on",
            remedy="if this lasts longer than a takeover (five seconds), see the orchestrators' logs for why they "
            "cannot recover them",
        )


def _flapping(earlier: Look, look: Look) -> Iterator[Finding]:
    before = {lease.partition: lease.epoch for lease in earlier.health.leases}
    changed = [
        lease.partition for lease in look.health.leases if lease.epoch > before.get(lease.partition, 0)
    ]
    joined = {member.owner for member in look.members} != {member.owner for member in earlier.members}
    if changed and not joined:
        between = span(look.health.now - earlier.health.now)
        yield Finding(
            kind="lease-flapping",
            what=f"{_numbers('partition', changed)} changed hands within {between}, though no orchestrator came or "
            "went",
            remedy="an orchestrator keeps losing them: see its log; a blocked event loop, an overloaded machine or a "
            "database slower than TENUTO_LEASE are the usual reasons",
        )


def _strange_token(look: Look, _patience: Patience) -> Iterator[Finding]:
    token = look.health.broker_token
    behind = [
        lease.partition for lease in look.health.leases if _owned(lease) and lease.broker_token != token
    ]
    if behind:
        yield Finding(
            kind="broker-changed",
            severity=Severity.NOTE,
            what=f"the broker lost its memory, and {_numbers('partition', behind)} {_have(behind)} not sent everything "
            "that was pending to it again yet",
            remedy="this ends by itself; if it does not, see the orchestrators' logs",
        )


# What waits in the database ------------------------------------------------------------------------------


def _pending(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.pending
    if _late(look, backlog, patience.waiting):
        yield Finding(
            kind="instance-pending",
            what=f"{_count(backlog, 'instance')} PENDING, the oldest for {_age(look, backlog)}: their first turn "
            "does not come",
            remedy="an orchestrator that serves their workflow must be alive: see `tenuto db status`, and `tenuto "
            "doctor` with one of the ids",
            instances=backlog.examples,
        )


def _stalled(look: Look, _patience: Patience) -> Iterator[Finding]:
    backlog = look.health.stalled
    for record in look.stalled:
        yield Finding(
            kind="instance-stalled",
            what=f"instance {record.id!r} (workflow {record.workflow}) is STALLED since "
            f"{span(look.health.now - record.updated_at)}: {record.reason or 'no reason is recorded'}",
            remedy="it goes on by itself when an orchestrator with code that fits its history starts; or terminate it",
            instances=(record.id,),
        )
    if backlog.count > len(look.stalled):
        yield Finding(
            kind="instance-stalled",
            what=f"{backlog.count} instances are STALLED in all",
            remedy="list them with: tenuto workflow list --status STALLED",
        )


def _unanswered(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.unanswered
    if _late(look, backlog, patience.unanswered):
        yield Finding(
            kind="activity-unanswered",
            what=f"{_count(backlog, 'instance')} waiting for activities, one without a turn for {_age(look, backlog)}",
            remedy="if no activity takes that long, see the pools below, and `tenuto doctor` with one of the ids",
            instances=backlog.examples,
        )


def _timers(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.timers
    if _late(look, backlog, patience.waiting):
        yield Finding(
            kind="timer-overdue",
            what=f"{_count(backlog, 'timer')} overdue, the oldest by {_age(look, backlog)}",
            remedy="timers fire where a partition has an owner that keeps up; those of STALLED instances wait with "
            "them",
            instances=backlog.examples,
        )


def _inbox(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.inbox
    if _late(look, backlog, patience.waiting):
        yield Finding(
            kind="inbox-old",
            what=f"{_count(backlog, 'letter')} unread in the inbox, the oldest for {_age(look, backlog)}",
            remedy="the owners of their partitions do not keep up, or do not work: see their logs",
            instances=backlog.examples,
        )


def _held(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.held
    if _late(look, backlog, patience.waiting):
        yield Finding(
            kind="inbox-held",
            what=f"{_count(backlog, 'letter')} held, the oldest for {_age(look, backlog)}: no code at hand can take "
            "them",
            remedy="they are for STALLED instances, for workflows that no live orchestrator serves, of a newer "
            "release, or events that were raised with create for instances that have not been started yet",
            instances=backlog.examples,
        )


def _outbox(look: Look, patience: Patience) -> Iterator[Finding]:
    backlog = look.health.outbox
    if _late(look, backlog, patience.waiting):
        partitions = sorted(map(int, backlog.examples))
        yield Finding(
            kind="outbox-old",
            what=f"{_count(backlog, 'outbox row')} not published and confirmed, the oldest for {_age(look, backlog)} "
            f"({_numbers('partition', partitions)} among them)",
            remedy="the broker does not confirm (is it blocked by a memory or disk alarm?), their partitions have no "
            "owner, or a row is damaged or of a newer release: the orchestrators' logs tell which",
        )


# What the broker has -------------------------------------------------------------------------------------


def _marker(look: Look, _patience: Patience) -> Iterator[Finding]:
    if look.queues is None or not look.deployment.broker_token:
        return
    if look.queues.get(look.names.marker(look.deployment.broker_token)) is None:
        yield Finding(
            kind="broker-wiped",
            what="the broker does not know this deployment: its marker queue is missing, so it was wiped or is another",
            remedy="live orchestrators notice within ten seconds, make the queues anew and send what is pending; if "
            "this stays, compare TENUTO_BROKER_URL and TENUTO_NAMESPACE with theirs",
        )


def _missing(look: Look, _patience: Patience) -> Iterator[Finding]:
    queues = look.queues or {}
    marker = look.names.marker(look.deployment.broker_token)
    missing = [queue for queue, info in queues.items() if info is None and queue != marker]
    if missing:
        yield Finding(
            kind="queue-missing",
            what=f"missing on the broker: {_list(missing)}",
            remedy="an orchestrator makes them when it starts or misses them; workers never do",
        )


def _deaf(look: Look, _patience: Patience) -> Iterator[Finding]:
    deaf = []
    for lease in look.health.leases:
        info = (look.queues or {}).get(look.names.turns(lease.partition))
        if info is not None and not info.consumers and _owned(lease):
            deaf.append(lease.partition)
    if deaf:
        yield Finding(
            kind="turn-queue-unread",
            what=f"{_numbers('partition', deaf)} {_have(deaf)} an owner that does not read the turn queue",
            remedy="it may be recovering: look again in a few seconds; else see its log for errors of the broker's",
        )


def _pools(look: Look, _patience: Patience) -> Iterator[Finding]:
    prefix = look.names.activities("")
    for queue, info in (look.queues or {}).items():
        if not queue.startswith(prefix) or info is None or info.consumers:
            continue
        pool = queue.removeprefix(prefix)
        start = f"start one: tenuto worker module:app --pool {pool}"
        if info.messages:
            yield Finding(
                kind="pool-without-workers",
                what=f"{info.messages} messages wait in the pool {pool!r}, and no worker serves it",
                remedy=start,
            )
        else:
            yield Finding(
                kind="pool-idle-without-workers",
                severity=Severity.NOTE,
                what=f"no worker serves the pool {pool!r}; nothing waits there now",
                remedy=start,
            )


def _door(look: Look, _patience: Patience) -> Iterator[Finding]:
    info = (look.queues or {}).get(look.names.start)
    if info is not None and info.messages and not info.consumers:
        yield Finding(
            kind="door-shut",
            what=f"{info.messages} start messages wait at the public door {look.names.start}, and nobody takes them in",
            remedy="any live orchestrator does; see their logs",
        )


def _dead_letters(look: Look, _patience: Patience) -> Iterator[Finding]:
    for queue in (look.names.start_dead, look.names.dead):
        info = (look.queues or {}).get(queue)
        if info is not None and info.messages:
            yield Finding(
                kind="dead-letters",
                severity=Severity.NOTE,
                what=f"{info.messages} dead letters lie in {queue}",
                remedy="each has its reason in the header x-tenuto-reason; look at them, then purge the queue",
            )


_CHECKS: Sequence[_Check] = (
    _nobody,
    _unowned,
    _marker,
    _missing,
    _strange_token,
    _deaf,
    _door,
    _pools,
    _stalled,
    _pending,
    _unanswered,
    _timers,
    _inbox,
    _held,
    _outbox,
    _dead_letters,
)


# Words ---------------------------------------------------------------------------------------------------


def _owned(lease: PartitionLease) -> bool:
    return lease.owner is not None and lease.remaining > 0


def _late(look: Look, backlog: Backlog, allowed: timedelta) -> bool:
    return backlog.oldest is not None and look.health.now - backlog.oldest > allowed


def _age(look: Look, backlog: Backlog) -> str:
    return span(look.health.now - (backlog.oldest or look.health.now))


def _count(backlog: Backlog, noun: str) -> str:
    return f"{backlog.count} {noun} is" if backlog.count == 1 else f"{backlog.count} {noun}s are"


def _have(many: Sequence[object]) -> str:
    return "has" if len(many) == 1 else "have"


def _numbers(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun} {numbers[0]}" if len(numbers) == 1 else f"{noun}s {_list([str(n) for n in numbers])}"


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
