"""What a batch does to an instance, as the store takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenuto.messages import TaskRef
from tenuto_orchestrator.change import Change, merge
from tenuto_orchestrator.holds import hold_row
from tests.unit.orchestrator.test_parts import _partition

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_timer_that_is_set_twice_is_written_once_as_it_was_set_last() -> None:
    """A hold is looked at, and its worker says that it goes on, in one batch: PostgreSQL refuses to insert or update
    one row twice in one statement."""
    task = TaskRef(instance="i", run="r", generation=0, command=2, attempt=1)
    looked_at, said = hold_row(task, NOW), hold_row(task, NOW + timedelta(seconds=30))
    another = hold_row(TaskRef(instance="i", run="r", generation=0, command=3, attempt=1), NOW)
    partition = _partition()
    change = Change(partition=partition, instance="i", items=(), resident=None)
    change.timers_set += [looked_at, another, said]
    assert list(merge(partition, [change]).writes.timers_set) == [said, another]
