"""Rewinding: a failed instance goes on in place from its failed activities and children."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tenuto import ActivityError, App, RetryPolicy, Saga, WorkflowContext, when_all
from tenuto.core.events import (
    ContinuedAsNew,
    Event,
    ExecutionRewound,
    TurnStarted,
    decode_events,
    encode_events,
    rewound,
)
from tenuto.core.execution import advance, replay
from tenuto.core.letters import Raise, Start, Terminate
from tenuto.core.reserved import LockRequest, Ticket, grant_event
from tenuto.core.rewinding import plan, rewind
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.core.turn import Turn
from tenuto.errors import RequestError, StalledError
from tests.unit.core.bench import (
    RUN,
    SUSPEND,
    Bench,
    begun,
    child_failed,
    done,
    due,
    event,
    failed,
    letters_of,
    names,
    same_state,
    starts,
    terminate,
)

app = App("rewound")
RETRY = RetryPolicy(max_attempts=2, first_interval=10)


@app.activity
def work() -> Any:
    return 1


@app.workflow
async def three(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.call_activity(work)
    second = await ctx.call_activity(work, retry=RETRY)
    return [first, second, await ctx.call_activity(work)]


@app.workflow
async def together(ctx: WorkflowContext) -> list[Any]:
    return await when_all([ctx.call_activity(work) for _ in range(4)])


@app.workflow
async def branches(ctx: WorkflowContext) -> list[Any]:
    async def branch() -> Any:
        first = await ctx.call_activity(work)
        ctx.send_event("other", "first", first)
        return first, await ctx.call_activity(work)

    return await when_all([ctx.call_activity(work), ctx.spawn(branch())])


@app.workflow
async def undoes(ctx: WorkflowContext) -> None:
    try:
        await ctx.call_activity("charge")
    except Exception:
        await ctx.call_activity("refund")
        raise


@app.workflow
async def mother(ctx: WorkflowContext) -> Any:
    return await when_all([ctx.call_child_workflow("child"), ctx.call_child_workflow("child")])


@app.workflow
async def waits(ctx: WorkflowContext) -> Any:
    call = ctx.call_activity(work)
    return [await ctx.wait_for_external_event("go", timeout=60), await call]


@app.workflow
async def careless(ctx: WorkflowContext) -> Any:
    payload = await ctx.wait_for_external_event("go")
    return payload["amount"] + FIXED["by"]["a new version"]


@app.workflow
async def tidies(ctx: WorkflowContext) -> None:
    try:
        await ctx.call_activity(work)
    except Exception:
        async with ctx.lock("printer"):
            await ctx.call_activity("tidy")
        raise


@app.workflow
async def beside(ctx: WorkflowContext) -> None:
    async def prints() -> None:
        await ctx.wait_for_external_event("ready")
        async with ctx.lock("printer"):
            await ctx.call_activity("print")

    await when_all([ctx.call_activity(work), ctx.spawn(prints())])


FIXED: dict[str, dict[str, int]] = {"by": {}}


def go_on(bench: Bench) -> Turn:
    """Rewind the bench's instance, and check that a replay of all that is stored comes to the same."""
    bench.now += timedelta(seconds=1)
    history = decode_events(encode_events(bench.history))
    found = plan(rewound(history))
    execution = replay(bench.app.resolve, bench.instance, bench.run, rewound(history)[: found.kept])
    turn = rewind(execution, found, bench.now, reason="mended")
    bench.execution = execution
    bench.history = [*history, *turn.events]
    bench.check_replay()
    return turn


@pytest.mark.semantics("Rewind")
def test_the_failed_activity_is_done_again_and_nothing_else() -> None:
    bench = begun(app, "three")
    bench.go(done(0, "a"))
    bench.go(failed(1))
    key = bench.go(due(1, 2), after=11).tasks[0].key
    bench.go(failed(1, attempt=2))
    assert bench.status is Status.FAILED
    turn = go_on(bench)
    assert names(turn) == ["ExecutionRewound", "TurnStarted"]
    assert (bench.status, bench.state.reason, bench.state.failure) == (Status.RUNNING, "mended", None)
    assert [(task.scheduled.id, task.attempt, task.key) for task in turn.tasks] == [(1, 3, key)]
    assert bench.go(done(1, "late", attempt=2)).events == (), (
        "an answer to the attempt that failed counts no more"
    )
    assert bench.go(failed(1, attempt=3)).timers_set, "its retry policy begins anew"
    bench.cold_start()
    bench.go(due(1, 4), after=11)
    bench.go(done(1, "b", attempt=4))
    bench.go(done(2, "c"))
    assert bench.output == ["a", "b", "c"]


