"""Rerun from event: a new instance from a terminal one, history kept up to a given command, optionally with another
input for it."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tenuto import ActivityError, App, RetryPolicy, Saga, WorkflowContext, when_all
from tenuto.core import ids
from tenuto.core.events import (
    ActivityScheduled,
    ChildScheduled,
    Command,
    Event,
    ExecutionRerun,
    ExecutionRewound,
    TimerCreated,
    decode_events,
    encode_events,
    rewound,
)
from tenuto.core.execution import replay
from tenuto.core.rerunning import Run, plan, rerun
from tenuto.core.reserved import Ticket, grant_event
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, Turn
from tenuto.errors import RequestError, StalledError
from tests.unit.core import bench as benches
from tests.unit.core.bench import (
    RESUME,
    RUN,
    SUSPEND,
    Bench,
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
    with_parent,
)
from tests.unit.core.programs import (
    DEPENDENT,
    INDEPENDENT,
    Program,
    World,
    chapters_of,
    events_of,
    expected,
    live,
)
from tests.unit.core.test_rewinding import go_on

app = App("rerun")
NEW_RUN = "f" * 32
RETRY = RetryPolicy(max_attempts=3, first_interval=10)


@app.activity
def work() -> Any:
    return 1


@app.workflow
async def three(ctx: WorkflowContext) -> list[Any]:
    return [await ctx.call_activity("work", number, retry=RETRY) for number in range(3)]


@app.workflow
async def draws(ctx: WorkflowContext) -> list[Any]:
    drawn = []
    chance = ctx.random
    for _ in range(3):
        drawn.append([str(ctx.new_uuid()), chance.random()])
        await ctx.call_activity("work")
    return drawn


@app.workflow
async def pending(ctx: WorkflowContext) -> Any:
    """Waits for one of each kind while it goes on."""
    waiting = [
        ctx.call_activity("slow", schedule_to_close=3600),
        ctx.create_timer(3600),
        ctx.call_child_workflow("child", "default"),
        ctx.call_child_workflow("child", "chosen", instance_id="the child"),
        ctx.wait_for_external_event("go", timeout=7200),
    ]
    first = await ctx.call_activity("work")
    second = await ctx.call_activity("work")
    return [first, second, await when_all(waiting)]


@app.workflow
async def mother(ctx: WorkflowContext) -> list[Any]:
    return [await ctx.call_child_workflow("child", number, retry=RETRY) for number in range(3)]


@app.workflow
async def sleeps(ctx: WorkflowContext) -> Any:
    await ctx.create_timer(60)
    await ctx.create_timer(60)
    return ctx.current_utc_datetime.isoformat()


@app.workflow
async def listens(ctx: WorkflowContext) -> Any:
    got = await ctx.wait_for_external_event("go")
    ctx.send_event("other", "got", got)
    return [got, await ctx.call_activity("work", got)]


@app.workflow
async def locks(ctx: WorkflowContext) -> Any:
    await ctx.call_activity("work")
    async with ctx.lock("printer"):
        return await ctx.call_activity("work")


@app.workflow
async def owes_something(ctx: WorkflowContext) -> Any:
    async with Saga(ctx, compensate_on_terminate=True) as saga:
        saga.add("undo")
        await ctx.call_activity("work")
        return await ctx.call_activity("work")


def again(
    bench: Bench, command: int, *, after: float = 1000.0, given: Any = None, of: App | None = None
) -> tuple[Bench, Turn]:
    """The instance that a rerun makes, and its first turn; a replay of all that is stored must come to the same."""
    history = decode_events(encode_events(bench.history))
    found = plan(rewound(history), command, source=Run(bench.instance, RUN), target=Run("anew", NEW_RUN))
    made = Bench(
        app=of or bench.app, workflow=bench.workflow, instance="anew", run=NEW_RUN, started=found.started
    )
    made.now = bench.now + timedelta(seconds=after)
    made.execution = replay(made.app.resolve, "anew", NEW_RUN, [found.started, *found.kept])
    turn = rerun(made.execution, found, made.now, seed="another", given=None if given is None else raw(given))
    made.record(turn)
    return made, turn


def inputs(turn: Turn) -> list[Any]:
    return [value(task.scheduled.input) for task in turn.tasks]


def keys(turn: Turn) -> list[str]:
    return [task.key for task in turn.tasks]


@pytest.fixture
def finished() -> Bench:
    bench = begun(app, "three")
    for number in range(3):
        bench.go(done(number, f"old {number}"))
    assert bench.status is Status.COMPLETED
    return bench


def test_what_came_before_is_kept_and_the_rest_is_done_again(finished: Bench) -> None:
    bench, turn = again(finished, 1)
    assert names(turn) == [
        "TurnStarted",
        "ActivityScheduled",
        "TurnStarted",
        "ExecutionRerun",
        "TurnStarted",
        "ActivityCompleted",
        "ActivityScheduled",
    ]
    assert inputs(turn) == [1], "what was answered is not asked for again"
    assert (bench.status, bench.state.parent) == (Status.RUNNING, None)
    bench.cold_start()
    bench.go(done(1, "new 1"))
    bench.go(done(2, "new 2"))
    assert bench.output == ["old 0", "new 1", "new 2"]
    assert finished.output == ["old 0", "old 1", "old 2"]


def test_from_the_first_command_all_is_done_again(finished: Bench) -> None:
    bench, turn = again(finished, 0)
    assert names(turn) == ["ExecutionRerun", "TurnStarted", "ActivityScheduled"]
    assert inputs(turn) == [0]
    assert bench.state.next_command == 1


def test_the_marker_tells_where_it_came_from(finished: Bench) -> None:
    bench, _ = again(finished, 2)
    (mark,) = [each for each in bench.history if isinstance(each, ExecutionRerun)]
    assert (mark.instance, mark.run, mark.command, mark.replaced) == ("order-17", RUN, 2, False)


def test_with_another_input_for_the_command(finished: Bench) -> None:
    bench, turn = again(finished, 1, given="better")
    assert inputs(turn) == ["better"]
    bench.cold_start()
    assert inputs(bench.go(done(1, "b"))) == [2], "the others have their own"


def test_another_input_is_no_mismatch_where_replays_are_strict() -> None:
    strict = App("strict", strict_replay=True)
    strict.workflow(three)
    finished = begun(strict, "three")
    for number in range(3):
        finished.go(done(number))
    bench, _ = again(finished, 1, given="better")
    assert bench.replayed().stalled is None
    unchanged, _ = again(finished, 1)
    unchanged.history = benches.rename(unchanged.history, -1, input=raw("other"))
    assert unchanged.replayed().stalled is not None, "else it would be compared"


def test_another_input_for_a_timer_is_refused() -> None:
    bench = begun(app, "sleeps")
    bench.go(terminate())
    with pytest.raises(RequestError, match="event 0 is a timer, which takes no input"):
        again(bench, 0, given=1)


def test_another_input_that_nothing_asks_for_is_refused(finished: Bench) -> None:
    changed = App("changed")

    @changed.workflow(name="three")
    async def goes_elsewhere(ctx: WorkflowContext) -> Any:
        await ctx.call_activity("work", 0)
        return await ctx.call_activity("elsewhere")

    with pytest.raises(RequestError, match="another input for event 1, and the code of now does not ask"):
        again(finished, 1, given="better", of=changed)
    _, turn = again(finished, 1, of=changed)
    assert [task.scheduled.name for task in turn.tasks] == ["elsewhere"], "mended code may go another way"


def test_code_that_does_not_fit_what_is_kept_is_refused(finished: Bench) -> None:
    changed = App("changed")

    @changed.workflow(name="three")
    async def goes_elsewhere(ctx: WorkflowContext) -> Any:
        return await ctx.call_activity("elsewhere")

    with pytest.raises(StalledError, match="does not fit the history"):
        again(finished, 1, of=changed)
    with pytest.raises(StalledError, match="no workflow 'three' is known here"):
        again(finished, 1, of=App("empty"))


def test_chance_and_keys_are_as_before_in_what_is_kept_and_fresh_after_it() -> None:
    old = begun(app, "draws")
    old_keys = keys(old.turns[0])
    for number in range(3):
        old_keys += keys(old.go(done(number)))
    bench, turn = again(old, 1)
    new_keys = keys(turn)
    bench.cold_start()
    new_keys += keys(bench.go(done(1)))
    bench.go(done(2))
    assert bench.output[0] == old.output[0]
    for ours, theirs in zip(bench.output[1:], old.output[1:], strict=True):
        assert (ours[0] != theirs[0], ours[1] != theirs[1]) == (True, True)
    assert len({*old_keys, *new_keys}) == 3 + 2, "an activity that is done again has a key of its own"


def test_what_is_pending_goes_out_under_the_new_run() -> None:
    old = begun(app, "pending")
    old.go(done(5, "first"))
    old.go(terminate())
    bench, turn = again(old, 6)
    assert {task.scheduled.id for task in turn.tasks} == {0, 6}
    children = dict(starts(turn))
    default = ids.child_instance("anew", NEW_RUN, 1)
    assert set(children) == {default, "the child"}
    for start in children.values():
        assert start.parent is not None
        assert (start.parent.instance, start.parent.run, start.rewind) == ("anew", NEW_RUN, False)
    assert {start.run for start in children.values()}.isdisjoint(
        start.run for _, start in starts(old.turns[0])
    )
    bench.cold_start()
    for what in (done(6), done(0), due(1), child_done(2, "a"), child_done(3, "b"), event("go", "now")):
        bench.go(what)
    assert bench.status is Status.COMPLETED


def test_timers_and_deadlines_have_as_long_as_they_had_there() -> None:
    old = begun(app, "pending")
    old.go(done(5, "first"), after=600)
    old.go(terminate(), after=10**6)
    bench, turn = again(old, 6)
    left = {timer.key.command: (timer.fire_at - bench.now).total_seconds() for timer in turn.timers_set}
    assert left == {0: 3000, 1: 3000, 4: 6600}
    assert {each.key: each.fire_at for each in bench.replayed().state.timers()} == {
        each.key: each.fire_at for each in turn.timers_set
    }


def test_a_timer_is_set_anew() -> None:
    old = begun(app, "sleeps")
    old.go(due(0), after=60)
    old.go(due(1), after=60)
    bench, turn = again(old, 1)
    (timer,) = turn.timers_set
    assert (timer.key.command, timer.fire_at) == (1, bench.now + timedelta(seconds=60))
    assert [each for each in bench.history if isinstance(each, TimerCreated)][-1].fire_at == timer.fire_at
    bench.go(due(1), after=60)
    assert bench.status is Status.COMPLETED


def test_a_child_is_started_anew_under_another_id() -> None:
    old = begun(app, "mother")
    old.go(child_done(0, "a"))
    old.go(child_failed(1))
    old.go(due(1, 2), after=20)
    old.go(child_done(1, "b", attempt=2))
    old.go(child_done(2, "c"))
    bench, turn = again(old, 1, given="another")
    ((instance, start),) = starts(turn)
    assert instance == ids.child_instance("anew", NEW_RUN, 2)
    assert value(start.input) == "another"
    kept = next(each for each in bench.history if isinstance(each, ChildScheduled))
    assert kept.instance == ids.child_instance("order-17", RUN, 1), "it was this one that answered"
    bench.go(child_done(1, "B"))
    bench.go(child_done(2, "C"))
    assert bench.output == ["a", "B", "C"]


@app.workflow
async def child_beside(ctx: WorkflowContext) -> Any:
    child = ctx.call_child_workflow("child", retry=RETRY)
    await ctx.call_activity("work")
    await ctx.call_activity("work")
    return await child


def test_a_child_that_is_tried_again_is_so_under_another_id_too() -> None:
    old = begun(app, "child_beside")
    old.go(child_failed(0))
    old.go(due(0, 2), after=20)
    old.go(done(1))
    old.go(terminate())
    _, turn = again(old, 2)
    ((instance, start),) = starts(turn)
    assert instance == ids.retried_instance(ids.child_instance("anew", NEW_RUN, 1), 2)
    assert start.run == ids.child_run(NEW_RUN, 0, 0, 2)


def test_a_wait_for_a_retry_goes_on_under_the_new_run() -> None:
    old = begun(app, "child_beside")
    old.go(child_failed(0))
    old.go(done(1), after=4)
    old.go(terminate())
    bench, turn = again(old, 2)
    (timer,) = turn.timers_set
    assert (timer.key.command, timer.key.attempt) == (0, 2)
    assert timer.fire_at - bench.now == timedelta(seconds=6)
    assert starts(turn) == []
    ((instance, _),) = starts(bench.go(due(0, 2), after=6))
    assert instance == ids.retried_instance(ids.child_instance("anew", NEW_RUN, 1), 2)


def test_an_event_that_caused_it_is_told_again_and_events_are_not_sent_again_before_it() -> None:
    old = begun(app, "listens")
    old.go(event("go", "first"))
    old.go(done(1, "x"))
    bench, turn = again(old, 1)
    assert inputs(turn) == ["first"]
    bench.go(done(1, "y"))
    assert bench.output == ["first", "y"]


def test_one_that_was_suspended_there() -> None:
    old = begun(app, "three")
    old.go(SUSPEND)
    old.go(done(0, "a"))
    old.go(RESUME)
    old.go(terminate())
    bench, turn = again(old, 1)
    assert (bench.status, inputs(turn)) == (Status.RUNNING, [1])
    bench.go(done(1, "b"))
    bench.go(done(2, "c"))
    assert bench.output == ["a", "b", "c"]


def test_a_rerun_of_a_rerun_and_of_what_was_rewound(finished: Bench) -> None:
    once, _ = again(finished, 1)
    once.go(done(1, "b"))
    once.go(terminate())
    found = plan(once.history, 2, source=Run("anew", NEW_RUN), target=Run("third", "e" * 32))
    execution = replay(app.resolve, "third", "e" * 32, [found.started, *found.kept])
    turn = rerun(execution, found, once.now, seed="third")
    history: list[Event] = [found.started, *turn.events]
    assert [each.seed for each in history if isinstance(each, ExecutionRerun)] == ["another", "third"]
    assert replay(app.resolve, "third", "e" * 32, history).stalled is None


def test_one_that_was_rewound_is_rerun_from_what_counts() -> None:
    old = begun(app, "three")
    old.go(done(0, "a"))
    old.go(failed(1, retryable=False))
    go_on(old)
    old.go(done(1, "b", attempt=2))
    old.go(done(2, "c"))
    assert old.output == ["a", "b", "c"]
    bench, turn = again(old, 2)
    assert any(isinstance(each, ExecutionRewound) for each in bench.history)
    assert inputs(turn) == [2]
    bench.go(done(2, "C"))
    assert bench.output == ["a", "b", "C"]


def test_what_was_rerun_is_rewound_with_its_own_keys() -> None:
    old = begun(app, "three")
    old.go(done(0, "a"))
    old.go(terminate())
    bench, turn = again(old, 1)
    bench.go(failed(1, retryable=False))
    assert keys(go_on(bench)) == keys(turn)
    bench.go(done(1, "b", attempt=2))
    bench.go(done(2, "c"))
    assert bench.output == ["a", "b", "c"]


@app.workflow
async def mends(ctx: WorkflowContext) -> None:
    try:
        await ctx.call_activity("work")
    except ActivityError:
        await ctx.call_activity("mend")
        await ctx.call_activity("tell")
        raise


def test_a_rewind_does_not_reach_into_what_was_kept() -> None:
    """There it would go on with the keys of the old instance."""
    old = begun(app, "mends")
    for what in (failed(0), done(1), done(2)):
        old.go(what)
    from_inside, _ = again(old, 2)
    from_inside.go(done(2))
    assert from_inside.status is Status.FAILED
    with pytest.raises(RequestError, match="within what it has of instance 'order-17'"):
        go_on(from_inside)
    told_again, _ = again(old, 1)
    told_again.go(done(1))
    told_again.go(done(2))
    assert [task.scheduled.id for task in go_on(told_again).tasks] == [0], "it was told of the failure itself"


def test_it_keeps_its_version() -> None:
    first, both = App("first"), App("both")
    for each in (first, both):
        each.workflow(name="three", version="1")(three)
    both.workflow(name="three", version="2")(sleeps)
    old = begun(first, "three")
    old.go(terminate())
    bench, turn = again(old, 0, of=both)
    assert (bench.state.version, [task.scheduled.name for task in turn.tasks]) == ("1", ["work"])


def test_a_child_makes_an_instance_without_a_parent() -> None:
    old = begun(app, "three", started=with_parent("three", generation=3))
    old.go(done(0))
    old.go(terminate())
    bench, turn = again(old, 1)
    assert (bench.state.parent, bench.state.generation) == (None, 3)
    bench.go(done(1))
    end = bench.go(done(2))
    assert (bench.status, end.letters, turn.letters) == (Status.COMPLETED, (), ())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (7, "no event 7 of an activity, a timer or a child: those are 0, 1, 2"),
        (3, "event 3 is of the kind ExecutionCompleted: only activities, timers and children"),
        (-1, "no event -1"),
    ],
)
def test_what_cannot_be_rerun(finished: Bench, command: int, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        again(finished, command)


def test_one_that_asked_for_nothing() -> None:
    bench = begun(app, "listens")
    bench.go(terminate())
    with pytest.raises(RequestError, match="it asked for none"):
        again(bench, 0)


def test_one_that_held_a_lock_there_is_refused() -> None:
    bench = begun(app, "locks")
    bench.go(done(0))
    ticket = Ticket(instance=bench.instance, run=RUN, generation=0, command=1)
    bench.go(event(grant_event(1), msgspec.to_builtins(ticket)))
    bench.go(terminate())
    with pytest.raises(RequestError, match="before event 2 it held locks"):
        again(bench, 2)
    assert again(bench, 0)[0].status is Status.RUNNING, "there it held none"


def test_one_that_owed_compensations_there_is_refused() -> None:
    bench = begun(app, "owes_something")
    bench.go(done(1))
    bench.go(terminate())
    with pytest.raises(RequestError, match="owed compensations"):
        again(bench, 2)


THOROUGH = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def rerun_anywhere(chapters: list[Program], seed: int, data: st.DataObject) -> tuple[Bench, World]:
    """A rerun of a random program from one of its commands, with its first turn answered."""
    old = live(chapters, Random(seed))
    found = [
        each.id for each in old.history if isinstance(each, ActivityScheduled | TimerCreated | ChildScheduled)
    ]
    assume(found and old.status.is_terminal)
    command = data.draw(st.sampled_from(found))
    bench, turn = again(old, command)
    mark = next(i for i, each in enumerate(turn.events) if isinstance(each, ExecutionRerun))
    assert command not in {each.id for each in turn.events[:mark] if isinstance(each, Command)}
    assert command in {each.id for each in turn.events[mark:] if isinstance(each, Command)}
    world = World(bench=bench, chance=Random(seed + 1))
    world.absorb(turn)
    return bench, world


@THOROUGH
@given(chapters_of(DEPENDENT), st.integers(0, 2**32), st.data())
def test_after_a_rerun_a_replay_asks_for_nothing_new(
    chapters: list[Program], seed: int, data: st.DataObject
) -> None:
    """For any program, any order of what happened to it and any of its commands: the bench compares after each turn."""
    bench, world = rerun_anywhere(chapters, seed, data)
    world.live(cold_starts=0.3, turns=400)
    assert bench.status is not Status.STALLED


@THOROUGH
@given(chapters_of(INDEPENDENT), st.integers(0, 2**32), st.data())
def test_what_was_rerun_waits_for_nothing_that_never_comes(
    chapters: list[Program], seed: int, data: st.DataObject
) -> None:
    """A program without races comes to the same outcome again, if the events are raised once more."""
    bench, world = rerun_anywhere(chapters, seed, data)
    for number, program in enumerate(chapters):
        world.waiting += [
            Arrival(what=event(name, f"event {name}")) for name in events_of(program, str(number))
        ]
    world.live(cold_starts=0.3, turns=400)
    expecting = [expected(program, str(number)) for number, program in enumerate(chapters)]
    assert (bench.status, bench.output) == (Status.COMPLETED, expecting)
    assert bench.state.pending == {}
