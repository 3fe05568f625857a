"""What a turn means for the tables and the queues: a function of the turn and of the state after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from tenuto.core.events import ExecutionStarted, Failure, ReplyTo, encode_events
from tenuto.core.letters import Purge, Raise, Request, Resume, Suspend, Terminate
from tenuto.core.reserved import LOCK
from tenuto.core.status import Status
from tenuto.core.turn import START_TIMER, Arrival, TaskOut, TimerKey, Turn
from tenuto.messages import ActivityTask, Reply, encode
from tenuto.naming import Names
from tenuto.store.protocol import HistoryRow, InstanceRecord, InstanceUpdate, TimerRow
from tenuto_orchestrator.change import Change, Envelope, dead_letter
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.spans import Spans, onward
from tenuto_orchestrator.work import Item

__all__ = [
    "add_task",
    "new_record",
    "record_start",
    "record_turn",
    "repeat",
    "reply_of",
    "task_message",
    "too_late",
    "update_of",
]

_log = logging.getLogger("tenuto.orchestrator")
_failure: msgspec.json.Decoder[Failure] = msgspec.json.Decoder(Failure)


def new_record(change: Change, run: str, started: ExecutionStarted, now: datetime) -> InstanceRecord:
    """The row of an instance that is about to have its first turn."""
    return InstanceRecord(
        id=change.instance,
        run=run,
        partition=change.partition.number,
        workflow=started.workflow,
        version=started.version,
        status=Status.PENDING,
        generation=started.generation,
        turn=0,
        tasks_pending=0,
        input=bytes(started.input),
        tags=started.tags,
        parent=None if started.parent is None else started.parent.instance,
        trace=started.trace,
        start_at=started.start_at,
        created_at=now,
        updated_at=now,
    )


def update_of(old: InstanceRecord, new: InstanceRecord) -> InstanceUpdate:
    """The guarded update that turns one into the other (rule C1)."""
    return InstanceUpdate(
        id=old.id,
        run=old.run,
        expected_turn=old.turn,
        turn=new.turn,
        generation=new.generation,
        status=new.status,
        tasks_pending=new.tasks_pending,
        output=new.output,
        custom_status=new.custom_status,
        failure=new.failure,
        reason=new.reason,
        updated_at=new.updated_at,
        ended_at=new.ended_at,
        tags=None if new.tags == old.tags else new.tags,
        version=None if new.version == old.version else new.version,
    )


def record_start(change: Change, started: ExecutionStarted) -> None:
    """The instance exists though its first turn cannot be taken yet."""
    record = change.insert
    assert record is not None  # noqa: S101 - a start makes the row before anything else
    change.turns.append(HistoryRow(instance=record.id, turn=0, generation=0, events=encode_events([started])))
    change.insert = replace(record, turn=1)
    change.record = change.insert
    _await_start(change, record, started)


def _await_start(change: Change, record: InstanceRecord, started: ExecutionStarted) -> None:
    """The timer of a delayed start."""
    if started.start_at is not None:
        change.timers_set.append(_timer_row(record, 0, START_TIMER, started.start_at))


def record_turn(
    change: Change,
    resident: Resident,
    turn: Turn,
    *,
    started: ExecutionStarted | None,
    arrived: Mapping[int, Item],
    names: Names,
    spans: Spans,
    envelope: Envelope,
    now: datetime,
) -> None:
    """Write a turn into the change, and answer those who asked for what arrived."""
    ignored = {id(arrival): reason for arrival, reason in turn.ignored}
    for key, item in arrived.items():
        reason = ignored.get(key)
        change.answer(_request(item), None if reason is None else _refusal(item, reason))
        if reason is not None:
            _log_ignored(item, reason)
    if not turn.events and not turn.next_generation and started is None:
        return  # a redelivery: nothing changes, and the commit is fenced all the same (rule C2)
    old = resident.record
    new = _next_record(resident, turn, now)
    if started is not None:
        change.insert = new
    else:
        change.update = update_of(old, new)
    change.record = new
    change.stalled = False  # whatever was found before, it has just had a turn
    change.status_before = None if started is not None else old.status
    _write_history(change, old, new, turn, started)
    if started is not None and resident.execution is not None and not resident.execution.state.begun:
        _await_start(change, new, started)
    ran_in = old.generation  # what this turn set and cleared is of the generation that ran
    change.timers_cleared += [_timer_row(new, ran_in, key) for key in turn.timers_cleared]
    change.timers_set += [_timer_row(new, ran_in, timer.key, timer.fire_at) for timer in turn.timers_set]
    _send(change, old, turn, names=names, spans=spans, envelope=envelope, now=now)
    if (
        new.workflow == LOCK and new.status is Status.COMPLETED
    ):  # nobody wants it; there would be a row for every key
        change.letters.append(envelope(new.id, Purge(recursive=False), new.run))
    assert resident.execution is not None  # noqa: S101 - it has just had a turn
    reply = resident.execution.state.reply
    if new.status.is_terminal and reply is not None:
        change.reply(reply, reply_of(new))


def _send(
    change: Change,
    record: InstanceRecord,
    turn: Turn,
    *,
    names: Names,
    spans: Spans,
    envelope: Envelope,
    now: datetime,
) -> None:
    """Everything that a turn of the generation that `record` is at lets out."""
    context = spans.context(record)
    trace = spans.headers(record) if turn.tasks or turn.dead else {}
    for task in turn.tasks:
        add_task(change, record, task, names, trace=trace, now=now)
    change.letters += [envelope(out.instance, onward(out, context), out.run) for out in turn.letters]
    for task in turn.dead:
        _, message = task_message(change, record, task, names, trace=trace, now=now)
        reason = "lost too often: it may be what kills its worker"
        change.posts.append(dead_letter(names.dead, msgspec.json.encode(message), reason))


def _next_record(resident: Resident, turn: Turn, now: datetime) -> InstanceRecord:
    execution, old = resident.execution, resident.record
    assert execution is not None  # noqa: S101 - it has just had a turn
    state = execution.state
    status = state.status
    if status is Status.PENDING and state.generation > 0:
        status = Status.RUNNING  # between two generations an instance has not become pending again
    return replace(
        old,
        version=state.version,
        status=status,
        generation=state.generation,
        turn=old.turn + 1,
        tasks_pending=state.tasks_pending,
        output=None if turn.output is None else bytes(turn.output),
        failure=None if turn.failure is None else msgspec.json.encode(turn.failure),
        custom_status=old.custom_status if turn.custom_status is None else turn.custom_status,
        reason=state.reason,
        tags=old.tags if execution.stalled is not None else execution.tags,
        updated_at=now,
        ended_at=now if status.is_terminal else None,
    )


def _write_history(
    change: Change, old: InstanceRecord, new: InstanceRecord, turn: Turn, started: ExecutionStarted | None
) -> None:
    if turn.next_generation:  # the old generation's history goes in this very commit
        events = turn.next_generation
        if started is None:
            change.drop_below = new.generation
    else:
        events = turn.events if started is None else (started, *turn.events)
    row = HistoryRow(instance=old.id, turn=old.turn, generation=new.generation, events=encode_events(events))
    change.turns.append(row)


def _timer_row(
    record: InstanceRecord, generation: int, key: TimerKey, at: datetime | None = None
) -> TimerRow:
    fire_at = record.updated_at if at is None else at  # which is of no account in a deletion
    return TimerRow(instance=record.id, run=record.run, generation=generation, key=key, fire_at=fire_at)


def add_task(
    change: Change,
    record: InstanceRecord,
    task: TaskOut,
    names: Names,
    *,
    trace: dict[str, str],
    now: datetime,
) -> None:
    """Have an activity attempt executed after the commit: by a worker, or here."""
    pool, message = task_message(change, record, task, names, trace=trace, now=now)
    if task.scheduled.local:
        change.local.append(message)
    else:
        change.tasks.append((pool, message))


def task_message(
    change: Change,
    record: InstanceRecord,
    task: TaskOut,
    names: Names,
    *,
    trace: dict[str, str],
    now: datetime,
) -> tuple[str, ActivityTask]:
    """(pool, message) of an activity attempt of the generation that `record` is at."""
    scheduled = task.scheduled
    return scheduled.pool, ActivityTask(
        instance=record.id,
        run=record.run,
        generation=record.generation,
        command=scheduled.id,
        attempt=task.attempt,
        name=scheduled.name,
        input=scheduled.input,
        workflow=record.workflow,
        key=task.key,
        reply_to=names.turns(change.partition.number),
        start_to_close=scheduled.start_to_close,
        schedule_to_start=scheduled.schedule_to_start,
        heartbeat_timeout=scheduled.heartbeat_timeout,
        details=task.details,
        alone=task.alone,
        sending=task.sending,
        sent=now,
        trace=trace,
    )


def repeat(change: Change, to: ReplyTo) -> None:
    """Publish the outcome again, if there is one (rule I3). While the instance lives, its end brings the reply."""
    record = change.resident.record if change.resident is not None else None
    if record is not None and record.status.is_terminal:
        change.reply(to, reply_of(record))


def reply_of(record: InstanceRecord) -> bytes:
    """How an instance ended, as the message to its starter's `reply_to`."""
    failure = None if record.failure is None else _failure.decode(record.failure)
    output = None if record.output is None else msgspec.Raw(record.output)
    return encode(
        Reply(
            instance_id=record.id,
            workflow=record.workflow,
            status=record.status.value,
            output=output,
            failure=failure,
        )
    )


def too_late(change: Change, items: Sequence[Item]) -> None:
    """There is no such instance, or it has ended: use the items up, and say so to whoever asked (rule N4)."""
    record = change.resident.record if change.resident is not None else None
    reason = "there is no such instance" if record is None else f"it has ended as {record.status}"
    for item in items:
        change.take(item)
        error = "NotFoundError" if record is None else "InstanceOverError"
        change.answer(_request(item), f"{error}: instance {change.instance!r}: {reason}")
        _log_ignored(item, reason)


def _request(item: Item) -> Request | None:
    match item.work:
        case Arrival(what=(Raise() | Suspend() | Resume() | Terminate()) as letter):
            return letter.request
        case _:
            return None


def _refusal(item: Item, reason: str) -> str | None:
    """What the sender of an arrival that came too late is told; asking twice for the same thing is no error."""
    match item.work:
        case Arrival(what=Raise()):
            return f"InstanceOverError: instance {item.instance!r}: {reason}"
        case _:
            return None


def _log_ignored(item: Item, reason: str) -> None:
    if isinstance(item.work, Arrival) and isinstance(item.work.what, Raise):
        _log.info("instance %r: event %r dropped: %s", item.instance, item.work.what.name, reason)
