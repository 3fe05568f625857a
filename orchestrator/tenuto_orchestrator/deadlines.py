"""Deadlines of activities that have come: which of them the instance is to hear of.

An activity with a `schedule_to_start` or a `schedule_to_close` has one row in the timers table, at the deadline that
comes first. Whether a worker has begun an attempt is known from its beats only, so it is asked here, not in the core.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from tenuto.core.pending import PendingActivity
from tenuto.core.turn import Arrival, TimerDue
from tenuto.messages import TaskRef
from tenuto.store.protocol import TimerRow
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.holds import is_hold, is_of_earlier_sending, look_after
from tenuto_orchestrator.work import Item

__all__ = ["due"]


def due(change: Change, item: Item, now: datetime, *, beat_life: float) -> list[Item]:
    """What an instance is to hear of an arrival: of all, save timers that turn out not to count."""
    if is_of_earlier_sending(change, item):
        return [replace(item, timer=None)]
    if item.timer is None or not isinstance(item.work, Arrival) or not isinstance(item.work.what, TimerDue):
        return [item]
    if is_hold(item.timer):
        return look_after(change, item, now, beat_life=beat_life)
    return [] if _put_off(change, item, now, beat_life) else [item]


def _put_off(change: Change, item: Item, now: datetime, beat_life: float) -> bool:
    """Use the item up if it is a deadline that does not count, and set its timer to the one that remains, if any.

    A `schedule_to_start` does not count once a worker has said that it began. It waits while the partition is so fresh
    that workers may not have been heard yet (rule W2).
    """
    row, pending = item.timer, _pending(change, item)
    if row is None or pending is None:
        return False
    at = max(now, row.fire_at)
    remaining = []
    if pending.close_by is not None:
        if pending.close_by <= at:
            return False
        remaining.append(pending.close_by)
    if pending.start_by is not None and pending.start_by > at:
        remaining.append(pending.start_by)
    elif pending.start_by is not None and not _has_begun(change, row, pending):
        fresh = change.partition.since + beat_life - asyncio.get_running_loop().time()
        if fresh <= 0:
            return False
        remaining.append(at + timedelta(seconds=fresh))
    change.take(item)
    if remaining:
        change.timers_set.append(replace(row, fire_at=min(remaining)))
    return True


def _pending(change: Change, item: Item) -> PendingActivity | None:
    """The activity whose deadline has come, if it has an attempt under way."""
    resident, row = change.resident, item.timer
    if row is None or row.key.attempt != 0 or resident is None or resident.execution is None:
        return None
    state = resident.execution.state
    if (state.run, state.generation) != (row.run, row.generation):
        return None
    pending = state.pending.get(row.key.command)
    return pending if isinstance(pending, PendingActivity) and pending.waiting_until is None else None


def _has_begun(change: Change, row: TimerRow, pending: PendingActivity) -> bool:
    task = TaskRef(
        instance=row.instance,
        run=row.run,
        generation=row.generation,
        command=row.key.command,
        attempt=pending.attempt,
    )
    if task in change.partition.local:
        return True
    holding = change.partition.beats.get(task)
    return holding is not None and holding.began is not None
