"""Histories in words: what a person wants to read of an instance's events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityLost,
    ActivityRetried,
    ActivityScheduled,
    ChildCompleted,
    ChildFailed,
    ChildRetried,
    ChildScheduled,
    Command,
    CompensationAdded,
    ContinuedAsNew,
    Event,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    LockRequested,
    PatchRecorded,
    TaskCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    WorkflowStarted,
)

__all__ = ["Step", "Timeline", "shorten"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event in words."""

    at: datetime | None
    """The time of its turn, or of the start; None: it is not known."""
    mark: str
    """One character that can be taken in at a glance."""
    what: str
    """What happened, such as `activity completed`."""
    subject: str
    """To what: the activity's, child's, timer's or event's name."""
    detail: str
    """A payload as JSON, a failure, a time."""
    tone: str
    """`plain`, `good`, `bad` or `quiet`."""
    number: int | None
    """The id of what was asked for, by which answers name it, and from which an instance can be rerun."""


class Timeline:
    """Puts a history into words, event by event. It remembers the commands: answers name their numbers."""

    def __init__(self) -> None:
        self._subjects: dict[int, str] = {}
        self._compensations: set[int] = set()
        self._workflow = ""
        self._at: datetime | None = None

    def read(self, events: Iterable[Event]) -> list[Step]:
        """The steps of the events that come next in the history."""
        steps = []
        for event in events:
            if isinstance(event, TurnStarted):
                self._at = event.at
                continue
            if isinstance(event, ExecutionRerun | ExecutionRewound):  # they begin a turn
                self._at = event.at
            look = self._look(event)
            steps.append(
                Step(
                    at=self._at,
                    mark=look.mark,
                    what=look.what,
                    subject=self._subject(event, look),
                    detail=look.detail(event),
                    tone=look.tone,
                    number=event.id if isinstance(event, Command) else None,
                )
            )
        return steps

    def _look(self, event: Event) -> Look:
        match event:
            case ExecutionStarted():  # it stands before the first turn
                self._at = event.at or self._at
            case CompensationAdded():
                self._compensations.add(event.id)
            case TaskCancelled() if event.command in self._compensations:
                return SETTLED
            case _:
                pass
        return LOOKS[type(event)]

    def _subject(self, event: Event, look: Look) -> str:
        if isinstance(event, ExecutionStarted):
            # A generation begins: its commands are numbered anew.
            self._subjects.clear()
            self._compensations.clear()
            self._workflow = event.workflow
        if look.subject is not None:
            subject = look.subject(event)
            number = getattr(event, "id", None)
            if number is not None:
                self._subjects[number] = subject
            return subject
        command = getattr(event, "command", None)
        return self._workflow if command is None else self._subjects.get(command, f"command {command}")


def shorten(text: str, width: int) -> str:
    """At most `width` characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _nothing(_event: Any) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one kind of event is shown."""

    mark: str
    what: str
    tone: str = "plain"
    subject: Callable[[Any], str] | None = None
    """None: the subject of the command that the event answers, or the workflow."""
    detail: Callable[[Any], str] = _nothing


def _json(payload: Any) -> str:
    text = bytes(payload).decode(errors="replace")
    return "" if text == "null" else text


def _started(event: ExecutionStarted) -> str:
    return " ".join(
        filter(None, [_json(event.input), f"(generation {event.generation})" if event.generation else ""])
    )


def _scheduled(event: ActivityScheduled) -> str:
    return " ".join(filter(None, [_json(event.input), "(local)" if event.local else ""]))


def _failed(event: ActivityFailed | ChildFailed) -> str:
    text = f"{event.failure.type}: {event.failure.message}"
    again = "" if event.retry_at is None else f", again at {event.retry_at:%H:%M:%S.%f}"[:-3]
    return f"attempt {event.attempt}: {text}{again}" if event.attempt > 1 or again else text


def _reason(event: ExecutionSuspended | ExecutionResumed | ExecutionTerminated | ExecutionRewound) -> str:
    return event.reason or ""


def _timer(event: TimerCreated) -> str:
    return "timer" if event.event is None else f"timeout of {event.event}"


