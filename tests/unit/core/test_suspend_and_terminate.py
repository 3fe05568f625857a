"""Suspend, resume, terminate."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, RetryPolicy, WorkflowContext, when_all, when_any
from tenuto.core.events import (
    ActivityRetried,
    ChildRetried,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
)
from tenuto.core.execution import advance, replay
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, TaskLost, TimerKey
from tenuto.errors import StalledError
from tests.unit.core.bench import (
    RESUME,
    RUN,
    START,
    SUSPEND,
    Bench,
    anybody,
    begun,
    child_done,
    child_failed,
    done,
    due,
    event,
    failed,
    names,
    raw,
    starts,
    terminate,
    value,
)

app = App("pauses")


@app.activity(retry=RetryPolicy(first_interval=10))
def work() -> int:
    return 1


@app.workflow
async def two_steps(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.call_activity(work)
    second = await ctx.wait_for_external_event("go", timeout=60)
    return [first, second, ctx.current_utc_datetime.isoformat()]


@app.workflow
async def retried(ctx: WorkflowContext) -> list[Any]:
    return await when_all(
        [ctx.call_activity(work), ctx.call_child_workflow("child", retry=RetryPolicy(first_interval=10))]
    )


@pytest.mark.semantics("Suspend")
def test_suspended_everything_is_recorded_but_kept_from_the_code() -> None:
    bench = begun(app, "two_steps")
    turn = bench.go(SUSPEND)
    assert turn.events[1:] == (ExecutionSuspended(reason="wait"),)
    assert (bench.status, bench.state.reason) == (Status.SUSPENDED, "wait")
    turn = bench.go(done(0, 1), done(0, 2), event("go", "held"))
    assert names(turn) == ["TurnStarted", "ActivityCompleted", "EventRaised"]
    assert bench.go(done(0, 1)).events == (), "deduplication works at once"
    bench.cold_start()
    turn = bench.go(RESUME)
    assert names(turn)[1:] == ["ExecutionResumed", "TimerCreated", "TaskCancelled", "ExecutionCompleted"]
    assert turn.events[1] == ExecutionResumed(reason="go")
    assert turn.timers_set == ()
    assert bench.output[:2] == [1, "held"]
    assert bench.output[2] == bench.now.isoformat()


@pytest.mark.semantics("Suspend")
def test_what_was_held_is_applied_in_order() -> None:
    bench = begun(app, "two_steps")
    bench.go(done(0, 1), SUSPEND)
    bench.go(due(1), event("go", "late"))
    turn = bench.go(RESUME)
    assert bench.status is Status.FAILED
    assert bench.failure.type == "TimeoutError"
    assert turn.timers_cleared == ()
    assert bench.turns[2].timers_cleared == (TimerKey(command=1),)


@app.workflow
async def gives_up(ctx: WorkflowContext) -> list[Any]:
    call, child = ctx.call_activity(work), ctx.call_child_workflow("child")
    first = await when_any([call, child, ctx.create_timer(60)])
    return [first.get_result(), call.cancel(), child.cancel(), await ctx.wait_for_external_event("go")]


def test_what_was_held_for_a_task_that_the_code_then_cancels_is_dropped() -> None:
    bench = begun(app, "gives_up")
    bench.go(SUSPEND)
    bench.go(due(2), done(0, 1), child_done(1, 2))
    bench.cold_start()
    bench.go(RESUME)
    bench.go(event("go", "on"))
    assert bench.output == [None, True, True, "on"]


@pytest.mark.semantics("Suspend")
@pytest.mark.parametrize("again", [SUSPEND, anybody(SUSPEND)])
def test_twice_is_once(again: Any) -> None:
    bench = begun(app, "two_steps")
    bench.go(SUSPEND)
    turn = bench.go(again)
    assert turn.events == ()
    assert turn.ignored[0][1] == "the instance is suspended already"
    bench.go(RESUME)
    turn = bench.go(RESUME)
    assert turn.events == ()
    assert turn.ignored[0][1] == "the instance is not suspended"


def test_a_retry_that_falls_due_while_suspended_goes_out_at_resume() -> None:
    bench = begun(app, "retried")
    bench.go(failed(0), child_failed(1))
    bench.go(SUSPEND)
    turn = bench.go(due(0, 2), due(1, 2))
    assert (turn.tasks, turn.letters) == ((), ())
    assert set(turn.timers_cleared) == {TimerKey(command=0, attempt=2), TimerKey(command=1, attempt=2)}
    assert [type(each) for each in turn.events[1:]] == [ActivityRetried, ChildRetried]
    assert (bench.state.tasks_out(), bench.state.tasks_pending, bench.state.children_alive()) == ([], 0, [])
    assert bench.go(done(0, 1, attempt=2)).events == (), "it is not out"
    bench.cold_start()

    turn = bench.go(RESUME)
    assert [(task.scheduled.id, task.attempt) for task in turn.tasks] == [(0, 2)]
    assert [start.workflow for _, start in starts(turn)] == ["child"]
    assert bench.state.tasks_out() == list(turn.tasks)
    assert bench.state.tasks_pending == 1
    assert len(bench.state.children_alive()) == 1


def test_a_failure_while_suspended_begins_its_retry_wait_at_once() -> None:
    bench = begun(app, "retried")
    bench.go(SUSPEND)
    turn = bench.go(failed(0))
    assert len(turn.timers_set) == 1
    turn = bench.go(RESUME)
    assert turn.tasks == ()
    assert [task.attempt for task in bench.go(due(0, 2)).tasks] == [2]


def test_a_task_lost_while_suspended_goes_out_again() -> None:
    bench = begun(app, "two_steps")
    bench.go(SUSPEND)
    turn = bench.go(TaskLost(command=0, attempt=1))
    assert [task.alone for task in turn.tasks] == [True]


def test_terminate_ends_it_at_once() -> None:
    bench = begun(app, "two_steps")
    bench.go(done(0, 1))
    turn = bench.go(terminate("enough", {"by": "me"}), event("go"))
    assert names(turn) == ["TurnStarted", "ExecutionTerminated"]
    assert (bench.status, bench.state.reason, bench.output) == (Status.TERMINATED, "enough", {"by": "me"})
    assert turn.timers_cleared == (TimerKey(command=1),)
    assert bench.state.pending == {}


@pytest.mark.semantics("Terminate")
def test_terminate_works_on_a_suspended_instance() -> None:
    bench = begun(app, "two_steps")
    bench.go(SUSPEND)
    bench.go(done(0, 1))
    bench.go(terminate())
    assert bench.status is Status.TERMINATED


@pytest.mark.semantics("Terminate")
def test_terminate_on_a_terminal_instance_changes_nothing_and_says_so() -> None:
    bench = begun(app, "two_steps")
    bench.go(terminate("first"))
    turn = bench.go(terminate("second"), SUSPEND, RESUME)
    assert turn.events == ()
    assert {reason for _, reason in turn.ignored} == {"the instance has ended (TERMINATED)"}
    assert bench.state.reason == "first"


def test_terminate_for_another_run_does_nothing() -> None:
    bench = begun(app, "two_steps")
    assert bench.go(Arrival(what=terminate(), run="another")).events == ()


def test_terminate_that_comes_with_the_start_keeps_the_code_from_beginning() -> None:
    bench = Bench(app=app, workflow="two_steps")
    turn = bench.go(event("go"), terminate("never mind"))
    assert names(turn) == ["TurnStarted", "ExecutionTerminated"]
    assert turn.tasks == ()
    assert turn.ignored[0][1] == "the instance is terminated in the same turn"
    assert bench.status is Status.TERMINATED


def test_terminate_works_on_a_stalled_instance() -> None:
    bench = begun(app, "two_steps")
    history = [*bench.history]
    stalled = replay(App("other").resolve, "order-17", RUN, history)
    assert stalled.stalled is not None
    assert stalled.state.pending == bench.state.pending
    arrivals = [Arrival(what=done(0, 1), run=RUN, generation=0), Arrival(what=terminate("enough"))]
    turn = advance(stalled, arrivals, START)
    assert isinstance(turn.events[-1], ExecutionTerminated)
    assert len(turn.ignored) == 1
    assert stalled.state.status is Status.TERMINATED
    again = replay(app.resolve, "order-17", RUN, [*history, *turn.events])
    assert again.stalled is None


@pytest.mark.parametrize("what", [done(0, 1), failed(0), event("go")])
def test_a_stalled_instance_takes_nothing_that_needs_code(what: Any) -> None:
    bench = begun(app, "two_steps")
    stalled = replay(App("other").resolve, "order-17", RUN, bench.history)
    with pytest.raises(StalledError, match="no workflow 'two_steps' is known here"):
        advance(stalled, [Arrival(what=what)], START)


def test_a_stalled_instance_takes_what_needs_no_code() -> None:
    bench = begun(app, "two_steps")
    bench.go(failed(0))
    stalled = replay(App("other").resolve, "order-17", RUN, bench.history)
    turn = advance(stalled, [Arrival(what=due(0, 2)), Arrival(what=done(0, 1)), Arrival(what=SUSPEND)], START)
    assert [task.attempt for task in turn.tasks] == [2]
    assert stalled.state.status is Status.SUSPENDED
    with pytest.raises(StalledError):
        advance(stalled, [Arrival(what=RESUME)], START)


def test_a_stalled_instance_that_has_not_begun_cannot_begin() -> None:
    bench = Bench(app=app, workflow="two_steps")
    stalled = replay(App("other").resolve, "order-17", RUN, bench.history)
    with pytest.raises(StalledError):
        advance(stalled, [], START)
    assert raw(None) == bench.state.input
    assert value(bench.state.input) is None