def test_all_that_failed_together_is_done_again() -> None:
    bench = begun(app, "together")
    for what in (failed(0), done(1, "b"), failed(2), done(3, "d")):
        bench.go(what)
    assert bench.status is Status.FAILED
    turn = go_on(bench)
    assert [task.scheduled.id for task in turn.tasks] == [0, 2]
    bench.cold_start()
    bench.go(done(0, "a", attempt=2), done(2, "c", attempt=2))
    assert bench.output == ["a", "b", "c", "d"]


def test_what_other_branches_did_after_the_failure_is_kept() -> None:
    bench = begun(app, "branches")
    bench.go(failed(0))
    bench.go(done(1, "b"))
    bench.go(done(3, "c"))
    assert bench.status is Status.FAILED
    turn = go_on(bench)
    assert [task.scheduled.id for task in turn.tasks] == [0]
    assert letters_of(turn, Raise) == [], "an event that was sent is not sent twice"
    bench.go(done(0, "a", attempt=2))
    assert bench.output == ["a", ["b", "c"]]


def test_what_the_code_did_about_the_failure_is_undone() -> None:
    bench = begun(app, "undoes")
    bench.go(failed(0))
    bench.go(done(1))
    assert bench.status is Status.FAILED
    turn = go_on(bench)
    assert [task.scheduled.name for task in turn.tasks] == ["charge"]
    bench.go(done(0, attempt=2))
    assert bench.status is Status.COMPLETED


def test_children_are_rewound_with_their_parent() -> None:
    bench = begun(app, "mother")
    first = starts(bench.turns[0])
    bench.go(child_failed(0))
    bench.go(child_failed(1))
    turn = go_on(bench)
    again = starts(turn)
    assert [(name, start.run) for name, start in again] == [(name, start.run) for name, start in first]
    assert all(start.rewind for _, start in again)
    assert not any(start.rewind for _, start in first)


def test_the_end_of_a_child_by_the_first_ending_does_not_count() -> None:
    """It may arrive only after its parent was rewound, and the child will be rewound too."""
    bench = begun(app, "mother")
    cascade = letters_of(bench.go(terminate("by mistake")), Terminate)
    assert all(out.letter.cascade for out in cascade)
    go_on(bench)
    echo = msgspec.structs.replace(child_failed(0, "Terminated"), cascade=True)
    assert bench.go(echo).events == ()
    bench.go(child_failed(0, "Terminated"))
    assert 0 not in bench.state.pending, "somebody else's doing counts"


def test_a_terminated_instance_goes_on_with_all_that_it_waited_for() -> None:
    bench = begun(app, "waits")
    bench.go(event("other"))
    bench.go(terminate("by mistake"))
    turn = go_on(bench)
    assert [task.scheduled.id for task in turn.tasks] == [0]
    assert [timer.key.command for timer in turn.timers_set] == [1]
    bench.go(event("go", "on"), done(0, 1))
    assert bench.output == ["on", 1]


@pytest.mark.semantics("Rewind")
def test_suspended_and_terminated_it_is_suspended_again() -> None:
    bench = begun(app, "waits")
    bench.go(SUSPEND)
    bench.go(terminate())
    go_on(bench)
    assert bench.status is Status.SUSPENDED


def test_a_failure_of_the_codes_own_is_tried_again_with_the_code_of_now() -> None:
    bench = begun(app, "careless")
    bench.go(event("go", {"amount": 2}))
    assert bench.failure.type == "KeyError"
    assert names(go_on(bench)) == ["ExecutionRewound", "TurnStarted", "EventRaised", "ExecutionFailed"]
    FIXED["by"]["a new version"] = 40
    try:
        go_on(bench)
        assert bench.output == 42
    finally:
        FIXED["by"].clear()


def test_twice_is_what_the_history_remembers() -> None:
    bench = begun(app, "together")
    for what in (failed(0), done(1), done(2), done(3)):
        bench.go(what)
    go_on(bench)
    bench.go(failed(0, attempt=2))
    turn = go_on(bench)
    assert [(task.scheduled.id, task.attempt) for task in turn.tasks] == [(0, 3)]
    assert sum(isinstance(each, ExecutionRewound) for each in bench.history) == 2
    assert same_state(State.fold(bench.instance, RUN, bench.history), bench.state)
    bench.go(done(0, "a", attempt=3))
    assert bench.status is Status.COMPLETED


@pytest.mark.semantics("Rewind")
@pytest.mark.parametrize("history", [[], [ContinuedAsNew(id=0, input=event("x").payload)]])
def test_what_has_not_ended_badly_cannot_be_rewound(history: list[Event]) -> None:
    bench = begun(app, "three")
    with pytest.raises(RequestError, match="neither failed nor been terminated"):
        plan([*bench.history, *history])


