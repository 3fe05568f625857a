"""The fold over the events, and that every table has every event."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest

from tenuto.core import effects
from tenuto.core.events import (
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    Command,
    Event,
    ExecutionStarted,
    Failure,
    Notification,
    TimerCreated,
    TurnStarted,
    decode_events,
    encode_events,
)
from tenuto.core.fold import FOLD
from tenuto.core.pending import Kind
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tests.unit.core.bench import RUN, START, raw

STARTED = ExecutionStarted(workflow="job", input=raw(1), seed="seed", tags={"a": "b"})
TURN = TurnStarted(at=START)
CALL = ActivityScheduled(id=0, name="work", input=raw(1), pool="default")


def fold(*events: Event) -> State:
    return State.fold("order-17", RUN, events)


def test_every_event_is_folded() -> None:
    assert set(FOLD) == set(get_args(Event))
    assert set(get_args(Event)) == {*get_args(Notification), *get_args(Command)}
    assert set(effects._EFFECTS) < set(get_args(Event))


def test_the_fold_needs_no_code() -> None:
    found = fold(STARTED)
    assert (found.status, found.begun, found.time, found.tags) == (Status.PENDING, False, None, {"a": "b"})
    found.apply(TURN)
    assert (found.status, found.begun, found.time) == (Status.RUNNING, True, START)
    found.apply(CALL)
    pending = found.pending[0]
    assert (pending.kind, pending.attempt, pending.first, pending.waiting_until) == (
        Kind.ACTIVITY,
        1,
        START,
        None,
    )
    assert (found.next_command, found.tasks_pending) == (1, 1)
    assert found.is_pending(0, 1)
    assert not found.is_pending(0, 2)
    assert not found.is_pending(1, 1)


def test_a_later_generation_has_been_running_all_along() -> None:
    assert (
        fold(ExecutionStarted(workflow="job", input=raw(1), seed="s", generation=1)).status is Status.RUNNING
    )


def test_waits_for_retries_and_timers_are_timers() -> None:
    failed = ActivityFailed(
        command=0, failure=Failure(type="E", message=""), retry_at=START + timedelta(seconds=5)
    )
    timer = TimerCreated(id=1, fire_at=START + timedelta(seconds=9))
    found = fold(STARTED, TURN, CALL, timer, failed)
    assert [(each.key, each.fire_at - START) for each in found.timers()] == [
        (TimerKey(command=0, attempt=2), timedelta(seconds=5)),
        (TimerKey(command=1), timedelta(seconds=9)),
    ]
    assert found.tasks_out() == []
    found.apply(ActivityRetried(command=0, attempt=2))
    assert [(task.attempt, task.key, task.alone) for task in found.tasks_out()] == [(2, "seed:0:0", False)]


def test_a_command_before_the_first_turn_is_refused() -> None:
    with pytest.raises(ValueError, match="a command before its first turn"):
        fold(STARTED, CALL)


def test_events_survive_the_trip_through_bytes() -> None:
    events = [STARTED, TURN, CALL, TimerCreated(id=1, fire_at=START, event="x")]
    assert decode_events(encode_events(events)) == events
