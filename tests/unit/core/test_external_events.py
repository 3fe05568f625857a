"""External events: raised, waited for, sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tenuto import App, PayloadError, WorkflowContext, when_all, when_any
from tenuto.core.events import EventRaised, TaskCancelled, TimerCreated
from tenuto.core.letters import Raise
from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tests.unit.core.bench import START, anybody, begun, due, event, letters_of, names, raw

app = App("events")


@dataclass
class Approval:
    by: str


@app.workflow
async def waits(ctx: WorkflowContext, timeout: float | None = None) -> Any:
    return await ctx.wait_for_external_event("Straße", timeout=timeout)


@app.workflow
async def waits_twice(ctx: WorkflowContext) -> list[Any]:
    found: list[Any] = []
    for _ in range(2):
        try:
            found.append(await ctx.wait_for_external_event("x", timeout=10))
        except TimeoutError as error:
            found.append(str(error))
    return found


@app.workflow
async def polls(ctx: WorkflowContext) -> list[Any]:
    found: list[Any] = []
    await ctx.create_timer(1)
    while True:
        try:
            found.append(await ctx.wait_for_external_event("x", timeout=timedelta()))
        except TimeoutError:
            return found


@app.workflow
async def three_waiters(ctx: WorkflowContext) -> list[Any]:
    return await when_all([ctx.wait_for_external_event("x") for _ in range(3)])


@app.workflow
async def typed(ctx: WorkflowContext) -> str:
    try:
        return (await ctx.wait_for_external_event("x", type=Approval)).by
    except PayloadError as error:
        return str(error)


@app.workflow
async def sends(ctx: WorkflowContext) -> None:
    ctx.send_event("other", "Hello", {"n": 1})
    await ctx.create_timer(1)


@app.workflow
async def forges(ctx: WorkflowContext) -> None:
    ctx.send_event("other", "tenuto.lock:0")


@app.workflow
async def sends_to_nobody(ctx: WorkflowContext) -> None:
    ctx.send_event("", "Hello")


@pytest.mark.parametrize("payload", [0, "", False, None, [], {"a": 1}, 1.5])
def test_payloads_arrive_as_sent(payload: Any) -> None:
    bench = begun(app, "waits")
    bench.go(event("STRASSE", payload))
    assert bench.output == payload
    assert type(bench.output) is type(payload)


@pytest.mark.semantics("Events come")
def test_anybody_may_raise_an_event_and_its_name_is_kept_as_sent() -> None:
    bench = begun(app, "waits")
    turn = bench.go(anybody(Raise(name="STRASSE", payload=raw(1), sender="other")))
    assert turn.events[1] == EventRaised(name="STRASSE", payload=raw(1), sender="other")


def test_an_event_clears_the_timer_of_its_wait() -> None:
    bench = begun(app, "waits", 60)
    created = bench.turns[0].events[1]
    assert created == TimerCreated(id=0, fire_at=START + timedelta(seconds=61), event="Straße")
    turn = bench.go(event("straße", 1), due(0))
    assert turn.timers_cleared == (TimerKey(command=0),)
    assert turn.events[2] == TaskCancelled(id=1, command=0)
    assert bench.output == 1


def test_an_event_that_is_there_already_needs_no_timer() -> None:
    bench = begun(app, "polls")
    bench.go(event("X", 1), event("y", 2), event("x", 3))
    turn = bench.go(due(0))
    assert bench.output == [1, 3]
    assert turn.timers_set == ()
    assert "TimerCreated" not in names(turn)


@pytest.mark.semantics("wait that timed out")
def test_a_wait_that_timed_out_takes_nothing() -> None:
    bench = begun(app, "waits_twice")
    turn = bench.go(due(0), event("x", 5))
    assert bench.output == ["no external event 'x' came in time", 5]
    assert turn.timers_set == ()


def test_whichever_comes_first_counts() -> None:
    bench = begun(app, "waits_twice")
    bench.go(event("x", 5), due(0))
    assert bench.status is Status.RUNNING
    bench.go(due(2))
    assert bench.output == [5, "no external event 'x' came in time"]


@pytest.mark.semantics("First in, first out")
def test_events_go_to_waiters_in_order_one_each() -> None:
    bench = begun(app, "three_waiters")
    bench.go(event("x", 1), event("x", 2))
    assert bench.status is Status.RUNNING
    bench.go(event("x", 3), event("x", 4))
    assert bench.output == [1, 2, 3]


@pytest.mark.parametrize(
    ("payload", "expected"), [({"by": "me"}, "me"), ({"by": 5}, "Expected `str`, got `int`")]
)
def test_payloads_have_the_type_that_the_wait_says(payload: Any, expected: str) -> None:
    bench = begun(app, "typed")
    bench.go(event("x", payload))
    assert expected in bench.output


def test_a_wait_that_lost_a_race_still_takes_its_event() -> None:
    @app.workflow(name="races")
    async def races(ctx: WorkflowContext) -> list[Any]:
        stop = ctx.wait_for_external_event("stop")
        winner = await when_any([stop, ctx.create_timer(1)])
        return [winner is stop, await stop]

    bench = begun(app, "races")
    bench.go(due(0))
    bench.go(event("stop", "now"))
    assert bench.output == [False, "now"]


def test_sending_an_event_is_a_letter() -> None:
    bench = begun(app, "sends")
    (out,) = letters_of(bench.turns[0], Raise)
    assert (out.instance, out.run) == ("other", None)
    assert out.letter == Raise(name="Hello", payload=raw({"n": 1}), sender="order-17")
    assert bench.state.pending.keys() == {1}


def test_an_event_needs_an_instance() -> None:
    bench = begun(app, "sends_to_nobody")
    assert bench.failure.type == "ValueError"


@pytest.mark.semantics("Names that begin with tenuto")
def test_an_event_that_is_tenutos_own_is_not_sent() -> None:
    bench = begun(app, "forges")
    assert bench.failure.type == "ValueError"
    assert "choose another" in bench.failure.message
    assert not letters_of(bench.turns[0], Raise)
