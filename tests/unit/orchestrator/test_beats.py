"""What an owner makes of beats (rules W2, W4)."""

from __future__ import annotations

from typing import Any

import msgspec

from tenuto.core.turn import TimedOut
from tenuto.messages import Held, TaskRef
from tenuto_orchestrator.beats import Beats

TASK = TaskRef(instance="order-1", run="r", generation=0, command=3, attempt=2)
LIFE = 20.0


def _held(**more: Any) -> Held:
    return Held(**{name: getattr(TASK, name) for name in TASK.__struct_fields__}, **more)


def test_a_beat_stands_for_a_task_until_there_is_none_for_its_life() -> None:
    beats = Beats()
    beats.hear("w1", _held(), 100.0)
    assert list(beats.over(120.0, LIFE)) == []
    assert TASK in beats
    beats.hear("w1", _held(), 110.0)
    assert list(beats.over(130.0, LIFE)) == []
    assert TASK in beats
    assert list(beats.over(130.1, LIFE)) == []
    assert TASK not in beats


def test_a_task_that_was_answered_is_forgotten() -> None:
    beats = Beats()
    beats.hear("w1", _held(seconds=7.0), 100.0)
    holding = beats.get(TASK)
    assert holding is not None
    assert holding.began == 93.0
    beats.forget(_held())
    beats.forget(_held())
    assert TASK not in beats


def test_an_attempt_with_a_heartbeat_timeout_is_over_when_its_beats_stop() -> None:
    beats = Beats()
    beats.hear("w1", _held(heartbeat_timeout=60.0, details=msgspec.Raw(b"5")), 100.0)
    assert list(beats.over(160.0, LIFE)) == []
    ((task, what),) = beats.over(160.1, LIFE)
    assert task == TASK
    assert what == TimedOut(command=3, attempt=2, limit="heartbeat_timeout", details=msgspec.Raw(b"5"))
    assert list(beats.over(170.0, LIFE)) == []


def test_a_heartbeat_timeout_shorter_than_the_beats_waits_for_a_few_of_them() -> None:
    beats = Beats()
    beats.hear("w1", _held(heartbeat_timeout=1.0), 100.0)
    assert list(beats.over(119.0, LIFE)) == []
    assert len(list(beats.over(121.0, LIFE))) == 1


def test_an_attempt_that_outruns_start_to_close_is_over_though_its_worker_beats() -> None:
    beats = Beats()
    beats.hear("w1", _held(seconds=10.0, start_to_close=30.0), 100.0)
    beats.hear("w1", _held(seconds=45.0, start_to_close=30.0), 135.0)
    assert list(beats.over(139.0, LIFE)) == []
    beats.hear("w1", _held(seconds=51.0, start_to_close=30.0), 141.0)
    ((_, what),) = beats.over(141.0, LIFE)
    assert what.limit == "start_to_close"


def test_a_task_that_waits_for_a_slot_does_not_run_out_of_time() -> None:
    beats = Beats()
    beats.hear("w1", _held(start_to_close=1.0), 100.0)
    assert list(beats.over(119.0, LIFE)) == []
    assert TASK in beats


def test_a_held_task_is_not_forgotten_when_its_beats_stop() -> None:
    """Its timer is for that, which outlives its owner."""
    beats = Beats()
    assert beats.hear("w1", _held(), 100.0)
    assert not beats.hear("w1", _held(), 105.0)
    assert beats.hear("w1", _held(held=True), 110.0)
    assert not beats.hear("w1", _held(held=True), 115.0)
    assert list(beats.over(200.0, LIFE)) == []
    known = beats.forget(TASK)
    assert known is not None
    assert known.held
