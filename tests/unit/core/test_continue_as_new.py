"""Continue-as-new: a new generation of the same run."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import (
    ContinuedAsNew,
    EventRaised,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    ReplyTo,
    TurnStarted,
)
from tenuto.core.execution import replay
from tenuto.core.letters import ChildEnded, Continue
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, TimerKey
from tests.unit.core.bench import (
    PARENT,
    RESUME,
    RUN,
    SUSPEND,
    Bench,
    begun,
    child_done,
    done,
    due,
    event,
    letters_of,
    names,
    raw,
    terminate,
)

app = App("again")


@app.activity
def work() -> int:
    return 1


@app.workflow
async def counts(ctx: WorkflowContext, number: int = 0) -> list[Any]:
    ctx.set_custom_status({"at": number})
    left_behind = ctx.call_activity(work), ctx.create_timer(60), ctx.call_child_workflow("child")
    payload = await ctx.wait_for_external_event("next")
    if number < 2:
        ctx.continue_as_new(number + 1, save_events=payload != "forget")
    return [number, payload, [task.is_complete for task in left_behind]]


@app.workflow
async def only_drains(ctx: WorkflowContext) -> list[Any]:
    try:
        return [await ctx.wait_for_external_event(name, timeout=0) for name in ("b", "a", "a")]
    except TimeoutError:
        await ctx.wait_for_external_event("go")
        ctx.continue_as_new()
        return []


@app.workflow
async def fails_after_all(ctx: WorkflowContext) -> None:
    ctx.continue_as_new()
    raise RuntimeError("no")


@app.workflow
async def changes_its_mind(ctx: WorkflowContext, number: int = 0) -> None:
    if number == 0:
        ctx.continue_as_new(1)
        await ctx.create_timer(1)
        ctx.continue_as_new(2)
    else:
        await ctx.create_timer(1)


@pytest.mark.semantics("new generation")
def test_a_new_generation_takes_the_place_of_the_old() -> None:
    bench = begun(app, "counts")
    turn = bench.go(event("next", 1))
    assert names(turn) == ["TurnStarted", "EventRaised", "ContinuedAsNew"]
    assert turn.events[2] == ContinuedAsNew(id=3, input=raw(1))
    assert turn.next_generation == (
        ExecutionStarted(
            workflow="counts", input=raw(1), seed="seed", generation=1, at=bench.now, children=1
        ),
    )
    (letter,) = letters_of(turn, Continue)
    assert (letter.instance, letter.run, letter.letter) == ("order-17", RUN, Continue(generation=1))
    assert turn.timers_cleared == (TimerKey(command=1),)
    assert (bench.status, bench.state.begun, bench.state.pending) == (Status.RUNNING, False, {})

    turn = bench.go(Continue(generation=1))
    assert turn.ignored == ()
    assert [task.key for task in turn.tasks] == ["seed:1:0"], "command ids begin anew, keys do not repeat"
    assert bench.state.begun


@pytest.mark.semantics("What is kept")
def test_everything_that_identifies_the_instance_is_kept() -> None:
    kept = {
        "seed": "seed",
        "version": None,
        "parent": PARENT,
        "tags": {"a": "b"},
        "reply": ReplyTo(queue="q"),
        "trace": {"traceparent": "x"},
    }
    bench = Bench(
        app=app, workflow="counts", started=ExecutionStarted(workflow="counts", input=raw(0), **kept)
    )  # type: ignore[arg-type]  # as above
    bench.go()
    bench.go(event("next"))
    started = bench.history[0]
    assert {name: getattr(started, name) for name in kept} == kept


def test_it_ends_like_any_other() -> None:
    bench = begun(app, "counts")
    for _ in range(2):
        bench.go(event("next"))
        bench.cold_start()
        bench.go()
    bench.go(event("next", "last"))
    assert (bench.status, bench.output) == (Status.COMPLETED, [2, "last", [False] * 3])


@pytest.mark.semantics("What is kept")
def test_the_custom_status_is_kept_until_set_again() -> None:
    bench = begun(app, "counts")
    bench.go(event("next"))
    assert bench.execution.custom_status == b'{"at":0}'
    assert bench.replayed().custom_status is None
    bench.go()
    assert bench.execution.custom_status == b'{"at":1}'


@pytest.mark.semantics("Events that nobody took are carried over")
def test_unconsumed_events_are_carried_over_in_arrival_order() -> None:
    bench = begun(app, "only_drains")
    bench.go(event("a", 1))
    bench.go(event("B", 2), event("go"), event("A", 3))
    carried = [(each.name, each.payload) for each in bench.history if isinstance(each, EventRaised)]
    assert carried == [("a", raw(1)), ("B", raw(2)), ("A", raw(3))]
    bench.cold_start()
    bench.go()
    assert bench.output == [2, 1, 3]


@pytest.mark.semantics("Events that nobody took are carried over")
def test_events_can_be_dropped_instead() -> None:
    bench = begun(app, "counts")
    turn = bench.go(event("other"), event("next", "forget"))
    assert len(turn.next_generation) == 1
    turn = bench.go(event("next"))
    assert not any(isinstance(each, EventRaised) for each in turn.next_generation)


def test_what_comes_later_in_the_batch_goes_to_the_new_generation() -> None:
    bench = begun(app, "counts")
    turn = bench.go(event("next"), event("next", 5), SUSPEND, event("x", 6))
    assert [type(each).__name__ for each in turn.next_generation] == [
        "ExecutionStarted",
        "EventRaised",
        "ExecutionSuspended",
        "EventRaised",
    ]
    assert bench.status is Status.SUSPENDED
    assert len(letters_of(turn, Continue)) == 1

    bench.cold_start()
    turn = bench.go(Continue(generation=1))
    assert names(turn) == ["TurnStarted"], "its code does not begin while it is suspended"
    turn = bench.go(RESUME)
    assert names(turn)[:3] == ["TurnStarted", "ExecutionResumed", "ActivityScheduled"]
    assert turn.next_generation != (), "the event that came early was taken"
    assert EventRaised(name="x", payload=raw(6)) in turn.next_generation


def test_resumed_before_it_begins() -> None:
    bench = begun(app, "counts")
    turn = bench.go(event("next"), SUSPEND, RESUME)
    assert bench.status is Status.RUNNING
    assert not bench.state.begun
    assert turn.tasks == ()
    assert len(bench.go().tasks) == 1


@pytest.mark.semantics("Answers and timers of an older generation")
def test_late_answers_to_the_old_generation_are_dropped() -> None:
    bench = begun(app, "counts")
    old = [Arrival(what=what, run=RUN, generation=0) for what in (done(0, 1), due(1))]
    turn = bench.go(event("next"), *old, child_done(2))
    assert len(turn.ignored) == 3
    bench.go()
    turn = bench.go(*old)
    assert turn.events == ()
    assert "generation 0" in turn.ignored[0][1]


@pytest.mark.semantics("terminate in the same batch")
def test_terminate_in_the_same_batch_wins() -> None:
    started = ExecutionStarted(workflow="counts", input=raw(0), seed="seed", parent=PARENT)
    bench = Bench(app=app, workflow="counts", started=started)
    bench.go()
    turn = bench.go(event("next"), terminate("enough"), event("next"))
    assert isinstance(turn.next_generation[-1], ExecutionTerminated)
    assert bench.status is Status.TERMINATED
    assert letters_of(turn, Continue) == []
    assert len(letters_of(turn, ChildEnded)) == 1
    assert turn.ignored[0][1] == "the instance has ended (TERMINATED)"
    assert bench.go().events == ()


@pytest.mark.semantics("Events that nobody took are carried over")
def test_events_held_while_suspended_are_carried_over_too() -> None:
    bench = begun(app, "counts")
    bench.go(SUSPEND)
    bench.go(event("next", 1), event("next", 2), event("other", 3), due(1))
    turn = bench.go(RESUME)
    assert turn.next_generation[1:] == (
        EventRaised(name="next", payload=raw(2)),
        EventRaised(name="other", payload=raw(3)),
    )


@pytest.mark.semantics("new generation")
def test_an_exception_goes_before_it() -> None:
    assert begun(app, "fails_after_all").status is Status.FAILED


def test_it_takes_effect_when_the_function_returns_and_the_last_call_counts() -> None:
    bench = begun(app, "changes_its_mind")
    assert bench.status is Status.RUNNING
    turn = bench.go(due(0))
    started = turn.next_generation[0]
    assert isinstance(started, ExecutionStarted)
    assert started.input == raw(2)


def test_a_continue_that_comes_again_changes_nothing() -> None:
    bench = begun(app, "counts")
    bench.go(event("next"))
    bench.go(Continue(generation=1))
    turn = bench.go(Continue(generation=1))
    assert turn.events == ()
    assert "has begun already" in turn.ignored[0][1]


def test_the_history_of_an_old_generation_replays() -> None:
    bench = begun(app, "counts")
    before = list(bench.history)
    turn = bench.go(event("next"))
    old = replay(app.resolve, "order-17", RUN, [*before, *turn.events])
    assert old.stalled is None
    assert old.state.pending == {}


def test_a_suspended_history_of_a_new_generation_replays() -> None:
    started = ExecutionStarted(workflow="counts", input=raw(5), seed="seed", generation=1)
    execution = replay(app.resolve, "order-17", RUN, [started, ExecutionSuspended(reason="wait")])
    assert execution.stalled is None
    assert execution.state.status is Status.SUSPENDED


def test_time_does_not_go_back_in_a_new_generation() -> None:  # rule T1
    bench = begun(app, "counts")
    bench.go(event("next", 1))
    before = bench.now
    bench.cold_start()
    turn = bench.go(after=-3600)
    assert turn.events[0] == TurnStarted(at=before)
