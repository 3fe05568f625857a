"""The history of a workflow: what its code asked for, and what the world answered.

A history is a list of events, kept one row per turn. There are two kinds.

* A **command** is what the code asked for. It has an `id`, given in the order in which the code issues
  commands: 0, 1, 2 … per generation. On replay a command is *compared* with what the code asks for now.
* A **notification** is what the world answered. It names the command that it answers (`command`). On replay
  it is *fed* to the code.

Each notification stands directly before the commands that the code issued because of it, so a history replays
in one walk: feed a notification, compare the commands that follow, go on. A turn begins with `TurnStarted`,
which fixes the time that the code sees. The events are frozen; the fields marked as payload are JSON kept as
it came (`msgspec.Raw`), never decoded unless the code reads it.

In a rolling upgrade an older release may have to read what a newer one wrote. So the *event format* has levels: a kind
of event that came after the first release is named in `EVENT_LEVELS`, and written only once every live orchestrator
reads its level (rule U1). The first new kind after a release raises `EVENT_FORMAT`. New fields have defaults instead.

The convention of numeric ids per generation, and of answers that name the id of their command, is the Durable
Task Framework's, so that the same history can be served to its SDKs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from tenuto.core.commands import (
    ActivityScheduled,
    ChildScheduled,
    Command,
    CompensationAdded,
    ContinuedAsNew,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    LockRequested,
    PatchRecorded,
    TaskCancelled,
    TimerCreated,
    WorkflowStarted,
)
from tenuto.core.documents import read_document
from tenuto.core.values import Failure, OptionalRaw, Parent, RecordedRetry, ReplyTo

__all__ = [
    "EVENT_FORMAT",
    "EVENT_LEVELS",
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityLost",
    "ActivityRetried",
    "ActivityScheduled",
    "ChildCompleted",
    "ChildFailed",
    "ChildRetried",
    "ChildScheduled",
    "Command",
    "CompensationAdded",
    "ContinuedAsNew",
    "Event",
    "EventRaised",
    "EventSent",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionRerun",
    "ExecutionResumed",
    "ExecutionRewound",
    "ExecutionStarted",
    "ExecutionSuspended",
    "ExecutionTerminated",
    "Failure",
    "LockRequested",
    "Notification",
    "OptionalRaw",
    "Parent",
    "PatchRecorded",
    "RecordedRetry",
    "ReplyTo",
    "TaskCancelled",
    "TimerCreated",
    "TimerFired",
    "TurnStarted",
    "WorkflowStarted",
    "decode_events",
    "encode_events",
    "newest",
    "rewound",
]


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


# ---------------------------------------------------------------------------------------------------------
# Notifications: what the world answered. Fed on replay.


class ExecutionStarted(_Struct, frozen=True, kw_only=True, tag=True):
    """The first event of every generation."""

    workflow: str
    version: str | None = None
    """The version that this instance keeps; None where the workflow has only one."""
    input: msgspec.Raw
    """Payload."""
    seed: str
    """Random, chosen at the start and kept for all generations; feeds uuids, `ctx.random` and idempotency keys."""
    generation: int = 0
    at: datetime | None = None
    """When it was started or, in a later generation, the time of the last turn before. No turn is earlier (rule T1)."""
    parent: Parent | None = None
    tags: dict[str, str] = {}
    children: int = 0
    """How many children earlier generations of this run have started, so that default ids never repeat (rule N3)."""
    reply: ReplyTo | None = None
    trace: dict[str, str] = {}
    """W3C trace context of whoever started it."""
    start_at: datetime | None = None
    """Of a delayed start: the first turn is not earlier."""


class TurnStarted(_Struct, frozen=True, kw_only=True, tag=True):
    """A turn begins. `at` is what `ctx.current_utc_datetime` says during it; never earlier than the turn before."""

    at: datetime
    version: str | None = None
    """Taken and kept from here on by an instance that had none: that of the code that takes it on."""


class ActivityCompleted(_Struct, frozen=True, kw_only=True, tag=True):
    command: int
    attempt: int = 1
    result: msgspec.Raw
    """Payload."""


class ActivityFailed(_Struct, frozen=True, kw_only=True, tag=True):
    """An attempt failed. With `retry_at` the engine tries again then, and the code does not hear of it."""

    command: int
    attempt: int = 1
    failure: Failure
    retry_at: datetime | None = None
    details: OptionalRaw = None
    """Payload: what the attempt gave to its last heartbeat, for the next attempt."""


class ActivityRetried(_Struct, frozen=True, kw_only=True, tag=True):
    """The wait before `attempt` is over; its task goes out."""

    command: int
    attempt: int


class ActivityLost(_Struct, frozen=True, kw_only=True, tag=True):
    """A worker lost the task, and it is sent again, alone, with the same attempt (rule W1).

    `losses` counts how often the task was lost after it had been sent alone; past the bound the activity fails.
    """

    command: int
    attempt: int
    losses: int
    details: OptionalRaw = None
    """Payload: what it gave to its last heartbeat, as far as its owner had heard."""


class TimerFired(_Struct, frozen=True, kw_only=True, tag=True):
    command: int


class ChildCompleted(_Struct, frozen=True, kw_only=True, tag=True):
    command: int
    attempt: int = 1
    result: msgspec.Raw
    """Payload."""


class ChildFailed(_Struct, frozen=True, kw_only=True, tag=True):
    """A child failed or was terminated. With `retry_at` a new child is started then."""

    command: int
    attempt: int = 1
    failure: Failure
    retry_at: datetime | None = None


class ChildRetried(_Struct, frozen=True, kw_only=True, tag=True):
    """The wait before `attempt` is over; a child with a fresh id is started."""

    command: int
    attempt: int
    instance: str


class EventRaised(_Struct, frozen=True, kw_only=True, tag=True):
    """An external event. `name` is kept as sent; it is matched by `casefold`."""

    name: str
    payload: msgspec.Raw
    """Payload."""
    sender: str | None = None
    """The instance that sent it, if a workflow did."""


class ExecutionSuspended(_Struct, frozen=True, kw_only=True, tag=True):
    """From here on notifications are recorded but kept from the code, until `ExecutionResumed`."""

    reason: str | None = None


class ExecutionResumed(_Struct, frozen=True, kw_only=True, tag=True):
    reason: str | None = None


class ExecutionTerminated(_Struct, frozen=True, kw_only=True, tag=True):
    """Ends the instance from outside; the last event of its history. The code is not resumed."""

    output: msgspec.Raw
    """Payload; `null` where none was given."""
    reason: str | None = None
    recursive: bool = True
    """Its children were terminated too, those that it did not abandon."""
    cascade: bool = False
    """Its parent did it."""


class ExecutionRewound(_Struct, frozen=True, kw_only=True, tag=True):
    """The instance had failed, or was terminated, and goes on in place. It begins a turn, before `TurnStarted`.

    Of the history before it only the first `kept` events count from here on (`rewound`); the rest shows what was
    undone.
    """

    kept: int
    again: list[int] = []
    """Activities and children that had failed and are to be done again."""
    at: datetime
    reason: str | None = None


class ExecutionRerun(_Struct, frozen=True, kw_only=True, tag=True):
    """The instance began with what stands before this: the first part of the history of another one, which had ended.
    It begins a turn, before `TurnStarted`; from here on all is the instance's own."""

    instance: str
    """The other instance."""
    run: str
    """Its run."""
    command: int
    """What is done again first, of what the other one had asked for."""
    replaced: bool = False
    """With an input of its own, which that command has."""
    seed: str
    """Instead of that of the start from here on."""
    at: datetime
    """Now. What is pending has as long as it had when the other one was there."""


