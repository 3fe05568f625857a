"""`App(strict_replay=True)`: what goes into calls and comes out of the workflow must be the same, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.execution import Execution, compare_custom_status, replay
from tenuto.errors import NonDeterminismError
from tests.unit.core.bench import RUN, Bench, begun, done, due

Make = Callable[[Any], Any]


def calls(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work", x)

    return job


def starts_a_child(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        await ctx.call_child_workflow("other", x)

    return job


def sends(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        ctx.send_event("other", "name", x)
        await ctx.create_timer(1)

    return job


def sleeps(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        await ctx.create_timer(x)

    return job


def returns(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> Any:
        return x

    return job


def fails(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        raise ValueError(x)

    return job


def continues(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        ctx.continue_as_new(x)

    return job


def shows(x: Any) -> Any:
    async def job(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work")
        ctx.set_custom_status(x)
        await ctx.create_timer(1)

    return job


def replayed(bench: Bench, code: Any, *, strict: bool) -> Execution:
    app = App("again", strict_replay=strict)
    app.workflow(name="job")(code)
    events = (
        [*bench.history]
        if not bench.turns[-1].next_generation
        else [_started(bench), *bench.turns[-1].events]
    )
    return replay(app.resolve, "order-17", RUN, events)


def _started(bench: Bench) -> Any:
    return bench.started or Bench(app=bench.app, workflow="job").history[0]


def recorded(code: Any) -> Bench:
    app = App("first")
    app.workflow(name="job")(code)
    return begun(app, "job")


@pytest.mark.semantics("App(strict_replay=True)")
@pytest.mark.parametrize(
    ("make", "before", "after", "said"),
    [
        (calls, {"a": 1}, {"a": 2}, ("ActivityScheduled #0 work", '{"a":1}', '{"a":2}')),
        (starts_a_child, 1, None, ("ChildScheduled #0 other", "1", "null")),
        (sends, [1], [1, 2], ("EventSent #0 name", "[1]", "[1,2]")),
        (sleeps, 60, 90, ("TimerCreated #0", "2026-01-01T12:01:01+00:00", "2026-01-01T12:01:31+00:00")),
        (returns, "old", "new", ("ExecutionCompleted #0", '"old"', '"new"')),
        (fails, "old", "new", ("ExecutionFailed #0", "ValueError: old", "ValueError: new")),
        (continues, 1, 2, ("ContinuedAsNew #0", "1", "2")),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_different_input_or_output_is_a_mismatch(
    make: Make, before: Any, after: Any, said: tuple[str, str, str]
) -> None:
    """The last turn included; otherwise what was recorded has its way."""
    bench = recorded(make(before))
    call, old, new = said
    execution = replayed(bench, make(after), strict=True)
    assert isinstance(execution.stalled, NonDeterminismError)
    message = str(execution.stalled)
    expected, actual = message.splitlines()[2:4]
    assert expected.startswith(f"  expected by the history: {call}")
    assert expected.endswith(f" with {old}")
    assert actual.startswith(f"  asked for by the code:   {call}")
    assert actual.endswith(f" with {new}")
    assert f"  at {__file__}:" in message, "the line in the user's file"
    assert "at event 3:" in message

    assert replayed(bench, make(after), strict=False).stalled is None
    assert replayed(bench, make(before), strict=True).stalled is None


def test_the_same_json_in_another_order_is_the_same() -> None:
    bench = recorded(calls({"a": 1, "b": 2}))
    assert replayed(bench, calls({"b": 2, "a": 1}), strict=True).stalled is None


@pytest.mark.semantics("App(strict_replay=True)")
@pytest.mark.parametrize("strict", [True, False])
def test_a_different_custom_status_is_a_mismatch(*, strict: bool) -> None:
    """It is on the instance's row, not in the history."""
    bench = recorded(shows("old"))
    bench.go(done(0))
    same = replayed(bench, shows("old"), strict=strict)
    compare_custom_status(same, b'"old"')
    assert same.stalled is None

    execution = replayed(bench, shows("new"), strict=strict)
    compare_custom_status(execution, b'"old"')
    assert (execution.stalled is not None) == strict
    if strict:
        message = str(execution.stalled)
        assert 'expected: custom status "old"' in message
        assert 'set by the code:        "new"' in message
        assert f"{__file__}:" in message
        assert isinstance(execution.stalled, NonDeterminismError)


def test_a_custom_status_that_this_generation_has_not_set_is_not_compared() -> None:
    bench = recorded(shows("old"))
    execution = replayed(bench, shows("old"), strict=True)
    compare_custom_status(execution, b'"of the generation before"')
    assert execution.stalled is None


def test_strictness_is_the_apps_that_registered_the_workflow() -> None:
    strict = App("strict", strict_replay=True)
    strict.workflow(name="job")(calls(1))
    both = App("both")
    both.include(strict)
    bench = recorded(calls(2))
    execution = replay(both.resolve, "order-17", RUN, bench.history)
    assert isinstance(execution.stalled, NonDeterminismError)


def test_strict_replays_of_what_has_not_changed_fit() -> None:
    """Time, chance and uuids are the same on every replay."""
    app = App("strict", strict_replay=True)

    @app.workflow(name="job")
    async def job(ctx: WorkflowContext) -> Any:
        await ctx.call_activity("work", [str(ctx.new_uuid()), ctx.random.random(), ctx.current_utc_datetime])
        await ctx.create_timer(5)
        return str(ctx.new_uuid())

    bench = begun(app, "job")  # which replays after every turn
    bench.go(done(0))
    bench.go(due(1))
    assert bench.status.is_terminal
