"""Workflows in Dapr's style: generators with `yield`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tenuto import ActivityError, App, WorkflowContext, when_all, when_any
from tenuto.core.status import Status
from tenuto.core.tasks import Task
from tests.unit.core.bench import begun, child_done, done, due, event, failed

app = App("generators")


@app.activity
def work(ctx: Any, number: int) -> int:
    return number


@app.workflow
def chain(ctx: WorkflowContext, number: int) -> Generator[Task[Any], Any, int]:
    first = yield ctx.call_activity(work, input=number)
    second = yield ctx.call_activity(work, input=first)
    return int(second)


@app.workflow
def groups(ctx: WorkflowContext) -> Generator[Task[Any], Any, list[Any]]:
    both = yield when_all([ctx.call_activity(work, n) for n in range(2)])
    approved = ctx.wait_for_external_event("approved")
    timeout = ctx.create_timer(60)
    winner = yield when_any([approved, timeout])
    return [both, winner is approved, winner.get_result()]


@app.workflow
def catches(ctx: WorkflowContext) -> Generator[Task[Any], Any, str]:
    try:
        yield ctx.call_activity(work, 1)
    except ActivityError as error:
        yield ctx.call_activity("undo", 2)
        return f"undone after {error}"
    return "done"


@app.workflow
def delegates(ctx: WorkflowContext) -> Generator[Task[Any], Any, int]:
    one = yield from chain(ctx, 1)
    two = yield ctx.call_child_workflow(chain, 2)
    return one + int(two)


@app.workflow
def with_branches(ctx: WorkflowContext) -> Generator[Task[Any], Any, list[int]]:
    found: list[int] = yield when_all([chain(ctx, 1), ctx.spawn(chain(ctx, 2))])
    return found


@app.workflow
async def async_with_generator_branches(ctx: WorkflowContext) -> list[int]:
    return await when_all([chain(ctx, 1), chain(ctx, 2)])


def test_a_chain() -> None:
    bench = begun(app, "chain", 5)
    bench.go(done(0, 6))
    bench.go(done(1, 7))
    assert bench.output == 7


def test_groups() -> None:
    bench = begun(app, "groups")
    bench.go(done(1, 1), done(0, 0))
    bench.go(event("Approved", "yes"), due(2))
    assert bench.output == [[0, 1], True, "yes"]


def test_failures_are_thrown_into_the_generator() -> None:
    bench = begun(app, "catches")
    bench.go(failed(0))
    bench.go(done(1))
    assert bench.output == "undone after activity 'work' failed: ValueError: broken"


def test_sub_generators_and_children() -> None:
    bench = begun(app, "delegates")
    for command in range(2):
        bench.go(done(command, command + 1))
    bench.go(child_done(2, 40))
    assert (bench.status, bench.output) == (Status.COMPLETED, 42)


@pytest.mark.parametrize(
    ("workflow", "expected"),
    [("with_branches", [20, 10]), ("async_with_generator_branches", [10, 20])],
)
def test_branches_of_either_style(workflow: str, expected: list[int]) -> None:
    """Of the first, the second branch was spawned first, so it has the first command."""
    bench = begun(app, workflow)
    bench.go(done(1, 2), done(0, 1))
    bench.go(done(2, 20), done(3, 10))
    assert bench.output == expected