Notification: TypeAlias = (
    ExecutionStarted
    | TurnStarted
    | ActivityCompleted
    | ActivityFailed
    | ActivityRetried
    | ActivityLost
    | TimerFired
    | ChildCompleted
    | ChildFailed
    | ChildRetried
    | EventRaised
    | ExecutionSuspended
    | ExecutionResumed
    | ExecutionTerminated
    | ExecutionRewound
    | ExecutionRerun
)
Event: TypeAlias = Notification | Command

EVENT_FORMAT = 2
"""The level of the event format that this release reads: that of its newest kind of event."""
EVENT_LEVELS: Mapping[type[Event], int] = MappingProxyType(
    {
        ExecutionRewound: 2,
        ExecutionRerun: 2,
        PatchRecorded: 2,
        WorkflowStarted: 2,
        LockRequested: 2,
        CompensationAdded: 2,
    }
)
"""Since which level a kind of event is written; kinds that are not named here are of level 1, the first release's."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])


def encode_events(events: tuple[Event, ...] | list[Event]) -> bytes:
    """One turn's events as one JSON document: the body of a history row."""
    return _encoder.encode(events)


def decode_events(body: bytes) -> list[Event]:
    """The inverse of `encode_events`.

    Raises:
        msgspec.DecodeError: the document holds something that is no event of this release.
    """
    return read_document(_decoder, body)


def newest(events: Iterable[Event]) -> tuple[int, str]:
    """The level that whoever reads these events must know, and the kind of event that asks for it (rule U1)."""
    return max(
        ((EVENT_LEVELS.get(type(event), 1), type(event).__name__) for event in events), default=(1, "")
    )


def rewound(history: Iterable[Event]) -> list[Event]:
    """The events that count: without what was undone when the instance was rewound."""
    counting: list[Event] = []
    for event in history:
        if isinstance(event, ExecutionRewound):
            del counting[event.kept :]
        counting.append(event)
    return counting
