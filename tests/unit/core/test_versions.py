"""Which version of its code an instance runs, and keeps."""

from __future__ import annotations

from tenuto import App, WorkflowContext
from tenuto.core.events import ExecutionStarted, TurnStarted
from tenuto.core.execution import replay
from tenuto.errors import UnknownWorkflowError
from tests.unit.core.bench import RUN, START, Bench, begun, event, raw


async def says(ctx: WorkflowContext) -> str | None:
    await ctx.wait_for_external_event("go")
    return ctx.version


def app_of(*versions: str | None) -> App:
    app = App("versions")
    for version in versions:
        app.workflow(name="job", version=version)(says)
    return app


def go_on(bench: Bench, app: App) -> None:
    bench.app = app
    bench.cold_start()
    assert bench.execution.stalled is None
    bench.go(event("go"))


def test_an_instance_whose_start_named_no_version_takes_the_latest_and_keeps_it() -> None:
    """Its start was recorded by an orchestrator that did not know the workflow."""
    bench = begun(app_of("1", "2"), "job")
    assert TurnStarted(at=bench.now, version="2") in bench.history
    assert bench.state.version == "2"
    go_on(bench, app_of("1", "2", "3"))
    assert bench.output == "2"


def test_a_version_taken_with_the_first_turn_stalls_where_nobody_serves_it() -> None:
    bench = begun(app_of("1"), "job")
    execution = replay(app_of("2").resolve, "order-17", RUN, bench.history)
    assert isinstance(execution.stalled, UnknownWorkflowError)
    assert "'job' in version '1'" in str(execution.stalled)


def test_an_unversioned_instance_stays_so_where_the_unversioned_code_is() -> None:
    bench = begun(app_of(None), "job")
    assert bench.history[1] == TurnStarted(at=bench.now)
    go_on(bench, app_of("1", None, "2"))
    assert bench.output is None


def test_an_old_history_without_a_version_runs_the_latest_as_ever() -> None:
    bench = begun(app_of(None), "job")
    go_on(bench, app_of("1", "2"))
    assert bench.output is None


def test_the_version_that_was_taken_is_kept_in_the_next_generation() -> None:
    async def again(ctx: WorkflowContext, left: int) -> str | None:
        if left:
            ctx.continue_as_new(left - 1)
        return ctx.version

    app = App("versions")
    app.workflow(name="job", version="1")(again)
    bench = begun(app, "job", 1)
    assert bench.history == [
        ExecutionStarted(workflow="job", version="1", input=raw(0), seed="seed", generation=1, at=bench.now)
    ]
    app.workflow(name="job", version="2")(again)
    bench.go()
    assert bench.output == "1"
    assert bench.now > START
