"""Replay: code that fits, and code that does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import ActivityCompleted, Event, TimerFired
from tenuto.core.execution import Execution, replay
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.errors import NonDeterminismError, UnknownWorkflowError
from tests.unit.core.bench import RUN, begun, done, due, event, raw, same_state

recorded = App("recorded")


@dataclass
class Old:
    name: str


@dataclass
class New:
    name: str
    number: int


@recorded.activity(name="work")
def work(number: int) -> int:
    return number


@recorded.workflow(name="job")
async def job(ctx: WorkflowContext, number: int) -> int:
    first = await ctx.call_activity(work, number)
    await ctx.create_timer(60)
    return await ctx.call_activity(work, first)


def history() -> list[Event]:
    """1 ExecutionStarted, 2 TurnStarted, 3 work #0, 4 TurnStarted, 5 done #0, 6 timer #1."""
    bench = begun(recorded, "job", 1)
    bench.go(done(0, 2))
    return bench.history


def replay_with(code: Any, events: list[Event] | None = None) -> Execution:
    app = App("changed")
    app.workflow(name="job")(code)
    app.activity(name="work")(work)
    return replay(app.resolve, "order-17", RUN, history() if events is None else events)


def complaint(execution: Execution) -> str:
    assert isinstance(execution.stalled, NonDeterminismError)
    return str(execution.stalled)


async def other_name(ctx: WorkflowContext, number: int) -> None:
    await ctx.call_activity("play", number)


async def other_kind(ctx: WorkflowContext, number: int) -> None:
    await ctx.create_timer(number)


async def additional(ctx: WorkflowContext, number: int) -> None:
    ctx.call_activity("work", number)
    ctx.call_activity("work", number)
    await ctx.create_timer(60)


async def additional_in_the_last_turn(ctx: WorkflowContext, number: int) -> None:
    await ctx.call_activity("work", number)
    ctx.create_timer(60)
    ctx.create_timer(90)
    await ctx.wait_for_external_event("x")


async def missing(ctx: WorkflowContext, number: int) -> None:
    await ctx.call_activity("work", number)
    await ctx.wait_for_external_event("x")


async def ends_early(ctx: WorkflowContext, number: int) -> None:
    await ctx.call_activity("work", number)


async def waits_with_timeout(ctx: WorkflowContext, number: int) -> None:
    await ctx.call_activity("work", number)
    await ctx.wait_for_external_event("x", timeout=60)


def other_style(ctx: WorkflowContext, number: int) -> Any:
    first = yield ctx.call_activity("work", number)
    yield ctx.create_timer(60)
    return (yield ctx.call_activity("work", first))


async def fails(ctx: WorkflowContext, number: int) -> None:
    raise RuntimeError("not today")


