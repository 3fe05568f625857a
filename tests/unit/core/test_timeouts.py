"""Timeouts per activity: schedule-to-start, start-to-close, schedule-to-close, heartbeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tenuto import ActivityError, App, RetryPolicy, WorkflowContext
from tenuto.core.events import ActivityFailed, Failure
from tenuto.core.status import Status
from tenuto.core.timeouts import NO_TIMEOUTS, Timeouts, timeout_failure
from tenuto.core.turn import TaskLost, TimedOut, TimerKey, TimerSet
from tests.unit.core.bench import (
    RESUME,
    SUSPEND,
    Bench,
    begun,
    done,
    due,
    event,
    failed,
    names,
    raw,
    terminate,
    value,
)

POLICY = RetryPolicy(max_attempts=None, first_interval=10, backoff_coefficient=1)
app = App("timeouts", schedule_to_close=100, start_to_close=7)


@app.activity
def by_app() -> int:
    return 1


@app.activity(schedule_to_start=timedelta(seconds=20), start_to_close=8, heartbeat_timeout=3)
def by_activity() -> int:
    return 1


@app.workflow
async def calls(ctx: WorkflowContext) -> None:
    ctx.call_activity(by_app)
    ctx.call_activity(by_activity)
    ctx.call_activity(by_activity, start_to_close=9, schedule_to_close=50)
    ctx.call_activity("elsewhere", heartbeat_timeout=4.0)
    await ctx.wait_for_external_event("never")


@app.workflow
async def patient(ctx: WorkflowContext) -> list[str]:
    try:
        return [str(await ctx.call_activity(by_activity, retry=POLICY))]
    except ActivityError as error:
        failure = error.failure or Failure(type="unknown", message="")
        return [failure.type, "" if failure.cause is None else failure.cause.type]


@app.workflow
async def gives_up(ctx: WorkflowContext) -> None:
    ctx.call_activity(by_activity).cancel()
    later = ctx.call_activity(by_activity)
    await ctx.wait_for_external_event("go")
    later.cancel()
    await ctx.wait_for_external_event("never")


def _deadline(bench: Bench) -> float | None:
    """Seconds from now to the activity's one timer."""
    timers = bench.state.timers()
    return (timers[0].fire_at - bench.now).total_seconds() if timers else None


@pytest.mark.semantics("Four timeouts per activity")
def test_the_limits_of_the_call_go_before_the_activitys_before_the_apps() -> None:
    bench = begun(app, "calls")
    limits = [
        (s.schedule_to_start, s.start_to_close, s.schedule_to_close, s.heartbeat_timeout)
        for s in (task.scheduled for task in bench.turns[0].tasks)
    ]
    assert limits == [(None, 7, 100, None), (20, 8, 100, 3), (20, 9, 50, 3), (None, 7, 100, 4)]


def test_an_activity_has_one_timer_for_the_deadline_that_comes_first_and_none_without_limits() -> None:
    bench = begun(app, "calls")
    timers = {timer.key.command: timer for timer in bench.turns[0].timers_set}
    assert [(timers[c].fire_at - bench.now).total_seconds() for c in range(4)] == [100, 20, 20, 100]
    assert {timer.key for timer in timers.values()} == {TimerKey(command=c) for c in range(4)}

    free = App("free")
    free.activity(by_app)

    @free.workflow
    async def simple(ctx: WorkflowContext) -> int:
        return await ctx.call_activity(by_app)

    assert begun(free, "simple").turns[0].timers_set == ()


def test_schedule_to_start_fails_the_activity_for_good_if_no_worker_begins_it() -> None:
    bench = begun(app, "patient")
    assert bench.go(due(0), after=19.0).events == ()
    bench.go(due(0), after=1.0)
    assert bench.output == ["ScheduleToStartTimeoutError", ""]


def test_schedule_to_start_counts_for_each_attempt_from_its_sending() -> None:
    bench = begun(app, "patient")
    bench.go(failed(0), after=15.0)
    turn = bench.go(due(0, 2), after=10.0)
    assert turn.timers_set == (TimerSet(key=TimerKey(command=0), fire_at=bench.now + timedelta(seconds=20)),)
    bench.go(due(0), after=20.0)
    assert bench.output == ["ScheduleToStartTimeoutError", "ValueError"]


def test_schedule_to_close_spans_all_attempts() -> None:
    """It is final: the failure says which timeout it was, and the last attempt's failure is its cause."""
    bench = begun(app, "patient")
    for attempt in (1, 2, 3):
        bench.go(failed(0, attempt=attempt), after=15.0)
        bench.go(due(0, attempt + 1), after=10.0)
    assert _deadline(bench) == 20.0
    bench.go(failed(0, attempt=4), after=5.0)
    bench.go(due(0, 5), after=10.0)
    assert _deadline(bench) == 10.0
    bench.cold_start()
    bench.go(due(0), after=10.0)
    assert bench.output == ["ScheduleToCloseTimeoutError", "ValueError"]


def test_an_attempt_that_would_begin_after_schedule_to_close_is_not_made() -> None:
    bench = begun(app, "patient")
    turn = bench.go(failed(0), after=95.0)
    assert turn.timers_cleared == (TimerKey(command=0),)
    assert bench.output == ["ValueError", ""]


