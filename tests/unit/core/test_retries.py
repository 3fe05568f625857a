"""Retries, and tasks that are lost with their workers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenuto import App, RetryPolicy, WorkflowContext
from tenuto.core.events import ActivityFailed, ActivityLost, Failure
from tenuto.core.status import Status
from tenuto.core.turn import TaskLost, TimerKey
from tenuto.errors import StalledError
from tests.unit.core.bench import Bench, begun, done, due, failed, names

POLICY = RetryPolicy(max_attempts=3, first_interval=10)
app = App("retries", retry=RetryPolicy(max_attempts=2, first_interval=7))


@app.activity
def plain() -> int:
    return 1


@app.activity(retry=POLICY)
def stubborn() -> int:
    return 1


def choosy(failure: Failure, attempt: int) -> timedelta | None:
    return timedelta(seconds=attempt) if failure.type == "ValueError" else None


def broken(_failure: Failure, _attempt: int) -> float:
    raise KeyError("in the policy")


@app.workflow
async def by_app(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(plain)


@app.workflow
async def by_activity(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(stubborn)


@app.workflow
async def by_call(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(stubborn, retry=choosy)


@app.workflow
async def by_broken_call(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(stubborn, retry=broken)


@app.workflow
async def by_negative_call(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(stubborn, retry=lambda _failure, _attempt: -1.0)


@app.workflow
async def by_jitter(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(stubborn, retry=RetryPolicy(first_interval=100, jitter=0.5))


@app.workflow
async def for_a_while(ctx: WorkflowContext) -> int:
    policy = RetryPolicy(max_attempts=None, first_interval=10, backoff_coefficient=1, timeout=25)
    return await ctx.call_activity(stubborn, retry=policy)


def wait_of(bench: Bench, attempt: int) -> float | None:
    """Seconds until the next attempt after this one failed."""
    turn = bench.go(failed(0, attempt=attempt))
    if not turn.timers_set:
        return None
    assert turn.timers_set[0].key == TimerKey(command=0, attempt=attempt + 1)
    return (turn.timers_set[0].fire_at - bench.now).total_seconds()


@pytest.mark.semantics("retry policy")
@pytest.mark.parametrize(
    ("workflow", "waits"),
    [("by_app", [7, None]), ("by_activity", [10, 20, None]), ("by_call", [1, 2, 3, 4])],
)
def test_the_calls_policy_goes_before_the_activitys_and_that_before_the_apps(
    workflow: str, waits: list[float | None]
) -> None:
    bench = begun(app, workflow)
    for attempt, wait in enumerate(waits, start=1):
        assert wait_of(bench, attempt) == wait
        if wait is not None:
            bench.go(due(0, attempt=attempt + 1))
    if waits[-1] is None:
        assert bench.status is Status.FAILED


@pytest.mark.semantics("retry policy")
def test_a_retry_is_a_durable_timer_and_the_code_does_not_hear_of_it() -> None:
    bench = begun(app, "by_activity")
    turn = bench.go(failed(0))
    assert names(turn) == ["TurnStarted", "ActivityFailed"]
    assert isinstance(turn.events[1], ActivityFailed)
    assert turn.events[1].retry_at == bench.now + timedelta(seconds=10)
    assert bench.state.tasks_out() == []
    assert bench.state.tasks_pending == 0
    assert bench.state.timers() == list(turn.timers_set)

    assert bench.go(done(0, 1)).events == (), "nothing is out while it waits"
    assert bench.go(done(0, 1, attempt=2)).events == ()
    bench.cold_start()

    turn = bench.go(due(0, attempt=2), due(0, attempt=2))
    assert names(turn) == ["TurnStarted", "ActivityRetried"]
    assert [(task.attempt, task.key) for task in turn.tasks] == [(2, "seed:0:0")]
    assert turn.timers_cleared == (TimerKey(command=0, attempt=2),)
    assert bench.state.tasks_pending == 1

    assert bench.go(done(0, 1)).events == (), "the first attempt's answer comes too late"
    bench.go(done(0, 1, attempt=2))
    assert bench.output == 1


@pytest.mark.semantics("retry policy")
def test_a_policy_changed_on_live_instances_governs_later_attempts_and_is_no_mismatch() -> None:
    """Attempts that were waited for before keep their times; a wait under way is not changed."""
    bench = begun(app, "by_activity")
    assert wait_of(bench, 1) == 10
    changed = App("changed")
    changed.activity(retry=RetryPolicy(max_attempts=5, first_interval=100))(stubborn)
    changed.workflow(by_activity)
    bench.app = changed
    bench.cold_start()
    assert bench.execution.stalled is None
    assert [timer.key.attempt for timer in bench.state.timers()] == [2]
    bench.go(due(0, attempt=2))
    assert wait_of(bench, 2) == 200


@pytest.mark.semantics("retry policy")
def test_what_is_not_retryable_is_not_retried() -> None:
    bench = begun(app, "by_call")
    bench.go(failed(0, retryable=False))
    assert bench.status is Status.FAILED


@pytest.mark.semantics("retry policy")
def test_a_policy_may_say_no() -> None:
    bench = begun(app, "by_call")
    bench.go(failed(0, "OSError"))
    assert bench.status is Status.FAILED


@pytest.mark.parametrize(
    ("workflow", "complaint"),
    [("by_broken_call", "KeyError: 'in the policy'"), ("by_negative_call", "negative")],
)
def test_a_broken_policy_stalls_the_instance_and_does_not_fail_it(workflow: str, complaint: str) -> None:
    bench = begun(app, workflow)
    with pytest.raises(StalledError, match=complaint):
        bench.go(failed(0))


@pytest.mark.semantics("retry policy")
def test_jitter_is_a_function_of_the_attempt() -> None:
    waits = {wait_of(begun(app, "by_jitter"), 1) for _ in range(3)}
    assert len(waits) == 1
    (wait,) = waits
    assert wait is not None
    assert 50 <= wait <= 150
    assert wait != 100


@pytest.mark.semantics("retry policy")
def test_no_attempt_begins_after_the_timeout() -> None:
    bench = begun(app, "for_a_while")
    assert wait_of(bench, 1) == 10
    bench.go(due(0, attempt=2), after=10)
    assert wait_of(bench, 2) == 10
    bench.go(due(0, attempt=3), after=10)
    assert wait_of(bench, 3) is None
    assert bench.status is Status.FAILED


# Rule W1: lost tasks.


def lost(attempt: int = 1, *, counted: bool = False) -> TaskLost:
    return TaskLost(command=0, attempt=attempt, counted=counted)


def test_a_lost_task_goes_out_again_alone_with_the_same_attempt() -> None:
    bench = begun(app, "by_activity")
    turn = bench.go(lost())
    assert turn.events[1:] == (ActivityLost(command=0, attempt=1, losses=0),)
    assert [(task.attempt, task.alone, task.key) for task in turn.tasks] == [(1, True, "seed:0:0")]
    assert [task.alone for task in bench.state.tasks_out()] == [True]
    bench.go(done(0, 1))
    assert bench.output == 1


@pytest.mark.semantics("A task that kills its worker")
def test_a_task_that_is_lost_alone_too_often_is_a_failure_and_a_dead_letter() -> None:
    bench = begun(app, "by_activity", max_losses=2)
    bench.go(lost())
    assert bench.go(lost(counted=True)).dead == ()
    assert bench.go(lost(counted=True)).dead == ()
    turn = bench.go(lost(counted=True))
    assert [(task.attempt, task.alone) for task in turn.dead] == [(1, True)]
    assert turn.tasks == ()
    assert isinstance(turn.events[1], ActivityFailed)
    assert turn.events[1].failure.type == "WorkerLostError"
    assert turn.events[1].retry_at is None
    assert bench.status is Status.FAILED


def test_a_task_that_was_sent_twice_is_lost_once() -> None:
    """Rule W1: one death of a worker is one loss, however many copies of the task it had."""
    bench = begun(app, "by_activity", max_losses=1)
    bench.go(lost())
    copies = [TaskLost(command=0, attempt=1, counted=True, sending=1) for _ in range(3)]
    turn = bench.go(*copies)
    assert turn.events[1:] == (ActivityLost(command=0, attempt=1, losses=1),)
    assert [task.sending for task in turn.tasks] == [2]
    assert bench.go(copies[0]).events == ()
    assert bench.go(TaskLost(command=0, attempt=1, counted=True, sending=2)).dead != ()


def test_another_attempt_starts_with_a_clean_record() -> None:
    bench = begun(app, "by_activity", max_losses=1)
    bench.go(lost(counted=True))
    bench.go(failed(0))
    turn = bench.go(due(0, attempt=2))
    assert [task.alone for task in turn.tasks] == [False]
    assert bench.go(lost(2, counted=True)).dead == ()


@pytest.mark.parametrize("late", [lost(2), TaskLost(command=1, attempt=1)])
def test_the_loss_of_what_is_not_out_changes_nothing(late: TaskLost) -> None:
    bench = begun(app, "by_activity")
    assert bench.go(late).events == ()
    bench.go(failed(0))
    assert bench.go(lost(1), lost(2)).events == ()


def test_a_loss_and_an_answer_in_one_turn_send_nothing() -> None:
    bench = begun(app, "by_activity")
    turn = bench.go(lost(), done(0, 1))
    assert turn.tasks == ()
    assert bench.status is Status.COMPLETED
