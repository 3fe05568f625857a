"""Patches: code that changes under live instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import EVENT_FORMAT, EVENT_LEVELS, Event, PatchRecorded
from tenuto.core.execution import Execution, advance, replay
from tenuto.core.turn import Arrival, Turn
from tenuto.errors import NonDeterminismError
from tests.unit.core.bench import RUN, START, Bench, begun, done, names

Workflow = Callable[..., Any]


async def unpatched(ctx: WorkflowContext) -> list[Any]:
    return [await ctx.call_activity("first"), await ctx.call_activity("old")]


async def patched(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.call_activity("first")
    return [first, await ctx.call_activity("new" if ctx.is_patched("better") else "old")]


async def deprecated(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.call_activity("first")
    ctx.deprecate_patch("better")
    return [first, await ctx.call_activity("new")]


async def cleaned(ctx: WorkflowContext) -> list[Any]:
    return [await ctx.call_activity("first"), await ctx.call_activity("new")]


async def patched_early(ctx: WorkflowContext) -> list[Any]:
    """The patch stands before a call that old histories have passed already."""
    extra = [await ctx.call_activity("extra")] if ctx.is_patched("better") else []
    return [*extra, await ctx.call_activity("first"), await ctx.call_activity("old")]


async def patched_where_it_waits(ctx: WorkflowContext) -> bool:
    task = ctx.call_activity("first")
    answer = ctx.is_patched("better")
    await task
    return answer and ctx.is_patched("better")


async def two_patches(ctx: WorkflowContext) -> list[bool]:
    found = [ctx.is_patched("one"), ctx.is_patched("two")]
    await ctx.call_activity("first")
    return found


async def two_patches_turned(ctx: WorkflowContext) -> list[bool]:
    found = [ctx.is_patched("two"), ctx.is_patched("one")]
    await ctx.call_activity("first")
    return found


async def only_the_second(ctx: WorkflowContext) -> bool:
    found = ctx.is_patched("two")
    await ctx.call_activity("first")
    return found


async def first_deprecated(ctx: WorkflowContext) -> bool:
    ctx.deprecate_patch("one")
    found = ctx.is_patched("two")
    await ctx.call_activity("first")
    return found


async def looks_twice(ctx: WorkflowContext) -> list[bool]:
    found = []
    for _ in range(2):
        found.append(ctx.is_patched("better"))
        await ctx.call_activity("first")
    return found


def app_of(code: Workflow) -> App:
    app = App("patches")
    app.workflow(name="job")(code)
    return app


def history_of(code: Workflow, *answers: int) -> list[Event]:
    """What the code writes until it waits, having been told these commands' answers."""
    bench = begun(app_of(code), "job")
    for command in answers:
        bench.go(done(command, "x"))
    return bench.history


def replayed(code: Workflow, history: list[Event]) -> Execution:
    return replay(app_of(code).resolve, "order-17", RUN, history)


def go_on(execution: Execution, command: int) -> Turn:
    assert execution.stalled is None, execution.stalled
    return advance(execution, [Arrival(what=done(command, "x"))], START)


def called(turn: Turn) -> list[str]:
    return [task.scheduled.name for task in turn.tasks]


def complaint(execution: Execution) -> str:
    assert isinstance(execution.stalled, NonDeterminismError)
    return str(execution.stalled)


@pytest.mark.semantics('ctx.is_patched("id")')
def test_a_new_execution_is_patched_and_its_history_says_so() -> None:
    """`ctx.is_patched("id")`: true for new executions and those that passed it; recorded in history."""
    bench = begun(app_of(patched), "job")
    turn = bench.go(done(0, "x"))
    assert called(turn) == ["new"]
    assert PatchRecorded(id=1, patch="better") in turn.events
    bench.cold_start()
    bench.go(done(2, "y"))
    assert bench.output == ["x", "y"]


def test_an_old_instance_that_has_not_come_there_yet_passes_it_too() -> None:
    turn = go_on(replayed(patched, history_of(unpatched)), 0)
    assert called(turn) == ["new"]


@pytest.mark.semantics('ctx.is_patched("id")')
def test_an_old_instance_that_was_past_it_keeps_to_the_old_way() -> None:
    """False for histories from before."""
    history = history_of(unpatched, 0)
    turn = go_on(replayed(patched, history), 1)
    assert names(turn) == ["TurnStarted", "ActivityCompleted", "ExecutionCompleted"]
    assert replayed(patched_early, history).stalled is None


