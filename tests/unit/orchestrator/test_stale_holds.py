"""The hold of a task outlives the news that an earlier sending of it was lost (rules W1 and W2)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tenuto.core.turn import Arrival, TaskLost
from tenuto.messages import TaskRef
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.deadlines import due
from tenuto_orchestrator.holds import hold_row
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.work import Item
from tests.unit.core.bench import RUN, begun
from tests.unit.core.test_activities import app
from tests.unit.orchestrator.test_parts import _partition, _resident

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = TaskRef(instance="order-17", run=RUN, generation=0, command=0, attempt=1)


@pytest.mark.parametrize(("sending", "is_kept"), [(0, True), (1, False)])
async def test_only_the_loss_of_the_present_sending_ends_a_hold(sending: int, *, is_kept: bool) -> None:
    bench = begun(app, "catches")
    bench.go(TaskLost(command=0, attempt=1))
    partition, row = _partition(), hold_row(TASK, NOW)
    lost = Arrival(what=TaskLost(command=0, attempt=1, sending=sending), run=RUN, generation=0)
    item = Item(partition=partition, instance="order-17", work=lost, timer=row)
    resident = Resident(record=_resident("order-17").record, execution=bench.execution)
    change = Change(partition=partition, instance="order-17", items=[item], resident=resident)

    for left in due(change, item, NOW, beat_life=1.0):
        change.take(left)

    assert change.timers_cleared == ([] if is_kept else [row])
