"""Histories in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Event,
    EventRaised,
    ExecutionCompleted,
    ExecutionRerun,
    ExecutionStarted,
    Failure,
    TimerCreated,
    TimerFired,
    TurnStarted,
)
from tenuto_gateway.timeline import LOOKS, Timeline, shorten

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)
RAW = msgspec.Raw(b'{"item":"lamp"}')


def test_every_kind_of_event_has_a_look() -> None:
    assert set(LOOKS) == set(get_args(Event)) - {TurnStarted}


def test_answers_are_shown_with_the_name_of_what_they_answer() -> None:
    steps = Timeline().read(
        [
            ExecutionStarted(workflow="fulfil", input=RAW, seed="s"),
            TurnStarted(at=AT),
            ActivityScheduled(id=0, name="reserve", input=RAW, pool="default"),
            TimerCreated(id=1, fire_at=LATER, event="approved"),
            TurnStarted(at=LATER),
            ActivityCompleted(command=0, result=msgspec.Raw(b"null")),
            TimerFired(command=1),
            EventRaised(name="Approved", payload=msgspec.Raw(b"true")),
            ExecutionCompleted(id=2, result=msgspec.Raw(b"17")),
        ]
    )
    assert [step.number for step in steps] == [None, 0, 1, None, None, None, 2]
    assert [(step.at, step.what, step.subject, step.detail) for step in steps] == [
        (None, "started", "fulfil", '{"item":"lamp"}'),
        (AT, "activity scheduled", "reserve", '{"item":"lamp"}'),
        (AT, "timer created", "timeout of approved", "until 2026-01-02 03:04:09"),
        (LATER, "activity completed", "reserve", ""),
        (LATER, "timer fired", "timeout of approved", ""),
        (LATER, "event raised", "Approved", "true"),
        (LATER, "completed", "fulfil", "17"),
    ]


def test_a_rerun_tells_where_it_came_from() -> None:
    (step,) = Timeline().read([ExecutionRerun(instance="order-17", run="r", command=3, seed="s", at=AT)])
    assert (step.at, step.what, step.subject) == (AT, "rerun", "from event 3 of order-17")


def test_a_new_generation_numbers_its_commands_anew() -> None:
    timeline = Timeline()
    timeline.read(
        [
            ExecutionStarted(workflow="watch", input=RAW, seed="s"),
            ActivityScheduled(id=0, name="check", input=RAW, pool="default"),
        ]
    )
    started, answered = timeline.read(
        [
            ExecutionStarted(workflow="watch", input=msgspec.Raw(b"1"), seed="s", generation=3),
            ActivityCompleted(command=0, result=RAW),
        ]
    )
    assert started.detail == "1 (generation 3)"
    assert answered.subject == "command 0"


@pytest.mark.parametrize(
    ("attempt", "retry_at", "detail"),
    [
        (1, None, "OSError: busy"),
        (2, None, "attempt 2: OSError: busy"),
        (1, AT, "attempt 1: OSError: busy, again at 03:04:05.000"),
    ],
)
def test_a_failure_tells_the_attempt_and_the_next_one(
    attempt: int, retry_at: datetime | None, detail: str
) -> None:
    failure = Failure(type="OSError", message="busy")
    (step,) = Timeline().read(
        [ActivityFailed(command=0, attempt=attempt, failure=failure, retry_at=retry_at)]
    )
    assert (step.detail, step.tone) == (detail, "bad")


def test_texts_are_shortened_to_one_line() -> None:
    assert shorten("one\ntwo   three", 20) == "one two three"
    assert shorten("0123456789", 10) == "0123456789"
    assert shorten("01234567890", 10) == "012345678…"