@pytest.mark.semantics("A mismatch")
@pytest.mark.parametrize(
    ("code", "event_number", "expected", "actual"),
    [
        (other_name, 3, "ActivityScheduled #0 work", "ActivityScheduled #0 play"),
        (other_kind, 3, "ActivityScheduled #0 work", "TimerCreated #0"),
        (additional, 4, "no call before TurnStarted", "ActivityScheduled #1 work"),
        (additional_in_the_last_turn, 7, "nothing more: the history ends here", "TimerCreated #2"),
        (missing, 6, "TimerCreated #1", "nothing: it waits, or has ended"),
        (ends_early, 6, "TimerCreated #1", "ExecutionCompleted #1"),
        (waits_with_timeout, 6, "TimerCreated #1", "TimerCreated #1 for event 'x'"),
        (fails, 3, "ActivityScheduled #0 work", "ExecutionFailed #0 (RuntimeError: not today)"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_mismatch_stalls_and_shows_both_sides(
    code: Any, event_number: int, expected: str, actual: str
) -> None:
    execution = replay_with(code)
    said = complaint(execution)
    assert f"at event {event_number}:" in said
    assert f"expected by the history: {expected}\n" in said
    assert f"asked for by the code:   {actual}\n" in said
    assert f"{__file__}:" in said
    assert f"in {code.__name__}" in said
    assert f"\n  > {event_number:5}  " in said
    assert "order-17" in said
    assert same_state(execution.state, State.fold("order-17", RUN, history())), (
        "the state is whole all the same"
    )


@pytest.mark.semantics("A mismatch")
def test_the_message_names_the_line_that_called() -> None:
    said = complaint(replay_with(other_name))
    line = other_name.__code__.co_firstlineno + 1
    assert f"{__file__}:{line}, in other_name" in said


def test_the_message_names_the_line_that_waits() -> None:
    said = complaint(replay_with(missing))
    line = missing.__code__.co_firstlineno + 2
    assert f"{__file__}:{line}, in missing" in said


def test_the_same_history_fits_either_style() -> None:
    execution = replay_with(other_style)
    assert execution.stalled is None
    assert execution.state.pending.keys() == {1}


def test_unknown_code_stalls_with_the_whole_state() -> None:
    execution = replay(App("empty").resolve, "order-17", RUN, history())
    assert isinstance(execution.stalled, UnknownWorkflowError)
    assert same_state(execution.state, State.fold("order-17", RUN, history()))


def test_an_unknown_version_stalls() -> None:
    app = App("versions")
    app.workflow(name="job", version="2")(job)
    events = history()
    events[0] = type(events[0])(workflow="job", version="1", input=raw(1), seed="seed")  # type: ignore[call-arg]  # ExecutionStarted
    execution = replay(app.resolve, "order-17", RUN, events)
    assert "in version '1'" in str(execution.stalled)


def test_an_input_that_no_longer_fits_stalls() -> None:
    async def wants_more(ctx: WorkflowContext, number: New) -> None:
        await ctx.call_activity("work", 1)

    assert "ExecutionFailed #0" in complaint(replay_with(wants_more))


def test_a_result_that_no_longer_fits_stalls() -> None:
    async def wants_more(ctx: WorkflowContext, number: int) -> None:
        await ctx.call_activity("work", number, type=New)

    said = complaint(replay_with(wants_more))
    assert "the type has changed since" in said
    assert "activity 'work'" in said


def test_an_answer_to_nothing_stalls() -> None:
    broken = [*history(), ActivityCompleted(command=0, result=raw(1))]
    assert "answers command 0" in complaint(replay_with(job, broken))
    assert "answers command 5" in complaint(replay_with(job, [*history(), TimerFired(command=5)]))


def test_a_timer_of_a_wait_that_is_not_cancelled_any_more_is_noticed() -> None:
    app = App("waits")

    @app.workflow(name="job")
    async def waits(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("x", timeout=60)
        await ctx.create_timer(1)

    bench = begun(app, "job")
    bench.go(event("x"))
    without = [each for each in bench.history if type(each).__name__ != "TaskCancelled"]
    execution = replay(app.resolve, "order-17", RUN, without)
    assert "TaskCancelled #1 of #0" in complaint(execution)
    assert f"in {waits.__name__}" in complaint(execution)


def test_an_ended_instance_replays() -> None:
    bench = begun(recorded, "job", 1)
    bench.go(done(0, 2))
    bench.go(due(1))
    bench.go(done(2, 3))
    again = bench.replayed()
    assert (again.stalled, again.state.status) == (None, Status.COMPLETED)


def test_a_new_field_with_a_default_is_no_mismatch() -> None:
    @dataclass
    class Newer:
        name: str
        number: int = 7

    app = App("types")

    @app.workflow(name="job")
    async def uses(ctx: WorkflowContext) -> str:
        got = await ctx.call_activity("make", type=Newer)
        await ctx.create_timer(1)
        return f"{got.name} {got.number}"

    bench = begun(app, "job")
    bench.go(done(0, {"name": "old"}))
    bench.go(due(1))
    assert bench.output == "old 7"
