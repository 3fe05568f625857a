"""A turn costs what is new in it, not what came before. Counted in calls, not in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tenuto import App, WorkflowContext, when_all
from tenuto.core.events import ExecutionStarted
from tenuto.core.execution import Execution, advance, replay
from tenuto.core.status import Status
from tenuto.core.turn import Arrival
from tests.unit.core.bench import RUN, START, done, event, raw

app = App("cost")


@app.activity
def work(number: int) -> int:
    return number


@app.workflow
async def sequence(ctx: WorkflowContext, number: int) -> int:
    total = 0
    for step in range(number):
        total += await ctx.call_activity(work, step)
    return total


@app.workflow
async def fan_out(ctx: WorkflowContext, number: int) -> int:
    return sum(await when_all([ctx.call_activity(work, step) for step in range(number)]))


@app.workflow
async def counts_events(ctx: WorkflowContext, number: int) -> int:
    waits = [ctx.wait_for_external_event("x", timeout=3600) for _ in range(number)]
    return sum(await when_all(waits))


def calls_of(action: Callable[[], object]) -> int:
    """How many functions, of Python and of C, were called."""
    count = 0

    def profile(_frame: Any, kind: str, _argument: Any) -> None:
        nonlocal count
        count += kind in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def begin(workflow: str, number: int) -> Execution:
    started = ExecutionStarted(workflow=workflow, input=raw(number), seed="seed")
    execution = replay(app.resolve, "order-17", RUN, [started])
    advance(execution, [], START)
    return execution


def answer(command: int) -> list[Arrival]:
    return [Arrival(what=done(command, 1), run=RUN, generation=0)]


def costs(execution: Execution, arrivals: list[list[Arrival]]) -> list[int]:
    return [calls_of(lambda arrived=arrived: advance(execution, arrived, START)) for arrived in arrivals]  # type: ignore[misc]  # a lambda's default


def test_of_two_thousand_activities_the_last_hundred_cost_no_more_than_the_first() -> None:
    execution = begin("sequence", 2000)
    found = costs(execution, [answer(command) for command in range(2000)])
    assert execution.state.status is Status.COMPLETED
    assert sum(found[-101:-1]) <= sum(found[1:101])
    assert max(found[1:-1]) <= 1.5 * min(found[1:-1])


def test_the_answers_to_a_wide_fan_out_cost_the_same_each() -> None:
    execution = begin("fan_out", 1000)
    found = costs(execution, [answer(command) for command in reversed(range(1000))])
    assert execution.state.status is Status.COMPLETED
    assert max(found[1:-1]) <= 1.5 * min(found[1:-1])


def test_events_to_many_waiters_cost_the_same_each() -> None:
    execution = begin("counts_events", 1000)
    found = costs(execution, [[Arrival(what=event("x", 1))] for _ in range(1000)])
    assert execution.state.status is Status.COMPLETED
    assert max(found[1:-1]) <= 1.5 * min(found[1:-1])


def test_a_redelivery_costs_next_to_nothing() -> None:
    execution = begin("sequence", 10)
    (first,) = costs(execution, [answer(0)])
    (again,) = costs(execution, [answer(0)])
    assert again < first / 2