def test_code_that_does_not_fit_refuses() -> None:
    bench = begun(app, "three")
    bench.go(failed(0))
    found = plan(bench.history)
    stranger = replay(App("other").resolve, bench.instance, RUN, bench.history[: found.kept])
    with pytest.raises(StalledError, match="no workflow 'three'"):
        rewind(stranger, found, bench.now)


@pytest.mark.semantics("Rewind")
def test_a_lock_that_was_given_back_refuses() -> None:
    locking = App("locking")

    @locking.workflow
    async def locks(ctx: WorkflowContext) -> None:
        async with ctx.lock("key"):
            await ctx.call_activity("work")

    bench = begun(locking, "locks")
    bench.go(terminate())
    with pytest.raises(RequestError, match="locks"):
        plan(bench.history)


def test_what_came_to_be_owed_behind_the_failure_refuses_too() -> None:
    """It has been carried out when the instance ended, though nothing was owed where it would go on from."""
    owing = App("owing")

    @owing.workflow
    async def owes(ctx: WorkflowContext) -> None:
        async def branch() -> None:
            async with Saga(ctx, compensate_on_terminate=True) as saga:
                await ctx.wait_for_external_event("booked")
                saga.add("unbook", "flight")
                await ctx.wait_for_external_event("never")

        ctx.spawn(branch())
        try:
            await ctx.call_activity("work")
        except ActivityError:
            await ctx.wait_for_external_event("go")
            raise

    bench = begun(owing, "owes")
    command = bench.turns[0].tasks[0].scheduled.id
    bench.go(failed(command))
    bench.go(event("booked"))
    bench.go(event("go"))
    assert bench.status is Status.FAILED
    with pytest.raises(RequestError, match="owed compensations"):
        plan(bench.history)


def granted(turn: Turn) -> Raise:
    """What the lock says to the request that this turn makes."""
    (out,) = letters_of(turn, Start)
    assert isinstance(out.letter, Start)
    assert out.letter.event is not None
    ticket = msgspec.json.decode(out.letter.event.payload, type=LockRequest).ticket
    return event(grant_event(ticket.command), ticket)


def test_a_lock_that_was_granted_before_is_not_taken_for_granted_again() -> None:
    """The grant comes late, or a second time, and meets the very command that asks once more."""
    bench = begun(app, "tidies")
    stale = granted(bench.go(failed(0)))
    bench.go(stale)
    bench.go(done(2, None))
    assert bench.status is Status.FAILED
    go_on(bench)
    fresh = granted(bench.go(failed(0, attempt=2)))
    assert bench.go(stale).events == ()
    assert names(bench.go(fresh)) == ["TurnStarted", "EventRaised", "ActivityScheduled"]
    bench.cold_start()
    (back,) = letters_of(bench.go(done(2, None)), Raise)
    assert isinstance(back.letter, Raise)
    ticket = msgspec.json.decode(fresh.payload, type=Ticket)
    assert msgspec.json.decode(back.letter.payload, type=LockRequest) == LockRequest(
        ticket=ticket, wanted=False
    )


def test_a_lock_that_was_granted_before_is_not_told_again() -> None:
    """Another branch asks for it as before; in the history that is looked through once more it was granted."""
    bench = begun(app, "beside")
    bench.go(failed(0))
    bench.go(granted(bench.go(event("ready"))))
    bench.go(done(2, None))
    assert bench.status is Status.FAILED
    turn = go_on(bench)
    assert names(turn)[-1] == "LockRequested"
    assert names(bench.go(granted(turn)))[-1] == "ActivityScheduled"


def test_what_was_terminated_before_its_code_was_there_begins_after_all() -> None:
    bench = Bench(app=app, workflow="waits")
    stalled = replay(App("without").resolve, bench.instance, RUN, bench.history)
    end = advance(stalled, [bench.arrival(terminate("by mistake"))], bench.now)
    assert names(end) == ["TurnStarted", "ExecutionTerminated"]
    bench.history += end.events
    turn = go_on(bench)
    assert [task.scheduled.id for task in turn.tasks] == [0]
    bench.go(event("go", "on"), done(0, 1))
    assert bench.output == ["on", 1]


def test_time_does_not_go_back_to_before_what_is_undone() -> None:
    bench = begun(app, "together")
    for what in (failed(0), done(1), done(2), done(3)):
        bench.go(what)
    latest = bench.now
    bench.now -= timedelta(hours=1)
    turn = go_on(bench)
    assert min(each.at for each in turn.events if isinstance(each, TurnStarted | ExecutionRewound)) >= latest
