"""Holds: tasks that have been in a worker's hands for so long that it has acknowledged their delivery (rule W2).

The broker does not know of them any more; the worker's beats stand for them, and when the beats stop, their owner sends
them again. So that a new owner knows of them too, each has a row in the timers table, at the time at which it is to be
looked at next: when its beats have been missing for their life, or when its partition's owner has been there for as
long, whichever is later. Its key is (command, -attempt), which no other timer has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from tenuto.core.pending import PendingActivity
from tenuto.core.turn import Arrival, TaskLost, TimerKey
from tenuto.messages import TaskRef
from tenuto.store.protocol import TimerRow
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.work import Item

__all__ = ["hold", "hold_row", "is_hold", "is_of_earlier_sending", "let_go", "look_after"]


def hold_row(task: TaskRef, at: datetime) -> TimerRow:
    """The row of a hold."""
    key = TimerKey(command=task.command, attempt=-task.attempt)
    return TimerRow(instance=task.instance, run=task.run, generation=task.generation, key=key, fire_at=at)


def is_hold(row: TimerRow) -> bool:
    return row.key.attempt < 0


def is_of_earlier_sending(change: Change, item: Item) -> bool:
    """Whether a task has come back that was sent again since. If there is a hold, it is that of the later sending."""
    match item.work:
        case Arrival(what=TaskLost(sending=int(sending))) if item.timer is not None:
            pending = _pending(change, _task(item.timer))
            return pending is not None and sending < pending.sending
        case _:
            return False


def hold(change: Change, tasks: Iterable[TaskRef], now: datetime, *, beat_life: float) -> None:
    """From this commit on the beats stand for these tasks."""
    for task in tasks:
        if _pending(change, task) is not None:
            change.timers_set.append(hold_row(task, now + timedelta(seconds=beat_life)))


def look_after(change: Change, item: Item, now: datetime, *, beat_life: float) -> list[Item]:
    """A hold is to be looked at: what its instance is to hear. Nothing, as long as there are beats about it."""
    row = item.timer
    assert row is not None  # noqa: S101 - it is what the item is about
    task = _task(row)
    pending = _pending(change, task)
    if pending is None:
        change.take(item)
        return []
    partition = change.partition
    holding = partition.beats.get(task)
    heard = partition.since if holding is None else max(holding.heard, partition.since)
    rest = heard + beat_life - asyncio.get_running_loop().time()
    if rest > 0:
        change.take(item)
        change.timers_set.append(replace(row, fire_at=max(now, row.fire_at) + timedelta(seconds=rest)))
        return []
    details = None if holding is None else holding.details
    partition.beats.forget(task)
    # Its worker died with it, or is out of reach. If it was alone there, it may be to blame (rule W1).
    lost = TaskLost(command=task.command, attempt=task.attempt, counted=pending.alone, details=details)
    arrival = Arrival(what=lost, run=task.run, generation=task.generation)
    return [Item(partition=partition, instance=task.instance, work=arrival, timer=row)]


def let_go(change: Change, row: TimerRow) -> None:
    """The instance is stalled, and may end without another look at the hold. Either its task has come back; or beats
    that go on bring the hold back, and where there are none, rule B2 finds the task."""
    change.timers_cleared.append(row)
    change.partition.beats.forget(_task(row))


def _task(row: TimerRow) -> TaskRef:
    return TaskRef(
        instance=row.instance,
        run=row.run,
        generation=row.generation,
        command=row.key.command,
        attempt=-row.key.attempt,
    )


def _pending(change: Change, task: TaskRef) -> PendingActivity | None:
    """The activity, if exactly this attempt is out (rule N1)."""
    execution = None if change.resident is None else change.resident.execution
    if execution is None or (execution.run, execution.state.generation) != (task.run, task.generation):
        return None
    pending = execution.state.pending.get(task.command)
    out = execution.state.is_pending(task.command, task.attempt)
    return pending if out and isinstance(pending, PendingActivity) else None