SETTLED = Look(mark="⊘", what="compensation settled", tone="quiet")
"""It has run, or is no longer owed."""

LOOKS: Mapping[type, Look] = MappingProxyType(
    {
        ExecutionStarted: Look(mark="●", what="started", detail=_started),
        ExecutionCompleted: Look(
            mark="●", what="completed", tone="good", detail=lambda event: _json(event.result)
        ),
        ExecutionFailed: Look(
            mark="●",
            what="failed",
            tone="bad",
            detail=lambda event: f"{event.failure.type}: {event.failure.message}",
        ),
        ExecutionTerminated: Look(mark="●", what="terminated", tone="bad", detail=_reason),
        ExecutionSuspended: Look(mark="‖", what="suspended", tone="quiet", detail=_reason),
        ExecutionResumed: Look(mark="▶", what="resumed", tone="quiet", detail=_reason),
        ExecutionRewound: Look(mark="↶", what="rewound", tone="quiet", detail=_reason),
        ExecutionRerun: Look(
            mark="↶",
            what="rerun",
            tone="quiet",
            subject=lambda event: f"from event {event.command} of {event.instance}",
        ),
        ContinuedAsNew: Look(mark="↻", what="continued as new", detail=lambda event: _json(event.input)),
        ActivityScheduled: Look(
            mark="→",
            what="activity scheduled",
            tone="quiet",
            subject=lambda event: event.name,
            detail=_scheduled,
        ),
        ActivityCompleted: Look(
            mark="✓", what="activity completed", tone="good", detail=lambda event: _json(event.result)
        ),
        ActivityFailed: Look(mark="✗", what="activity failed", tone="bad", detail=_failed),
        ActivityRetried: Look(
            mark="→", what="activity retried", tone="quiet", detail=lambda event: f"attempt {event.attempt}"
        ),
        ActivityLost: Look(
            mark="?", what="activity sent again", tone="bad", detail=lambda _: "its worker was lost"
        ),
        TimerCreated: Look(
            mark="◷",
            what="timer created",
            tone="quiet",
            subject=_timer,
            detail=lambda event: f"until {event.fire_at:%Y-%m-%d %H:%M:%S}",
        ),
        TimerFired: Look(mark="◷", what="timer fired"),
        ChildScheduled: Look(
            mark="→",
            what="child started",
            tone="quiet",
            subject=lambda event: event.workflow,
            detail=lambda event: " ".join(
                filter(
                    None,
                    [event.instance, "(outlives its parent)" if event.abandon else "", _json(event.input)],
                )
            ),
        ),
        ChildCompleted: Look(
            mark="✓", what="child completed", tone="good", detail=lambda event: _json(event.result)
        ),
        ChildFailed: Look(mark="✗", what="child failed", tone="bad", detail=_failed),
        ChildRetried: Look(
            mark="→",
            what="child retried",
            tone="quiet",
            detail=lambda event: f"attempt {event.attempt}: {event.instance}",
        ),
        EventRaised: Look(
            mark="✉",
            what="event raised",
            subject=lambda event: event.name,
            detail=lambda event: _json(event.payload),
        ),
        EventSent: Look(
            mark="✉",
            what="event sent",
            tone="quiet",
            subject=lambda event: event.name,
            detail=lambda event: f"to {event.instance} {_json(event.payload)}".rstrip(),
        ),
        WorkflowStarted: Look(
            mark="→",
            what="workflow started",
            tone="quiet",
            subject=lambda event: event.workflow,
            detail=lambda event: f"{event.instance} {_json(event.input)}".rstrip(),
        ),
        LockRequested: Look(mark="⚿", what="lock requested", tone="quiet", subject=lambda event: event.key),
        CompensationAdded: Look(
            mark="↶",
            what="compensation added",
            tone="quiet",
            subject=lambda event: event.call.name,
            detail=lambda event: _json(event.call.input),
        ),
        TaskCancelled: Look(mark="⊘", what="cancelled", tone="quiet"),
        PatchRecorded: Look(mark="◇", what="patch passed", tone="quiet", subject=lambda event: event.patch),
    }
)
"""Every kind of event but `TurnStarted`, which only sets the time."""