def test_where_an_old_instance_waits_the_answer_is_no_and_stays_no() -> None:
    """It was given on replay, so what comes live must not differ: the next replay would not."""
    execution = replayed(patched_where_it_waits, history_of(unpatched))
    turn = go_on(execution, 0)
    assert "PatchRecorded" not in names(turn)
    assert execution.state.output is not None
    assert bytes(execution.state.output) == b"false"


@pytest.mark.semantics('ctx.is_patched("id")')
def test_a_patch_is_recorded_once() -> None:
    bench = begun(app_of(looks_twice), "job")
    bench.go(done(1))
    bench.go(done(2))
    assert bench.output == [True, True]
    assert sum(isinstance(each, PatchRecorded) for each in bench.history) == 1


def test_a_new_generation_is_a_new_execution() -> None:
    async def again(ctx: WorkflowContext, left: int) -> bool:
        answer = ctx.is_patched("better")
        if left:
            ctx.continue_as_new(left - 1)
        return answer

    bench = begun(app_of(again), "job", 1)
    turn = bench.go()
    assert PatchRecorded(id=0, patch="better") in turn.events
    assert bench.output is True


@pytest.mark.semantics('ctx.deprecate_patch("id")')
def test_histories_with_the_patch_replay_where_it_is_deprecated() -> None:
    """`ctx.deprecate_patch("id")`."""
    execution = replayed(deprecated, history_of(patched, 0))
    assert execution.stalled is None
    assert execution.state.pending.keys() == {2}


def test_histories_from_before_do_not_fit_where_it_is_deprecated() -> None:
    assert "ActivityScheduled #1 old" in complaint(replayed(deprecated, history_of(unpatched, 0)))


def test_a_deprecated_patch_is_recorded_so_that_the_release_before_can_still_take_over() -> None:
    history = history_of(deprecated, 0)
    assert PatchRecorded(id=1, patch="better", deprecated=True) in history
    assert replayed(patched, history).stalled is None


@pytest.mark.semantics('ctx.deprecate_patch("id")')
@pytest.mark.parametrize("answers", [(), (0,)])
def test_histories_of_a_deprecated_patch_replay_without_it(answers: tuple[int, ...]) -> None:
    history = history_of(deprecated, *answers)
    execution = replayed(cleaned, history)
    turn = go_on(execution, 2 if answers else 0)
    assert called(turn) == ([] if answers else ["new"])


def test_a_deprecated_patch_at_the_very_end_is_passed_over() -> None:
    async def ends(ctx: WorkflowContext) -> None:
        ctx.deprecate_patch("better")

    async def without(ctx: WorkflowContext) -> None: ...

    assert replayed(without, history_of(ends)).stalled is None


@pytest.mark.semantics("Histories without any patch")
def test_a_patch_that_the_code_has_lost_stalls() -> None:
    """A patch list that does not fit stalls."""
    said = complaint(replayed(cleaned, history_of(patched, 0)))
    assert "expected by the history: PatchRecorded #1 'better'\n" in said
    assert "asked for by the code:   ActivityScheduled #1 new\n" in said
    assert "ctx.is_patched" in said


@pytest.mark.semantics("Histories without any patch")
def test_patches_in_another_order_stall() -> None:
    said = complaint(replayed(two_patches_turned, history_of(two_patches)))
    assert "expected by the history: PatchRecorded #1 'two'\n" in said


def test_a_patch_more_than_the_history_has_is_one_from_later() -> None:
    execution = replayed(two_patches, history_of(only_the_second))
    assert execution.stalled is None
    go_on(execution, 1)
    assert bytes(execution.state.output or b"") == b"[false,true]"


def test_behind_a_deprecated_patch_another_is_found() -> None:
    execution = replayed(only_the_second, history_of(first_deprecated))
    go_on(execution, 2)
    assert bytes(execution.state.output or b"") == b"true"


def test_a_patch_is_of_the_new_event_format() -> None:
    """Rule U1: an orchestrator of the first release cannot read it."""
    assert EVENT_LEVELS[PatchRecorded] == 2 <= EVENT_FORMAT


@pytest.mark.semantics("Histories without any patch")
def test_old_histories_hold_no_patch_and_replay_all_the_same() -> None:
    bench = Bench(app=app_of(unpatched), workflow="job")
    bench.go()
    assert replayed(patched, bench.history).stalled is None
