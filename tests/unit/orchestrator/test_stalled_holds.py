"""What becomes of the hold of a task whose instance is stalled (rules W2 and O5)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tenuto.core.events import ActivityCompleted
from tenuto.core.turn import Arrival, TimerDue, What
from tenuto.messages import Held, TaskRef
from tenuto.payloads import encode
from tenuto.store.protocol import InboxRow
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.holds import hold_row
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.stalls import hold
from tenuto_orchestrator.work import Item

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = {"instance": "i", "run": "r", "generation": 0, "command": 2, "attempt": 1}


@pytest.mark.parametrize(
    "what",
    [TimerDue(command=2, attempt=-1), ActivityCompleted(command=2, attempt=1, result=encode(7))],
    ids=["it is due", "its task has come back"],
)
async def test_no_hold_outlives_a_stalled_instance(what: What) -> None:
    """Its row goes with the commit that keeps the answer; if the task is still held, the next beat says so anew."""
    partition = Partition(
        number=0, epoch=1, deadline=float("inf"), token="t", lost=lambda _partition, _reason: None
    )
    held = Held(**TASK, held=True)
    partition.beats.hear("worker", held, 0.0)
    row = hold_row(TaskRef(**TASK), NOW)
    item = Item(partition=partition, instance="i", work=Arrival(what=what, run="r"), timer=row)
    change = Change(partition=partition, instance="i", items=[item], resident=None)

    hold(change, [item], lambda _instance, _letter, _run: InboxRow(id="1", partition=0, target="i", body=b""))

    assert change.timers_cleared == [row]
    assert len(change.letters) == isinstance(what, ActivityCompleted)
    assert partition.beats.hear("worker", held, 1.0), "it is news again"
