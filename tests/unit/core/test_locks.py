"""Locks: the holder's side, and the queue of tickets that a lock is."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, WorkflowContext, builtins
from tenuto.core.execution import advance
from tenuto.core.letters import Raise, Start
from tenuto.core.reserved import LOCK, LockRequest, Ticket, grant_event, lock_instance
from tenuto.core.status import ReuseAction, Status
from tenuto.core.turn import Turn
from tests.unit.core.bench import (
    RESUME,
    RUN,
    SUSPEND,
    Bench,
    begun,
    done,
    due,
    event,
    letters_of,
    terminate,
    value,
)

app = App("locks")


@app.activity
def work() -> None: ...


@app.workflow
async def exclusive(ctx: WorkflowContext, timeout: float | None) -> str:
    try:
        async with ctx.lock("printer", timeout=timeout):
            await ctx.call_activity(work)
            how = await ctx.wait_for_external_event("how")
            if how == "fail":
                raise RuntimeError(how)
            if how == "again":
                ctx.continue_as_new(1.0)
    except TimeoutError as error:
        return str(error)
    return "done"


@app.workflow
def in_a_generator(ctx: WorkflowContext, _: None) -> Any:
    lock = ctx.lock("printer")
    yield lock.acquire()
    yield ctx.call_activity(work)
    lock.release()
    lock.release()
    return "done"


@app.workflow
async def drops_a_branch(ctx: WorkflowContext, _: None) -> str:
    async def branch() -> None:
        async with ctx.lock("printer"):
            await ctx.wait_for_external_event("never")

    ctx.spawn(branch())
    await ctx.wait_for_external_event("how")
    return "done"


@app.workflow
async def gives_up(ctx: WorkflowContext, _: None) -> str:
    task = ctx.lock("printer").acquire()
    await ctx.wait_for_external_event("how")
    task.cancel()
    return "gave up"


@app.workflow
async def asks_for(ctx: WorkflowContext, key: str) -> None:
    async with ctx.lock(key):
        pass


def ticket(command: int = 0, *, instance: str = "order-17", run: str = RUN, generation: int = 0) -> Ticket:
    return Ticket(instance=instance, run=run, generation=generation, command=command)


def grant(to: Ticket) -> Raise:
    return event(grant_event(to.command), to)


def released(turn: Turn) -> list[Ticket]:
    letters = [out for out in letters_of(turn, Raise) if out.instance == lock_instance("printer")]
    requests = [value(out.letter.payload) for out in letters if isinstance(out.letter, Raise)]
    assert not any(request["wanted"] for request in requests)
    return [Ticket(**request["ticket"]) for request in requests]


def held(workflow: str = "exclusive", input: Any = None) -> Bench:  # noqa: A002 - as elsewhere
    bench = begun(app, workflow, input)
    bench.go(grant(ticket()))
    return bench


def test_a_lock_is_asked_for_by_a_start_that_finds_it_or_makes_it() -> None:
    bench = begun(app, "exclusive")
    (out,) = letters_of(bench.turns[0], Start)
    assert out.instance == "tenuto.lock:printer"
    assert isinstance(out.letter, Start)
    assert out.letter.workflow == LOCK
    assert out.letter.reuse.action is ReuseAction.IGNORE
    assert out.letter.parent is None
    assert out.letter.event is not None
    assert value(out.letter.event.payload) == {
        "ticket": {"instance": "order-17", "run": RUN, "generation": 0, "command": 0},
        "wanted": True,
    }
    assert bench.turns[0].tasks == ()


def test_the_block_runs_once_the_lock_is_granted_and_gives_it_back() -> None:
    bench = begun(app, "exclusive")
    assert len(bench.go(grant(ticket())).tasks) == 1
    assert released(bench.turns[-1]) == []
    bench.go(done(1))
    assert released(bench.go(event("how"))) == [ticket()]
    assert bench.output == "done"


@pytest.mark.parametrize(
    "stray",
    [ticket(1), ticket(run="f" * 32), ticket(generation=1)],
    ids=["another command", "another run", "another generation"],
)
def test_only_a_grant_of_the_pending_ticket_counts(stray: Ticket) -> None:
    """Rule N1. A grant that comes too late has been given back already."""
    bench = begun(app, "exclusive")
    turn = bench.go(grant(stray))
    assert turn.events == ()
    assert len(turn.ignored) == 1


@pytest.mark.semantics("released")
@pytest.mark.parametrize("how", ["fail", "again", "return", "terminate"])
def test_a_lock_is_released_in_every_terminal_state_and_on_continue_as_new(how: str) -> None:
    bench = held()
    bench.go(done(1))
    turn = bench.go(terminate() if how == "terminate" else event("how", how))
    assert released(turn) == [ticket()]


@pytest.mark.semantics("released")
def test_terminating_a_holder_without_code_releases_its_lock() -> None:
    bench = held()
    bench.app = App("without the code")
    bench.cold_start()
    assert bench.execution.stalled is not None
    turn = advance(bench.execution, [bench.arrival(terminate())], bench.now)
    assert released(turn) == [ticket()]


@pytest.mark.parametrize("granted", [False, True])
def test_a_branch_that_is_dropped_gives_its_lock_back(granted: bool) -> None:
    bench = begun(app, "drops_a_branch")
    command = next(iter(bench.state.pending))
    if granted:
        bench.go(grant(ticket(command)))
    assert released(bench.go(event("how"))) == [ticket(command)]


def test_a_wait_for_a_lock_can_time_out() -> None:
    bench = begun(app, "exclusive", 5.0)
    assert released(bench.go(due(1))) == [ticket()]
    assert bench.output == "the lock 'printer' was not free in time"


def test_a_lock_that_came_in_time_leaves_no_timer() -> None:
    bench = begun(app, "exclusive", 5.0)
    turn = bench.go(grant(ticket()))
    assert [key.command for key in turn.timers_cleared] == [1]


@pytest.mark.semantics("A wait for a lock")
def test_a_wait_for_a_lock_can_be_cancelled() -> None:
    bench = begun(app, "gives_up")
    assert released(bench.go(event("how"))) == [ticket()]
    assert bench.output == "gave up"


def test_a_lock_in_a_generator() -> None:
    bench = held("in_a_generator")
    assert released(bench.go(done(1))) == [ticket()]
    assert bench.output == "done"


def test_a_grant_while_suspended_is_kept() -> None:
    bench = begun(app, "exclusive")
    bench.go(SUSPEND)
    assert bench.go(grant(ticket())).tasks == ()
    assert len(bench.go(RESUME).tasks) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb"])
def test_a_lock_needs_a_valid_key(key: str) -> None:
    bench = begun(app, "asks_for", key)
    assert (bench.status, bench.failure.type) == (Status.FAILED, "ValueError")


# The lock itself ---------------------------------------------------------------------------------------------


def a_lock() -> Bench:
    return begun(builtins.app, LOCK, instance=lock_instance("printer"))


def wants(ticket: Ticket) -> Raise:
    return event(LOCK, LockRequest(ticket=ticket, wanted=True))


def gives_back(ticket: Ticket) -> Raise:
    return event(LOCK, LockRequest(ticket=ticket, wanted=False))


def granted(turn: Turn) -> list[str]:
    return [out.instance for out in letters_of(turn, Raise)]


A, B, C = (ticket(instance=name) for name in "abc")


@pytest.mark.semantics("async with ctx.lock(key)")
def test_a_lock_is_granted_first_in_first_out() -> None:
    bench = a_lock()
    assert granted(bench.go(wants(A), wants(B), wants(C))) == ["a"]
    assert granted(bench.go(gives_back(A))) == ["b"]
    assert granted(bench.go(gives_back(B))) == ["c"]


@pytest.mark.semantics("A wait for a lock")
def test_whoever_waits_no_longer_is_passed_over() -> None:
    bench = a_lock()
    bench.go(wants(A), wants(B), wants(C))
    assert granted(bench.go(gives_back(B))) == []
    assert granted(bench.go(gives_back(A))) == ["c"]


def test_a_ticket_given_back_twice_frees_nobody_elses_lock() -> None:
    bench = a_lock()
    bench.go(wants(A), wants(B))
    assert granted(bench.go(gives_back(A), gives_back(A))) == ["b"]
    assert bench.status is Status.RUNNING


def test_a_holder_that_asks_again_before_its_ticket_is_back_is_granted_once_more() -> None:
    """A rewound one: its ticket is the same, and what it held before is given back."""
    bench = a_lock()
    assert granted(bench.go(wants(A), wants(A))) == ["a"]
    assert granted(bench.go(gives_back(A))) == ["a"]
    bench.go(gives_back(A))
    assert bench.status is Status.COMPLETED


def test_an_event_that_is_no_request_does_no_harm() -> None:
    bench = a_lock()
    bench.go(wants(A), event(LOCK, "what?"), wants(B))
    assert granted(bench.go(gives_back(A))) == ["b"]


def test_a_lock_that_nobody_wants_ends() -> None:
    bench = a_lock()
    bench.go(wants(A))
    bench.go(gives_back(A))
    assert bench.status is Status.COMPLETED


def test_a_lock_that_is_always_in_use_keeps_its_history_short() -> None:
    bench = a_lock()
    bench.go(wants(A), wants(B))
    for _ in range(150):
        bench.go(gives_back(A), wants(A))
        bench.go(gives_back(B), wants(B))
    assert bench.state.generation > 0
    assert len(bench.history) < 2000
    assert granted(bench.go(gives_back(A))) == ["b"]
