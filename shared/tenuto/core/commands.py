"""Commands: the events that tell what the code asked for. Compared on replay."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from tenuto.core.values import Failure, RecordedRetry

__all__ = [
    "ActivityScheduled",
    "ChildScheduled",
    "Command",
    "CompensationAdded",
    "ContinuedAsNew",
    "EventSent",
    "ExecutionCompleted",
    "ExecutionFailed",
    "LockRequested",
    "PatchRecorded",
    "TaskCancelled",
    "TimerCreated",
    "WorkflowStarted",
]


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class ActivityScheduled(_Struct, frozen=True, kw_only=True, tag=True):
    """The retry policy is not recorded: it may change on live instances and governs later attempts."""

    id: int
    name: str
    input: msgspec.Raw
    """Payload."""
    pool: str
    start_to_close: float | None = None
    """Seconds that one attempt may run."""
    schedule_to_start: float | None = None
    """Seconds that an attempt may wait for a worker to begin it."""
    schedule_to_close: float | None = None
    """Seconds for all attempts and the waits between them."""
    heartbeat_timeout: float | None = None
    """Seconds that an attempt may go without a heartbeat."""
    refused: Failure | None = None
    """The call failed at the door, its input being too large: it is not kept, and nothing was sent."""
    local: bool = False
    """It runs in the orchestrator, without a message."""


class TimerCreated(_Struct, frozen=True, kw_only=True, tag=True):
    id: int
    fire_at: datetime
    event: str | None = None
    """The event name, where the timer is the timeout of a wait for it."""


class ChildScheduled(_Struct, frozen=True, kw_only=True, tag=True):
    id: int
    workflow: str
    version: str | None = None
    instance: str
    input: msgspec.Raw
    """Payload."""
    tags: dict[str, str] = {}
    abandon: bool = False
    """Parent-close policy: False terminates the child when its parent ends, True leaves it alone."""
    refused: Failure | None = None
    """As of `ActivityScheduled`."""


class EventSent(_Struct, frozen=True, kw_only=True, tag=True):
    """An event to another instance. It does not wait for anything."""

    id: int
    instance: str
    name: str
    payload: msgspec.Raw
    """Payload."""
    refused: Failure | None = None
    """As of `ActivityScheduled`."""


class WorkflowStarted(_Struct, frozen=True, kw_only=True, tag=True):
    """A detached start: the instance has no parent, and nothing comes back of it."""

    id: int
    workflow: str
    version: str | None = None
    instance: str
    input: msgspec.Raw
    """Payload."""
    tags: dict[str, str] = {}
    refused: Failure | None = None
    """As of `ActivityScheduled`."""


class LockRequested(_Struct, frozen=True, kw_only=True, tag=True):
    """The lock `key` is wanted and, once its event has come, held: until `TaskCancelled`, or the generation's end."""

    id: int
    key: str


class CompensationAdded(_Struct, frozen=True, kw_only=True, tag=True):
    """An activity that undoes something, to be run if the instance is terminated, or fails, before `TaskCancelled`
    says that it is no longer owed."""

    id: int
    call: ActivityScheduled
    """As it would be scheduled; its id does not count."""
    retry: RecordedRetry | None = None
    """Recorded, unlike those of calls: it is for a time when this code runs no more."""


class TaskCancelled(_Struct, frozen=True, kw_only=True, tag=True):
    """The code cancelled the task of `command`, released its lock, or no longer owes its compensation; answers to it no
    longer count."""

    id: int
    command: int


class PatchRecorded(_Struct, frozen=True, kw_only=True, tag=True):
    """The code passed a patch: it goes the new way, and so does every replay of this history. No answer comes."""

    id: int
    patch: str
    deprecated: bool = False
    """No code looks at it any more: a replay passes over it where the code does not ask for it."""


class ExecutionCompleted(_Struct, frozen=True, kw_only=True, tag=True):
    id: int
    result: msgspec.Raw
    """Payload."""


class ExecutionFailed(_Struct, frozen=True, kw_only=True, tag=True):
    id: int
    failure: Failure


class ContinuedAsNew(_Struct, frozen=True, kw_only=True, tag=True):
    id: int
    input: msgspec.Raw
    """Payload."""
    save_events: bool = True


Command: TypeAlias = (
    ActivityScheduled
    | TimerCreated
    | ChildScheduled
    | EventSent
    | WorkflowStarted
    | LockRequested
    | CompensationAdded
    | TaskCancelled
    | PatchRecorded
    | ExecutionCompleted
    | ExecutionFailed
    | ContinuedAsNew
)
