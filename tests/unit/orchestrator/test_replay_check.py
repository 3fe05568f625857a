"""The replay check: it finds what differs, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import ExecutionStarted
from tenuto.core.letters import Raise, Terminate
from tenuto.core.status import Status
from tenuto.core.turn import Arrival
from tenuto.errors import StalledError
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.executor import InProcessExecutor
from tenuto_orchestrator.residents import Resident

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NULL = msgspec.Raw(b"null")
app = App("checked")
calls: list[str] = []


@app.workflow
async def shows(ctx: WorkflowContext) -> None:
    ctx.set_custom_status("begun")
    await ctx.wait_for_external_event("go")
    ctx.set_custom_status("gone")
    await ctx.wait_for_external_event("never")


@app.workflow
async def fickle(ctx: WorkflowContext) -> None:
    calls.append("called")
    ctx.set_custom_status(len(calls))
    await ctx.wait_for_external_event("never")


async def resident(executor: InProcessExecutor, workflow: str) -> Resident:
    started = ExecutionStarted(workflow=workflow, input=NULL, seed="seed")
    execution = await executor.replay("i", "r", [started])
    record = InstanceRecord(
        id="i",
        run="r",
        partition=0,
        workflow=workflow,
        version=None,
        status=Status.PENDING,
        generation=0,
        turn=0,
        tasks_pending=0,
        input=b"null",
        created_at=NOW,
        updated_at=NOW,
    )
    return Resident(record=record, execution=execution, history=[started])


async def test_the_custom_status_of_a_terminated_instance_is_not_compared() -> None:
    executor = InProcessExecutor(app.resolve, max_losses=3, check_replay=True)
    one = await resident(executor, "shows")
    await executor.advance(one, [], NOW)
    both = [
        Arrival(what=Raise(name="go", payload=NULL)),
        Arrival(what=Terminate(output=NULL, reason="enough")),
    ]
    await executor.advance(one, both, NOW)
    assert one.execution is not None
    assert one.execution.state.status is Status.TERMINATED
    assert one.execution.custom_status == b'"gone"'


async def test_a_custom_status_that_differs_is_found() -> None:
    executor = InProcessExecutor(app.resolve, max_losses=3, check_replay=True)
    with pytest.raises(StalledError, match="the replay check failed"):
        await executor.advance(await resident(executor, "fickle"), [], NOW)