@pytest.mark.semantics("Four timeouts per activity")
@pytest.mark.parametrize("limit", ["start_to_close", "heartbeat_timeout"])
def test_start_to_close_and_heartbeat_timeouts_are_tried_again(limit: str) -> None:
    bench = begun(app, "patient")
    failure = timeout_failure(limit, 8, activity="by_activity", instance="order-17", attempt=1)
    bench.go(failed(0, failure.type, retryable=failure.retryable))
    assert (bench.status, bench.state.pending[0].attempt) == (Status.RUNNING, 2)


def test_at_most_one_timer_at_a_time_and_none_is_left_when_the_answer_comes_first() -> None:
    bench = begun(app, "patient")
    turn = bench.go(failed(0))
    assert turn.timers_cleared == (TimerKey(command=0),)
    assert [timer.key for timer in turn.timers_set] == [TimerKey(command=0, attempt=2)]
    turn = bench.go(due(0, 2), after=10.0)
    assert turn.timers_cleared == (TimerKey(command=0, attempt=2),)
    assert [timer.key for timer in turn.timers_set] == [TimerKey(command=0)]
    turn = bench.go(done(0, 5, attempt=2))
    assert (turn.timers_cleared, turn.timers_set) == ((TimerKey(command=0),), ())
    assert bench.output == ["5"]


def test_a_cancelled_activity_leaves_no_deadline_behind() -> None:
    bench = begun(app, "gives_up")
    assert [timer.key.command for timer in bench.turns[0].timers_set] == [2]
    assert bench.go(event("go")).timers_cleared == (TimerKey(command=2),)


def test_an_instance_that_ends_leaves_no_deadline_behind() -> None:
    bench = begun(app, "patient")
    assert bench.go(terminate()).timers_cleared == (TimerKey(command=0),)


def test_a_deadline_that_passes_while_suspended_is_heard_of_on_resume() -> None:
    bench = begun(app, "patient")
    bench.go(SUSPEND)
    assert names(bench.go(due(0), after=20.0)) == ["TurnStarted", "ActivityFailed"]
    assert bench.status is Status.SUSPENDED
    bench.go(RESUME)
    assert bench.output[0] == "ScheduleToStartTimeoutError"


def test_an_attempt_deferred_by_a_suspension_waits_for_its_start_only_once_it_is_sent() -> None:
    bench = begun(app, "patient")
    bench.go(failed(0))
    bench.go(SUSPEND)
    bench.go(due(0, 2), after=10.0)
    assert _deadline(bench) == 100 - 12
    bench.go(RESUME, after=30.0)
    assert _deadline(bench) == 20
    assert [timer.key for timer in bench.turns[-1].timers_set] == [TimerKey(command=0)]


def test_a_deadline_is_no_business_of_a_wait_for_a_retry() -> None:
    bench = begun(app, "patient")
    bench.go(failed(0))
    assert bench.go(due(0), after=5.0).events == ()


def test_limits_are_durations() -> None:
    assert Timeouts.of({}) is NO_TIMEOUTS
    assert Timeouts.of({"start_to_close": timedelta(minutes=1)}) == Timeouts(start_to_close=60.0)
    with pytest.raises(ValueError, match="must not be negative"):
        App("wrong", schedule_to_close=-1)


@pytest.mark.parametrize("limit", ["start_to_close", "heartbeat_timeout"])
def test_an_owner_ends_an_attempt_whose_worker_does_not(limit: Any) -> None:
    """Rule W4. It is tried again, and gets the heartbeat details."""
    bench = begun(app, "patient")
    overdue = TimedOut(command=0, attempt=1, limit=limit, details=raw(3))
    bench.go(overdue)
    bench.go(overdue)
    assert bench.state.pending[0].attempt == 2
    turn = bench.go(due(0, 2), after=10.0)
    assert (turn.tasks[0].attempt, value(turn.tasks[0].details)) == (2, 3)


def test_an_owner_ends_no_attempt_that_has_no_such_limit() -> None:
    bench = begun(app, "calls")
    assert bench.go(TimedOut(command=0, attempt=1, limit="heartbeat_timeout")).events == ()


def test_the_next_attempt_gets_the_details_of_the_last_heartbeat() -> None:
    """They are in the history, so they outlive every process."""
    bench = begun(app, "patient")
    failure = msgspec.structs.replace(failed(0), details=raw({"page": 2}))
    bench.go(failure)
    bench.cold_start()
    turn = bench.go(due(0, 2), after=10.0)
    assert value(turn.tasks[0].details) == {"page": 2}
    bench.go(failed(0, attempt=2))  # without a heartbeat of its own
    assert value(bench.go(due(0, 3), after=10.0).tasks[0].details) == {"page": 2}


def test_an_attempt_that_was_lost_gets_the_details_that_its_owner_had_heard_of() -> None:
    bench = begun(app, "patient")
    turn = bench.go(TaskLost(command=0, attempt=1, details=raw(0)))
    assert value(turn.tasks[0].details) == 0
    bench.cold_start()
    assert value(bench.go(TaskLost(command=0, attempt=1)).tasks[0].details) == 0
    assert value(bench.state.tasks_out()[0].details) == 0


def test_details_are_not_kept_when_there_is_no_other_attempt() -> None:
    bench = begun(app, "calls")
    turn = bench.go(msgspec.structs.replace(failed(0), details=raw(1)))
    assert [event.details for event in turn.events if isinstance(event, ActivityFailed)] == [None]
