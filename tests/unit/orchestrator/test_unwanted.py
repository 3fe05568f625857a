"""Which tasks in the hands of workers nobody waits for any more, after a change of their instance."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tenuto.core.status import Status
from tenuto.messages import TaskRef
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.partition import Partition, Stall
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.settle import _is_wanted
from tests.unit.core.bench import RUN, begun, done
from tests.unit.core.test_activities import app
from tests.unit.orchestrator.test_parts import _partition
from tests.unit.orchestrator.test_parts import _resident as _over

TASK = TaskRef(instance="order-17", run=RUN, generation=0, command=0, attempt=1)


def _resident(*arrivals: Any, status: Status = Status.RUNNING, run: str = RUN) -> Resident:
    bench = begun(app, "catches")
    if arrivals:
        bench.go(*arrivals)
    record = replace(_over("order-17").record, run=run, status=status)
    return Resident(record=record, execution=bench.execution)


def _change(resident: Resident | None, partition: Partition | None = None, **more: Any) -> Change:
    return Change(
        partition=partition or _partition(), instance="order-17", items=(), resident=resident, **more
    )


async def test_a_task_that_is_pending_is_wanted() -> None:
    assert _is_wanted(_change(_resident()), TASK)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: _change(_resident(done(0, 1))), id="answered"),
        pytest.param(lambda: _change(_resident(status=Status.TERMINATED)), id="terminated"),
        pytest.param(lambda: _change(_resident(run="another")), id="of another run"),
        pytest.param(lambda: _change(_resident(), gone=True), id="purged"),
        pytest.param(lambda: _change(None), id="of no instance"),
    ],
)
async def test_what_nobody_waits_for_is_not(change: Any) -> None:
    assert not _is_wanted(change(), TASK)


async def test_what_cannot_be_told_at_present_is_wanted() -> None:
    """A stalled instance waits as before; it is only that nothing can be done with an answer yet."""
    partition = _partition()
    partition.stalled["order-17"] = Stall(reason="no code", mark_at=0.0, cause="StalledError")
    assert _is_wanted(_change(None, partition), TASK)
    assert _is_wanted(_change(_resident(), stalled=True), TASK)
