"""Tasks that may be lost: sent, not answered, and nowhere to be seen."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import datetime

from tenuto.core.turn import Arrival, TaskLost
from tenuto.messages import TaskRef
from tenuto.naming import Names
from tenuto.sealing import Sealer
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.holds import hold_row
from tenuto_orchestrator.spans import Spans
from tenuto_orchestrator.work import Inspect, Item

__all__ = ["lost_tasks", "send_again"]


def send_again(change: Change, names: Names, sealer: Sealer, spans: Spans, now: datetime) -> None:
    """Everything that is out goes to a broker that has forgotten it (rule B1)."""
    resident, already = change.resident, len(change.tasks)
    if resident is not None and resident.execution is not None:
        trace = spans.headers(resident.record)
        for task in resident.execution.state.tasks_out():
            if not task.scheduled.local:  # those are in the outbox
                outcome.add_task(change, resident.record, task, names, trace=trace, now=now)
    change.tasks[already:] = [
        (pool, sealer.seal(task, change.instance)) for pool, task in change.tasks[already:]
    ]


def lost_tasks(change: Change, item: Item, inspect: Inspect, pools: set[str]) -> Iterator[Item]:
    """The loss of each task that is out, in no pool's queue, held by no worker and not executed here (rule B2), as
    items beside `item`. Pools that nobody has looked at yet are added to `pools`."""
    if change.partition.unconfirmed or asyncio.get_running_loop().time() > inspect.until:
        return  # what is still to be published is not lost, and what was seen is out of date
    resident = change.resident
    if resident is None or resident.execution is None or resident.execution.stalled is not None:
        return
    record = resident.record
    sent_below = change.partition.held_back.get(record.id, math.inf)
    for task in resident.execution.state.tasks_out():
        command, attempt = task.scheduled.id, task.attempt
        if command >= sent_below and not task.scheduled.local:
            continue  # it is still in the outbox
        ref = TaskRef(
            instance=record.id,
            run=record.run,
            generation=record.generation,
            command=command,
            attempt=attempt,
        )
        if task.scheduled.local:
            missing = ref not in change.partition.local
        else:
            pools.add(task.scheduled.pool)
            held = ref in change.partition.beats  # rule W2: the beat stands for it
            missing = task.scheduled.pool in inspect.empty and not held
        if missing:
            what = TaskLost(command=command, attempt=attempt)
            arrival = Arrival(what=what, run=record.run, generation=record.generation)
            row = hold_row(ref, record.updated_at)  # if it was held, that is over
            yield Item(partition=item.partition, instance=item.instance, work=arrival, timer=row)
