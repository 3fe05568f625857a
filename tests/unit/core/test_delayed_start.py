"""A delayed start: `ExecutionStarted.start_at` keeps the first turn back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import ExecutionStarted
from tenuto.core.letters import Continue
from tenuto.core.status import Status
from tenuto.core.turn import START_TIMER, Arrival
from tests.unit.core.bench import RESUME, RUN, START, SUSPEND, Bench, due, event, names, raw, terminate

app = App("later")


@app.activity
def work() -> int:
    return 1


@app.workflow
async def listens(ctx: WorkflowContext) -> list[str]:
    return [await ctx.wait_for_external_event("go"), ctx.current_utc_datetime.isoformat()]


def delayed(seconds: float = 100) -> Bench:
    started = ExecutionStarted(
        workflow="listens", input=raw(None), seed="s", at=START, start_at=START + timedelta(seconds=seconds)
    )
    return Bench(app=app, workflow="listens", started=started)


def test_it_is_pending_until_its_time_has_come() -> None:
    bench = delayed()
    assert bench.go().events == ()
    assert (bench.status, bench.state.begun) == (Status.PENDING, False)
    assert [timer.key for timer in bench.state.timers()] == [START_TIMER]
    turn = bench.go(due(-1), after=99)
    assert names(turn) == ["TurnStarted"]
    assert turn.timers_cleared == (START_TIMER,)
    assert (bench.status, bench.state.timers()) == (Status.RUNNING, [])


def test_one_in_the_past_begins_at_once() -> None:
    bench = delayed(-5)
    assert names(bench.go()) == ["TurnStarted"]


def test_an_event_that_comes_before_is_kept_for_the_code() -> None:
    bench = delayed()
    turn = bench.go(event("go", "early"))
    assert names(turn) == ["EventRaised"]
    assert bench.status is Status.PENDING
    bench.cold_start()
    bench.go(due(-1), after=200)
    assert bench.output == ["early", bench.now.isoformat()]


def test_suspended_its_time_passes_and_resume_begins_it() -> None:
    bench = delayed()
    bench.go(SUSPEND)
    bench.go(event("go", "early"))
    bench.go(due(-1), after=200)
    assert bench.status is Status.SUSPENDED
    bench.cold_start()
    bench.go(RESUME)
    assert bench.output == ["early", bench.now.isoformat()]


@pytest.mark.semantics("Delayed starts")
def test_resumed_before_its_time_it_is_pending_again() -> None:
    bench = delayed()
    bench.go(SUSPEND)
    bench.go(RESUME)
    assert (bench.status, bench.state.begun) == (Status.PENDING, False)


def test_terminate_ends_it_before_and_takes_its_timer_away() -> None:
    bench = delayed()
    turn = bench.go(terminate("no longer needed"))
    assert names(turn) == ["ExecutionTerminated"]
    assert turn.timers_cleared == (START_TIMER,)
    assert bench.go(due(-1), after=200).events == ()


def test_a_continue_that_was_held_does_not_begin_it_early() -> None:
    bench = delayed()
    turn = bench.go(Arrival(what=Continue(generation=0), run=RUN, generation=0))
    assert (turn.events, turn.ignored) == ((), ())
