"""Rule U1: a new kind of event is written only once every live orchestrator reads it."""

from __future__ import annotations

from typing import get_args

import pytest

from tenuto.core import events
from tenuto.core.events import EVENT_FORMAT, EventSent, TurnStarted
from tenuto.core.turn import Turn
from tenuto.store.protocol import Member
from tenuto.store.rows import decode_member, encode_member
from tenuto_orchestrator.readers import Readers, UnreadYetError
from tests.unit.core.bench import START, raw

SENT = EventSent(id=0, instance="other", name="x", payload=raw(1))
TURN = Turn(events=(TurnStarted(at=START), SENT))
OF_OLD = Turn(events=(TurnStarted(at=START),))


def member(owner: str, level: int) -> Member:
    return Member(owner=owner, workflows={}, activities={}, release="0.1.0", event_format=level)


@pytest.fixture(autouse=True)
def _event_sent_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENT_LEVELS", {EventSent: EVENT_FORMAT})


def test_one_that_cannot_read_it_is_enough() -> None:
    readers = Readers()
    assert not readers.note([member("new", EVENT_FORMAT), member("old", 1)])
    readers.check("i", OF_OLD)
    with pytest.raises(UnreadYetError, match=r"EventSent .*orchestrator old \(release 0.1.0\) cannot read"):
        readers.check("i", TURN)
    assert readers.note([member("new", EVENT_FORMAT)]), "it tells that more may be written now"
    readers.check("i", TURN)
    assert not readers.note([member("new", EVENT_FORMAT)])


def test_the_events_of_a_next_generation_count_too() -> None:
    with pytest.raises(UnreadYetError):
        Readers().check("i", Turn(next_generation=(SENT,)))


def test_a_member_says_what_it_reads_and_one_of_the_first_release_does_not() -> None:
    assert decode_member("o", encode_member(member("o", 7))).event_format == 7
    assert decode_member("o", b'{"workflows":{},"activities":{}}').event_format == 1
    assert decode_member("o", b"\0").event_format == 1


FIRST_RELEASE = {
    *(
        "ExecutionStarted",
        "TurnStarted",
        "ActivityCompleted",
        "ActivityFailed",
        "ActivityRetried",
        "ActivityLost",
    ),
    *("TimerFired", "ChildCompleted", "ChildFailed", "ChildRetried", "EventRaised", "ExecutionSuspended"),
    *(
        "ExecutionResumed",
        "ExecutionTerminated",
        "ActivityScheduled",
        "TimerCreated",
        "ChildScheduled",
        "EventSent",
    ),
    *("TaskCancelled", "ExecutionCompleted", "ExecutionFailed", "ContinuedAsNew"),
}
"""The kinds of events that release 0.1.0 reads."""


def test_every_kind_of_event_since_the_first_release_has_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kinds = {kind.__name__ for kind in get_args(events.Event)}
    named = {kind.__name__: level for kind, level in events.EVENT_LEVELS.items()}
    assert kinds - FIRST_RELEASE == named.keys()
    assert max(named.values()) == EVENT_FORMAT
    assert min(named.values()) > 1
