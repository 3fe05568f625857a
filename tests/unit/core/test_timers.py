"""Durable timers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import TimerCreated
from tenuto.core.status import Status
from tenuto.core.turn import TimerKey, TimerSet
from tests.unit.core.bench import START, Bench, begun, due, names

app = App("timers")
WHEN: dict[str, Any] = {
    "seconds": 90,
    "timedelta": timedelta(days=400),
    "moment": datetime(2026, 2, 3, 4, 5, tzinfo=UTC),
    "abroad": datetime(2026, 2, 3, 6, 5, tzinfo=timezone(timedelta(hours=2))),
    "past": datetime(2020, 1, 1, tzinfo=UTC),
    "negative": timedelta(seconds=-5),
    "for ever": float("inf"),
    "beyond the calendar": timedelta.max,
    "naive": datetime(2026, 1, 1),  # noqa: DTZ001 - what is tested
    "nan": float("nan"),
}


@app.workflow
async def sleeps(ctx: WorkflowContext, name: str) -> str:
    await ctx.create_timer(WHEN[name])
    return ctx.current_utc_datetime.isoformat()


@app.workflow
async def two_timers(ctx: WorkflowContext) -> list[bool]:
    long, short = ctx.create_timer(60), ctx.create_timer(30)
    await short
    return [long.is_complete, short.is_complete]


@pytest.mark.semantics("Timers")
@pytest.mark.parametrize(
    ("name", "fire_at"),
    [
        ("seconds", START + timedelta(seconds=91)),
        ("timedelta", START + timedelta(days=400, seconds=1)),
        ("moment", WHEN["moment"]),
        ("abroad", WHEN["moment"]),
        ("past", WHEN["past"]),
        ("negative", START - timedelta(seconds=4)),
        ("for ever", datetime.max.replace(tzinfo=UTC)),
        ("beyond the calendar", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_timer_fires_when_it_is_due(name: str, fire_at: datetime) -> None:
    bench = begun(app, "sleeps", name)
    timer = TimerSet(key=TimerKey(command=0), fire_at=fire_at)
    assert bench.turns[0].timers_set == (timer,)
    assert bench.state.timers() == [timer]
    turn = bench.go(due(0))
    assert names(turn) == ["TurnStarted", "TimerFired", "ExecutionCompleted"]
    assert turn.timers_cleared == (timer.key,)
    assert bench.output == (START + timedelta(seconds=2)).isoformat()


@pytest.mark.parametrize(("name", "complaint"), [("naive", "has no time zone"), ("nan", "NaN")])
def test_a_moment_that_is_none_is_an_error(name: str, complaint: str) -> None:
    bench = begun(app, "sleeps", name)
    assert bench.status is Status.FAILED
    assert complaint.lower() in bench.failure.message.lower()


def test_a_timer_fires_once_and_the_end_clears_the_others() -> None:
    bench = begun(app, "two_timers")
    turn = bench.go(due(1), due(1), due(0))
    assert [reason for _, reason in turn.ignored] == ["the instance has ended (COMPLETED)"] * 2
    assert set(turn.timers_cleared) == {TimerKey(command=0), TimerKey(command=1)}
    assert bench.output == [False, True]


def test_what_the_history_says_of_a_timer_wins() -> None:
    bench = Bench(app=app, workflow="sleeps", input="seconds")
    bench.go()
    earlier = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
    bench.history[-1] = TimerCreated(id=0, fire_at=earlier)
    bench.cold_start()
    assert bench.state.timers()[0].fire_at == earlier
