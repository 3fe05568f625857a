"""Code that catches everything, in a loop, comes to rest all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tenuto import App, WorkflowContext, when_all, when_any
from tenuto.core.execution import replay
from tenuto.core.tasks import Task
from tenuto.errors import NonDeterminismError
from tests.unit.core.bench import RUN, begun, done, rename

app = App("swallows")
pytestmark = [
    # What never lets itself be closed is reported by Python itself when it is collected at last.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.timeout(20),
]
passes: list[str] = []


@app.workflow
async def bare_except(ctx: WorkflowContext) -> None:
    while True:
        try:
            await ctx.call_activity("x")
        except:  # noqa: E722 - the very thing to be survived
            passes.append("bare")


@app.workflow
async def base_exception(ctx: WorkflowContext) -> None:
    while True:
        try:
            await ctx.call_activity("x")
        except BaseException:  # noqa: BLE001, S112 - the very thing to be survived
            continue


@app.workflow
def generator(ctx: WorkflowContext) -> Any:
    while True:
        try:
            yield ctx.call_activity("x")
        except BaseException:  # noqa: BLE001, S112 - the very thing to be survived
            continue


WORKFLOWS = ["bare_except", "base_exception", "generator"]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_when_it_is_abandoned(workflow: str) -> None:
    bench = begun(app, workflow)
    history, next_command = list(bench.history), bench.state.next_command
    passes.clear()
    bench.execution.abandon()
    assert (bench.history, bench.state.next_command) == (history, next_command)
    assert bench.execution.custom_status is None


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_after_a_mismatch(workflow: str) -> None:
    bench = begun(app, workflow)
    passes.clear()
    history = rename(bench.history, 2, name="renamed")
    again = replay(app.resolve, "order-17", RUN, history)
    assert isinstance(again.stalled, NonDeterminismError)
    assert again.state.next_command == bench.state.next_command
    assert list(again.state.pending) == list(bench.state.pending)


async def branch() -> None:
    passes.append("never runs")


async def asks_for_much(ctx: WorkflowContext, task: Task[Any]) -> None:
    ctx.set_custom_status("changed")
    ctx.continue_as_new(1)
    ctx.send_event("other", "event")
    ctx.new_uuid()
    task.cancel()
    await task


OFFERS: dict[str, Callable[[WorkflowContext, Task[Any]], Any]] = {
    "call_activity": lambda ctx, _: ctx.call_activity("x"),
    "call_child_workflow": lambda ctx, _: ctx.call_child_workflow("child"),
    "create_timer": lambda ctx, _: ctx.create_timer(1),
    "wait_for_external_event": lambda ctx, _: ctx.wait_for_external_event("never", timeout=1),
    "spawn": lambda ctx, _: ctx.spawn(branch()),
    "when_all": lambda ctx, task: when_all([task, ctx.create_timer(1)]),
    "when_any": lambda _, task: when_any([task]),
    "a task of before": lambda _, task: task,
    "all that gives nothing": asks_for_much,
    "a misuse": lambda _, __: when_all(42),  # type: ignore[arg-type] - that is the misuse
    "no activity": lambda ctx, _: ctx.call_activity(branch),
}


@pytest.mark.parametrize("offer", OFFERS)
def test_each_offer_of_the_context_comes_to_rest(offer: str) -> None:
    alone = App("alone")
    passes.clear()

    @alone.workflow
    async def stubborn(ctx: WorkflowContext) -> None:
        task = ctx.call_activity("x")
        with contextlib.suppress(BaseException):
            await task
        while True:
            try:
                await OFFERS[offer](ctx, task)
            except BaseException:  # noqa: BLE001 - the very thing to be survived
                passes.append(offer)

    bench = begun(alone, "stubborn")
    history, next_command = list(bench.history), bench.state.next_command
    passes.clear()
    bench.execution.abandon()
    assert passes.count(offer) >= 100
    assert "never runs" not in passes
    assert (bench.history, bench.state.next_command) == (history, next_command)
    assert bench.execution.custom_status is None
    assert list(bench.state.pending) == [0]


def test_code_that_gives_up_after_a_few_attempts_is_not_disturbed() -> None:
    alone = App("alone")

    @alone.workflow
    async def tries_thrice(ctx: WorkflowContext) -> str:
        for _ in range(3):
            try:
                return await ctx.call_activity("x", type=str)
            except BaseException:  # noqa: BLE001, S112 - as above
                continue
        return "gave up"

    bench = begun(alone, "tries_thrice")
    bench.cold_start()
    bench.go(done(0, "fine"))
    assert bench.output == "fine"
