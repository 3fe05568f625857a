"""Activities: what a call records, what goes out, what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tenuto import ActivityError, App, PayloadError, WorkflowContext
from tenuto.core.events import ActivityCompleted, ActivityFailed, ActivityScheduled, TurnStarted
from tenuto.core.status import Status
from tenuto.core.turn import Arrival
from tests.unit.core.bench import RUN, Bench, begun, done, failed, names, raw, value

app = App("activities")


@dataclass
class Order:
    number: int


@dataclass
class Receipt:
    order: Order
    paid: bool


@app.activity(pool="payments", start_to_close=timedelta(minutes=1))
async def charge(order: Order) -> Receipt:
    return Receipt(order, paid=True)


@app.activity(name="ship it")
def ship(receipt: Receipt) -> str:
    return "shipped" if receipt.paid else "kept"


@app.activity
def tick() -> int:
    return 1


@app.workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> str:
    receipt = await ctx.call_activity(charge, order)
    assert isinstance(receipt, Receipt)
    return await ctx.call_activity(ship, receipt, pool="docks", start_to_close=5)


@app.activity(local=True)
def near() -> int:
    return 1


where: list[bool | None] = []


@app.workflow
async def at_home(ctx: WorkflowContext) -> int:
    return sum([await ctx.call_activity(near, local=local) for local in where])


@app.workflow
async def by_name(ctx: WorkflowContext) -> Any:
    known = await ctx.call_activity("charge", Order(1))
    assert isinstance(known, Receipt)
    plain = await ctx.call_activity("somebody else's", [1])
    typed = await ctx.call_activity("somebody else's", [1], type=Receipt)
    return [plain, typed.order.number, await ctx.call_activity(tick)]


@app.workflow
async def catches(ctx: WorkflowContext) -> list[str]:
    try:
        await ctx.call_activity(tick)
    except ActivityError as error:
        return [str(error), error.failure.type if error.failure else "unknown"]
    return []


@app.workflow
async def lets_out(ctx: WorkflowContext) -> None:
    await ctx.call_activity(tick)


@app.workflow
async def sends_nonsense(ctx: WorkflowContext) -> str:
    try:
        await ctx.call_activity(charge, object())  # type: ignore[arg-type]  # what is tested
    except PayloadError as error:
        return str(error)
    return "no error"


def test_calls_in_sequence() -> None:
    bench = Bench(app=app, workflow="fulfil", input=Order(17))
    first = bench.go()
    assert names(first) == ["TurnStarted", "ActivityScheduled"]
    (task,) = first.tasks
    assert (task.attempt, task.key, task.alone) == (1, "seed:0:0", False)
    assert task.scheduled == ActivityScheduled(
        id=0, name="charge", input=raw({"number": 17}), pool="payments", start_to_close=60.0
    )

    receipt = {"order": {"number": 17}, "paid": True}
    second = bench.go(done(0, receipt))
    assert names(second) == ["TurnStarted", "ActivityCompleted", "ActivityScheduled"]
    (task,) = second.tasks
    assert task.scheduled == ActivityScheduled(
        id=1, name="ship it", input=raw(receipt), pool="docks", start_to_close=5.0
    )

    last = bench.go(done(1, "shipped"))
    assert names(last) == ["TurnStarted", "ActivityCompleted", "ExecutionCompleted"]
    assert (bench.status, bench.output) == (Status.COMPLETED, "shipped")
    assert bench.state.pending == {}


def test_an_activity_is_local_by_its_own_word_or_the_calls() -> None:
    where[:] = [None, True, False]
    bench = begun(app, "at_home")
    for command in range(3):
        bench.go(done(command, 1))
    assert bench.output == 3
    scheduled = [event for event in bench.history if isinstance(event, ActivityScheduled)]
    assert [event.local for event in scheduled] == [True, True, False]


@pytest.mark.semantics("Changing an activity to local")
def test_where_an_activity_ran_is_no_mismatch() -> None:
    where[:] = [True]
    bench = begun(app, "at_home")
    where[:] = [False]
    assert bench.replayed().stalled is None


def test_activities_by_name() -> None:
    bench = begun(app, "by_name")
    receipt = {"order": {"number": 4}, "paid": False}
    bench.go(done(0, receipt))
    bench.go(done(1, {"any": "thing"}))
    bench.go(done(2, receipt))
    bench.go(done(3, 1))
    assert [turn.tasks[0].scheduled.pool for turn in bench.turns[:3]] == ["payments", "default", "default"]
    assert value(bench.turns[3].tasks[0].scheduled.input) is None
    assert bench.output == [{"any": "thing"}, 4, 1]


def test_a_failure_can_be_caught() -> None:
    bench = begun(app, "catches")
    bench.go(failed(0))
    assert bench.output == ["activity 'tick' failed: ValueError: broken", "ValueError"]


def test_a_failure_that_is_let_out_fails_the_workflow() -> None:
    bench = begun(app, "lets_out")
    bench.go(failed(0, "OSError"))
    assert bench.status is Status.FAILED
    assert bench.failure.type == "ActivityError"
    assert bench.failure.cause is not None
    assert (bench.failure.cause.type, bench.failure.cause.message) == ("OSError", "broken")
    assert "await ctx.call_activity(tick)" in bench.failure.stack
    assert "tenuto/core" not in bench.failure.stack


def test_a_result_that_does_not_fit_fails_the_call_and_is_recorded_so() -> None:
    bench = begun(app, "catches")
    turn = bench.go(done(0, "no number"))
    assert isinstance(turn.events[1], ActivityFailed)
    assert bench.output[1] == "PayloadError"
    assert "the result of activity 'tick'" in bench.output[0]


def test_a_result_that_does_not_fit_is_not_tried_again() -> None:
    @app.workflow(name="fits not")
    async def fits_not(ctx: WorkflowContext) -> None:
        await ctx.call_activity(tick, retry=lambda _failure, _attempt: 1.0)

    bench = begun(app, "fits not")
    bench.go(done(0, "no number"))
    assert bench.status is Status.FAILED


def test_an_input_that_cannot_become_json_is_an_error_at_the_call() -> None:
    bench = begun(app, "sends_nonsense")
    assert "object at $ cannot become JSON" in bench.output


@pytest.mark.parametrize("times", [2, 3])
def test_an_answer_counts_once(times: int) -> None:
    bench = begun(app, "fulfil", Order(1))
    receipt = {"order": {"number": 1}, "paid": True}
    turn = bench.go(*[done(0, receipt)] * times)
    assert names(turn).count("ActivityCompleted") == 1
    assert len(turn.ignored) == times - 1
    assert "nobody waits for it" in turn.ignored[0][1]
    assert bench.go(done(0, receipt), failed(0)).events == ()
    assert bench.status is Status.RUNNING


def test_of_two_different_answers_the_first_counts() -> None:
    bench = begun(app, "catches")
    bench.go(done(0, 5), failed(0))
    assert bench.output == []


@pytest.mark.parametrize(
    "arrival",
    [
        Arrival(what=done(0, 1), run="another", generation=0),
        Arrival(what=done(0, 1), run=RUN, generation=1),
        Arrival(what=done(1, 1), run=RUN, generation=0),
        Arrival(what=done(0, 1, attempt=2), run=RUN, generation=0),
    ],
    ids=["run", "generation", "command", "attempt"],
)
def test_only_what_exactly_is_pending_counts(arrival: Arrival) -> None:
    """Rule N1."""
    bench = begun(app, "lets_out")
    turn = bench.go(arrival)
    assert turn.events == ()
    assert [ignored for ignored, _ in turn.ignored] == [arrival]
    assert bench.go(done(0, 1)).events != ()


def test_answers_to_an_ended_instance_are_ignored() -> None:
    bench = begun(app, "lets_out")
    bench.go(done(0, 1))
    turn = bench.go(done(0, 1))
    assert turn.events == ()
    assert turn.ignored[0][1] == "the instance has ended (COMPLETED)"


def test_time_never_runs_backwards() -> None:
    """Rule T1."""
    bench = begun(app, "lets_out")
    before = bench.now
    turn = bench.go(done(0, 1), after=-3600)
    assert turn.events[0] == TurnStarted(at=before)


def test_an_activity_without_awaiting_goes_out_too() -> None:
    @app.workflow(name="forgets")
    async def forgets(ctx: WorkflowContext) -> str:
        ctx.call_activity(tick)
        return "gone"

    bench = begun(app, "forgets")
    assert (bench.status, len(bench.turns[0].tasks)) == (Status.COMPLETED, 1)


def test_an_execution_can_be_made_again_at_any_time() -> None:
    bench = begun(app, "by_name")
    receipt = {"order": {"number": 4}, "paid": False}
    for command, result in enumerate([receipt, 1, receipt, 9]):
        bench.cold_start()
        bench.go(done(command, result))
    assert bench.output == [1, 4, 9]


def test_a_fan_out_takes_one_turn_for_what_comes_together() -> None:
    from tenuto import when_all  # noqa: PLC0415 - the only test here that needs it

    @app.workflow(name="fan")
    async def fan(ctx: WorkflowContext) -> int:
        return sum(await when_all([ctx.call_activity(tick) for _ in range(1000)]))

    bench = begun(app, "fan")
    assert len(bench.turns[0].tasks) == 1000
    turn = bench.go(*[done(command, 1) for command in range(1000)])
    assert sum(isinstance(each, ActivityCompleted) for each in turn.events) == 1000
    assert bench.output == 1000
