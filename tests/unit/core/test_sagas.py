"""Sagas: what was done is undone in reverse order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tenuto import App, NonRetryableError, RetryPolicy, Saga, SagaError, WorkflowContext, builtins
from tenuto.core.letters import Start
from tenuto.core.reserved import SAGA, saga_instance
from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tenuto.errors import StalledError
from tests.unit.core.bench import RUN, Bench, begun, done, due, event, failed, letters_of, terminate, value

app = App("sagas", retry=RetryPolicy(max_attempts=1))
TWICE = RetryPolicy(
    max_attempts=2, first_interval=timedelta(seconds=10), non_retryable=[ValueError, "KeyError"], jitter=0.5
)


@app.activity
def do(step: str) -> str:
    return step


@app.activity(pool="undoers", retry=TWICE, start_to_close=30)
def undo(step: str) -> None: ...


@app.workflow
async def trip(ctx: WorkflowContext, on_terminate: bool) -> str:
    async with Saga(ctx, compensate_on_terminate=on_terminate) as saga:
        for step in ("flight", "hotel", "car"):
            await ctx.call_activity(do, step)
            saga.add(undo, step)
        await ctx.wait_for_external_event("confirmed", timeout=60)
    await ctx.wait_for_external_event("over")
    return "booked"


@app.workflow
def in_a_generator(ctx: WorkflowContext, _: None) -> Any:
    saga = Saga(ctx)
    saga.add(undo, "a")
    saga.add(undo, "b", retry=RetryPolicy(max_attempts=1))
    errors = yield saga.compensate()
    return [str(error.failure.message) for error in errors]


@app.workflow
async def catches(ctx: WorkflowContext, _: None) -> list[str]:
    try:
        async with Saga(ctx) as saga:
            saga.add(undo, "a", retry=RetryPolicy(max_attempts=1))
            saga.add(undo, "b", retry=RetryPolicy(max_attempts=1))
            saga.add(undo, "c", retry=RetryPolicy(max_attempts=1))
            raise NonRetryableError("no")
    except SagaError as error:
        return [
            type(error.__cause__).__name__,
            *(str(each.failure and each.failure.type) for each in error.errors),
        ]


@app.workflow
async def branch_in_a_saga(ctx: WorkflowContext, _: None) -> None:
    async def branch() -> None:
        async with Saga(ctx, compensate_on_terminate=True) as saga:
            saga.add(undo, "branch")
            await ctx.wait_for_external_event("never")

    ctx.spawn(branch())
    await ctx.wait_for_external_event("go")
    raise RuntimeError("no")


@app.workflow
async def retries_by_function(ctx: WorkflowContext, _: None) -> None:
    Saga(ctx, compensate_on_terminate=True).add(undo, "a", retry=lambda _failure, _attempt: 1.0)


def booked(*, on_terminate: bool = False) -> Bench:
    """Up to the wait for a confirmation."""
    bench = begun(app, "trip", on_terminate)
    for _ in range(3):
        (command,) = [p.command.id for p in bench.state.pending.values() if p.kind == "activity"]
        bench.go(done(command, "ok"))
    return bench


def times_out(bench: Bench) -> list[Any]:
    """The compensations, in the order in which they run."""
    (timer,) = [command for command, p in bench.state.pending.items() if p.kind == "timer"]
    turn, steps = bench.go(due(timer)), []
    while turn.tasks:
        (task,) = turn.tasks
        steps.append(value(task.scheduled.input))
        turn = bench.go(done(task.scheduled.id))
    return steps


@pytest.mark.semantics("A Saga")
@pytest.mark.parametrize("on_terminate", [False, True])
def test_a_failure_undoes_what_was_done_in_reverse_order(on_terminate: bool) -> None:
    bench = booked(on_terminate=on_terminate)
    assert times_out(bench) == ["car", "hotel", "flight"]
    assert (bench.status, bench.failure.type) == (Status.FAILED, "TimeoutError")
    assert letters_of(bench.turns[-1], Start) == [], "nothing is owed any more"


@pytest.mark.parametrize("on_terminate", [False, True])
def test_without_a_failure_nothing_is_undone(on_terminate: bool) -> None:
    bench = booked(on_terminate=on_terminate)
    bench.go(event("confirmed"))
    assert [p.kind for p in bench.state.pending.values()] == []
    turn = bench.go(terminate())
    assert (turn.tasks, turn.letters) == ((), ())


@pytest.mark.semantics("A Saga")
def test_each_compensation_has_its_retry_policy() -> None:
    bench = booked()
    (timer,) = [command for command, p in bench.state.pending.items() if p.kind == "timer"]
    (task,) = bench.go(due(timer)).tasks
    turn = bench.go(failed(task.scheduled.id, "OSError"))
    assert turn.timers_set[0].key == TimerKey(command=task.scheduled.id, attempt=2)


@pytest.mark.semantics("The exception")
def test_compensations_that_fail_do_not_keep_the_others_from_running_and_every_error_is_kept() -> None:
    bench = begun(app, "catches")
    bench.go(failed(0, "First"))
    bench.go(done(1))
    bench.go(failed(2, "Last"))
    assert bench.output == ["NonRetryableError", "First", "Last"]


def test_a_saga_in_a_generator() -> None:
    bench = begun(app, "in_a_generator")
    assert value(bench.turns[0].tasks[0].scheduled.input) == "b"
    bench.go(failed(0))
    bench.go(done(1))
    assert bench.output == ["broken"]


def test_terminate_does_not_undo_unless_asked_to() -> None:
    turn = booked().go(terminate())
    assert (turn.tasks, turn.letters) == ((), ())


@pytest.mark.semantics("compensate_on_terminate=True")
def test_terminate_starts_what_undoes_if_so_asked() -> None:
    """In the very commit: the start is a letter of the turn that ends the instance."""
    turn = booked(on_terminate=True).go(terminate())
    (out,) = letters_of(turn, Start)
    assert out.instance == saga_instance("order-17", RUN) == f"tenuto.saga:order-17:{RUN[:8]}"
    assert isinstance(out.letter, Start)
    assert (out.letter.workflow, out.letter.parent) == (SAGA, None)
    steps = value(out.letter.input)
    assert [step["call"]["input"] for step in steps] == ["car", "hotel", "flight"]
    assert {(step["call"]["pool"], step["call"]["start_to_close"]) for step in steps} == {("undoers", 30.0)}
    assert steps[0]["retry"] == {
        "max_attempts": 2,
        "first_interval": 10.0,
        "backoff_coefficient": 2.0,
        "jitter": 0.5,
        "non_retryable": ["KeyError", "ValueError"],
    }


@pytest.mark.semantics("compensate_on_terminate=True")
def test_what_is_undone_already_is_not_owed() -> None:
    bench = booked(on_terminate=True)
    (timer,) = [command for command, p in bench.state.pending.items() if p.kind == "timer"]
    (task,) = bench.go(due(timer)).tasks
    bench.go(done(task.scheduled.id))
    (out,) = letters_of(bench.go(terminate()), Start)
    assert isinstance(out.letter, Start)
    assert [step["call"]["input"] for step in value(out.letter.input)] == ["hotel", "flight"]


@pytest.mark.semantics("compensate_on_terminate=True")
def test_a_failure_undoes_what_a_dropped_branch_owes() -> None:
    bench = begun(app, "branch_in_a_saga")
    (out,) = letters_of(bench.go(event("go")), Start)
    assert isinstance(out.letter, Start)
    assert [step["call"]["input"] for step in value(out.letter.input)] == ["branch"]


def test_a_policy_that_must_be_recorded_cannot_be_a_function() -> None:
    with pytest.raises(StalledError, match="RetryPolicy, not a function"):
        begun(app, "retries_by_function")


# What runs them ----------------------------------------------------------------------------------------------


def test_the_builtin_workflow_runs_the_compensations_as_they_were_recorded() -> None:
    (out,) = letters_of(booked(on_terminate=True).go(terminate()), Start)
    assert isinstance(out.letter, Start)
    bench = begun(builtins.app, SAGA, value(out.letter.input))
    (task,) = bench.turns[0].tasks
    assert (task.scheduled.name, task.scheduled.pool, task.scheduled.start_to_close) == (
        "undo",
        "undoers",
        30,
    )
    assert bench.go(failed(0, "OSError")).timers_set[0].key == TimerKey(command=0, attempt=2)
    bench.go(due(0, attempt=2))
    bench.go(failed(0, "OSError", attempt=2))
    bench.go(done(1))
    bench.go(failed(2, "ValueError"))
    assert (bench.status, bench.failure.type) == (Status.FAILED, "SagaError")
    assert "OSError" in bench.failure.message
    assert "ValueError" in bench.failure.message
