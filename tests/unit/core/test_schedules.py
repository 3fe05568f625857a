"""The workflow that a schedule is: what it starts, and what it does about runs that overlap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tenuto import builtins
from tenuto.core.events import ExecutionStarted
from tenuto.core.letters import Start, Terminate
from tenuto.core.reserved import SCHEDULE
from tenuto.core.status import Status
from tenuto.core.turn import Turn
from tenuto.schedules import Overlap, Plan, PlanUpdate, Request, Seen, State, Verb
from tests.unit.core.bench import (
    START,
    Bench,
    child_done,
    child_failed,
    due,
    event,
    letters_of,
    raw,
    starts,
    terminate,
)

MINUTE = 60.0


def scheduled(**given: Any) -> Bench:
    plan = Plan(**({"workflow": "job", "input": raw({"a": 1}), "every": MINUTE} | given))
    started = ExecutionStarted(workflow=SCHEDULE, input=raw(State(plan=plan)), seed="seed")
    bench = Bench(app=builtins.app, workflow=SCHEDULE, started=started, instance="tenuto.schedule:nightly")
    bench.go(after=0)
    return bench


def seen(bench: Bench) -> Seen:
    status = bench.execution.custom_status
    assert status is not None
    return msgspec.json.decode(status, type=Seen)


def timer(bench: Bench) -> int | None:
    return next((command for command, p in bench.state.pending.items() if p.kind == "timer"), None)


def fire(bench: Bench, *, late: float = 0.0) -> Turn:
    """Its timer, `late` seconds after its time; then the generation that follows."""
    upcoming, command = seen(bench).next, timer(bench)
    assert upcoming is not None
    assert command is not None
    bench.go(due(command), after=(upcoming - bench.now).total_seconds() + late)
    return bench.go(after=0)


def ask(bench: Bench, **request: Any) -> Turn:
    turn = bench.go(event(SCHEDULE, Request(**request)))
    return bench.go(after=0) if turn.next_generation else turn


def ends(bench: Bench, *, failing: bool = False, after: float = 1.0) -> Turn:
    (command,) = [command for command, p in bench.state.pending.items() if p.kind == "child"]
    generation = bench.state.generation
    outcome = child_failed if failing else child_done
    bench.go(outcome(command, generation=generation), after=after)
    return bench.go(after=0)


def minutes(turn: Turn) -> list[str]:
    """The times of the runs that were started."""
    return [instance.removeprefix("nightly:2026-01-01T") for instance, _ in starts(turn)]


@pytest.mark.parametrize("overlap", list(Overlap))
def test_it_fires_and_then_waits_for_the_next_time(overlap: Overlap) -> None:
    bench = scheduled(overlap=overlap, tags={"a": "b"}, version="2")
    assert seen(bench).next == START + timedelta(minutes=1)
    ((instance, start),) = starts(fire(bench))
    assert instance == "nightly:2026-01-01T12:01:00Z"
    assert (start.workflow, start.version, start.input) == ("job", "2", raw({"a": 1}))
    assert start.tags == {"a": "b", SCHEDULE: "nightly"}
    assert (start.parent is None) == (overlap is Overlap.ALLOW)
    shown = seen(bench)
    assert (shown.next, shown.runs) == (START + timedelta(minutes=2), 1)
    assert shown.last is not None
    assert (shown.last.instance, shown.last.at) == (instance, START + timedelta(minutes=1))


@pytest.mark.semantics("fires once")
def test_the_firing_and_the_next_time_are_recorded_together() -> None:
    """Rule T2: what is due is in the commit that uses up the timer, and the run in the one that sets the next."""
    bench = scheduled(overlap=Overlap.ALLOW)
    command = timer(bench)
    assert command is not None
    turn = bench.go(due(command), after=60)
    state = msgspec.json.decode(turn.next_generation[0].input, type=State)  # type: ignore[union-attr]
    at = START + timedelta(minutes=1)
    assert (state.last, [one.at for one in state.due]) == (at, [at])
    turn = bench.go(after=0)
    assert len(starts(turn)) == len(turn.timers_set) == 1


@pytest.mark.semantics("overlap policy")
def test_skip_leaves_out_what_falls_into_a_run() -> None:
    bench = scheduled(overlap=Overlap.SKIP)
    fire(bench)
    assert timer(bench) is None
    assert seen(bench).running
    assert starts(ends(bench, after=150)) == []
    assert seen(bench).next == START + timedelta(minutes=4)
    assert minutes(fire(bench)) == ["12:04:00Z"]


@pytest.mark.semantics("overlap policy")
def test_allow_starts_runs_beside_each_other() -> None:
    bench = scheduled(overlap=Overlap.ALLOW)
    assert [minutes(fire(bench)) for _ in range(3)] == [["12:01:00Z"], ["12:02:00Z"], ["12:03:00Z"]]


@pytest.mark.semantics("overlap policy")
def test_buffer_one_makes_up_for_one_firing_however_many_fell_into_the_run() -> None:
    bench = scheduled(overlap=Overlap.BUFFER_ONE)
    fire(bench)
    assert minutes(ends(bench, after=200)) == ["12:04:00Z"]
    assert starts(ends(bench, after=1)) == []
    assert seen(bench).next == START + timedelta(minutes=5)


@pytest.mark.semantics("overlap policy")
def test_terminate_other_ends_the_run_under_way() -> None:
    bench = scheduled(overlap=Overlap.TERMINATE_OTHER)
    fire(bench)
    command = timer(bench)
    assert command is not None
    (out,) = letters_of(bench.go(due(command), after=60), Terminate)
    assert out.instance == "nightly:2026-01-01T12:01:00Z"
    assert minutes(bench.go(after=0)) == ["12:02:00Z"]


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.BUFFER_ONE])
def test_runs_outlive_their_schedule(overlap: Overlap) -> None:
    bench = scheduled(overlap=overlap)
    fire(bench)
    assert letters_of(bench.go(terminate()), Terminate) == []


@pytest.mark.semantics("After an outage")
@pytest.mark.parametrize(
    ("overlap", "catch_up", "expected"),
    [
        (Overlap.ALLOW, 0, ["12:05:00Z"]),
        (Overlap.ALLOW, 2, ["12:03:00Z", "12:04:00Z", "12:05:00Z"]),
        (Overlap.ALLOW, 99, ["12:01:00Z", "12:02:00Z", "12:03:00Z", "12:04:00Z", "12:05:00Z"]),
        (Overlap.SKIP, 2, ["12:05:00Z"]),
        (Overlap.TERMINATE_OTHER, 2, ["12:05:00Z"]),
        (Overlap.BUFFER_ONE, 2, ["12:04:00Z"]),
    ],
)
def test_what_fell_into_an_outage_is_made_up_for_within_bounds(
    overlap: Overlap, catch_up: int, expected: list[str]
) -> None:
    bench = scheduled(overlap=overlap, catch_up=catch_up)
    assert minutes(fire(bench, late=250)) == expected
    if overlap is Overlap.BUFFER_ONE:
        assert minutes(ends(bench)) == ["12:05:00Z"]
    assert seen(bench).runs == len(expected) + (overlap is Overlap.BUFFER_ONE)


@pytest.mark.semantics("paused and resumed")
def test_pause_and_resume_leave_out_what_falls_between() -> None:
    bench = scheduled()
    ask(bench, verb=Verb.PAUSE, reason="holidays")
    assert (seen(bench).paused, seen(bench).reason, seen(bench).next) == (True, "holidays", None)
    assert timer(bench) is None
    bench.now += timedelta(minutes=10)
    ask(bench, verb=Verb.RESUME)
    assert (seen(bench).paused, seen(bench).next) == (False, START + timedelta(minutes=11))


def test_pausing_does_not_touch_the_run_under_way() -> None:
    bench = scheduled()
    fire(bench)
    assert ask(bench, verb=Verb.PAUSE).letters == ()
    assert (seen(bench).running, seen(bench).paused) == (True, True)
    ends(bench)
    assert (seen(bench).running, seen(bench).next) == (False, None)


@pytest.mark.parametrize(
    ("overlap", "running", "at_once", "later"),
    [
        (Overlap.SKIP, False, ["mine"], []),
        (Overlap.SKIP, True, [], []),
        (Overlap.ALLOW, True, ["mine"], []),
        (Overlap.TERMINATE_OTHER, True, ["mine"], []),
        (Overlap.BUFFER_ONE, True, [], ["mine"]),
    ],
)
def test_a_trigger_starts_a_run_as_the_overlap_policy_allows(
    overlap: Overlap, running: bool, at_once: list[str], later: list[str]
) -> None:
    bench = scheduled(overlap=overlap)
    if running:
        fire(bench)
    turn = ask(bench, verb=Verb.TRIGGER, instance="mine")
    assert [instance for instance, _ in starts(turn)] == at_once
    if running and overlap in {Overlap.SKIP, Overlap.BUFFER_ONE}:
        assert [instance for instance, _ in starts(ends(bench))] == later


def test_a_trigger_works_while_paused() -> None:
    bench = scheduled()
    ask(bench, verb=Verb.PAUSE)
    assert len(starts(ask(bench, verb=Verb.TRIGGER))) == 1


def test_an_update_changes_only_what_it_says() -> None:
    bench = scheduled(tags={"a": "b"})
    ask(bench, verb=Verb.UPDATE, update=PlanUpdate(cron="0 3 * * *", input=raw(7)))
    shown = seen(bench)
    assert (shown.cron, shown.every, shown.tags) == ("0 3 * * *", None, {"a": "b"})
    ((_, start),) = starts(fire(bench))
    assert start.input == raw(7)


@pytest.mark.semantics("paused and resumed")
def test_how_the_last_run_failed_is_shown() -> None:
    bench = scheduled()
    fire(bench)
    ends(bench, failing=True)
    assert "ValueError: broken" in (seen(bench).last_failure or "")
    fire(bench)
    ends(bench)
    assert seen(bench).last_failure is None


def test_jitter_makes_it_late_and_replays() -> None:
    bench = scheduled(jitter=30.0)
    (made,) = bench.turns[0].timers_set
    late = made.fire_at - (START + timedelta(minutes=1))
    assert timedelta() < late < timedelta(seconds=30)
    assert minutes(fire(bench, late=late.total_seconds())) == ["12:01:00Z"]


def test_an_event_that_is_no_request_does_no_harm() -> None:
    bench = scheduled()
    bench.go(event(SCHEDULE, "what?"))
    bench.go(after=0)
    assert bench.status is Status.RUNNING
    assert timer(bench) is not None


def test_the_history_stays_short() -> None:
    bench = scheduled(overlap=Overlap.TERMINATE_OTHER)
    for _ in range(20):
        fire(bench)
    assert len(bench.history) < 10
    assert isinstance(starts(bench.turns[-1])[0][1], Start)
