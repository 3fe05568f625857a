"""Dropping an execution: users' `finally` blocks run, and cannot ask for anything."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.status import Status
from tests.unit.core.bench import begun, done, event, names, terminate

app = App("abandon")
log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


@app.activity
def undo() -> None:
    pass


@app.workflow
async def tidies_up(ctx: WorkflowContext) -> None:
    async def branch() -> None:
        try:
            await ctx.wait_for_external_event("never")
        finally:
            log.append("branch ends")
            ctx.set_custom_status("changed")
            log.append("never reached")

    ctx.spawn(branch())
    try:
        await ctx.wait_for_external_event("go")
    finally:
        log.append("main ends")
        await ctx.call_activity(undo)
        log.append("undone")


@app.workflow
async def awaits_in_finally(ctx: WorkflowContext) -> None:
    task = ctx.create_timer(1)
    try:
        await ctx.wait_for_external_event("go")
    finally:
        log.append("main ends")
        await task
        log.append("never reached")


@app.workflow
def yields_in_finally(ctx: WorkflowContext) -> Any:
    task = ctx.create_timer(1)
    try:
        yield ctx.wait_for_external_event("go")
    finally:
        log.append("main ends")
        yield task
        log.append("never reached")


@app.workflow
async def raises_in_finally(ctx: WorkflowContext) -> None:
    try:
        await ctx.wait_for_external_event("go")
    finally:
        log.append("main ends")
        raise SystemExit("in a finally")


@app.workflow
async def branch_yields_in_finally(ctx: WorkflowContext) -> None:
    task = ctx.create_timer(1)

    def branch() -> Any:
        try:
            yield task
        finally:
            for _ in range(3):
                yield task
            log.append("never reached")

    ctx.spawn(branch())
    try:
        await ctx.wait_for_external_event("go")
    finally:
        log.append("main ends")


@app.workflow
async def has_not_begun_a_branch(ctx: WorkflowContext) -> str:
    async def branch() -> None:
        log.append("never reached")

    ctx.spawn(branch())
    return "done"


@pytest.mark.parametrize(
    "workflow",
    ["tidies_up", "awaits_in_finally", "yields_in_finally", "raises_in_finally", "branch_yields_in_finally"],
)
def test_finally_blocks_of_an_abandoned_execution_can_ask_for_nothing(workflow: str) -> None:
    bench = begun(app, workflow)
    history, next_command = list(bench.history), bench.state.next_command
    log.clear()  # of the replay that the bench makes after each turn
    bench.execution.abandon()
    gc.collect()
    assert "main ends" in log
    assert not {"undone", "never reached"} & set(log)
    assert (bench.history, bench.state.next_command) == (history, next_command)
    assert bench.execution.custom_status is None
    bench.execution.abandon()


def test_an_execution_that_nobody_abandoned_harms_nobody_when_it_is_collected() -> None:
    """The collector may run its `finally` blocks in the middle of another instance's turn."""
    other = App("other")

    @other.workflow(name="collects")
    async def collects(ctx: WorkflowContext) -> str:
        gc.collect()
        return "unharmed"

    gc.collect()
    gc.disable()
    try:
        forgotten = begun(app, "tidies_up", instance="forgotten")
        log.clear()
        del forgotten
        bench = begun(other, "collects")
    finally:
        gc.enable()
    assert bench.output == "unharmed"
    assert sorted(log) == ["branch ends", "main ends"]


def test_termination_drops_the_code() -> None:
    bench = begun(app, "tidies_up")
    log.clear()
    turn = bench.go(terminate())
    assert turn.tasks == ()
    assert "main ends" in log
    assert "undone" not in log


def test_branches_that_run_on_are_dropped_at_the_end() -> None:
    bench = begun(app, "tidies_up")
    bench.go(event("go"))
    log.clear()
    turn = bench.go(done(0))
    assert bench.status is Status.COMPLETED
    assert log[:2] == ["undone", "branch ends"]
    assert "never reached" not in log
    assert names(turn)[-1] == "ExecutionCompleted"
    assert bench.execution.custom_status is None


def test_a_branch_that_has_not_begun_never_runs() -> None:
    bench = begun(app, "has_not_begun_a_branch")
    assert bench.output == "done"
    assert log == []


def test_the_logger_is_silent_while_an_execution_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    other = App("other")

    @other.workflow
    async def logs(ctx: WorkflowContext) -> None:
        try:
            ctx.logger.warning("begins")
            await ctx.wait_for_external_event("go")
        finally:
            ctx.logger.warning("ends")

    evicted = begun(other, "logs")
    evicted.execution.abandon()
    assert caplog.messages == ["begins"]
    caplog.clear()
    bench = begun(other, "logs")
    bench.go(event("go"))
    assert caplog.messages == ["begins", "ends"]
