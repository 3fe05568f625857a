"""The JSON documents of the HTTP API, which the gateway and the client that calls it share.

Payloads are carried as they are. What is not there (no output yet, no parent) is left out.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from tenuto.client.instance import Cursor, InstanceStatus
from tenuto.client.queues import QueueKind
from tenuto.core.events import Event, Failure, OptionalRaw
from tenuto.core.status import ReusePolicy, Status
from tenuto.messages import StartMessage
from tenuto.schedules import Overlap

__all__ = [
    "BulkDocument",
    "HistoryPage",
    "InstanceDocument",
    "ListingDocument",
    "PendingDocument",
    "Problem",
    "PurgedDocument",
    "QueueDocument",
    "QueuesDocument",
    "Reason",
    "RerunRequest",
    "RestartRequest",
    "ScheduleChanges",
    "ScheduleRequest",
    "StartRequest",
    "StartedDocument",
    "TalliesDocument",
    "TallyDocument",
    "TerminateRequest",
    "TriggeredDocument",
    "cursor_of",
    "cursor_token",
    "instance_document",
    "instance_status",
]


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class StartRequest(StartMessage, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A start, as on the public queue; `message_id` makes it idempotent."""

    message_id: str | None = None


class StartedDocument(_Struct, frozen=True, kw_only=True):
    """What became of a start: the instance, and by what it can be waited for."""

    instance_id: str
    run: str | None = None
    """The run that was started; left out where the instance that is there may be another."""
    request: str | None = None
    """The request, where it was not waited for."""


class RestartRequest(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a workflow is to be started once more with the same input; `message_id` makes it idempotent."""

    instance_id: str | None = None
    """Of the new instance; by default random."""
    version: str | None = None
    """Of the workflow; by default the latest."""
    reuse: ReusePolicy = ReusePolicy()
    message_id: str | None = None


class RerunRequest(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where a new instance is to go on; `message_id` makes it idempotent."""

    event_id: int
    """The id of an activity, a timer or a child in the history."""
    instance_id: str | None = None
    """Of the new instance; by default random."""
    input: OptionalRaw = None
    """Another input for that activity or child; left out: its own."""
    message_id: str | None = None


class Reason(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an instance is suspended or resumed."""

    reason: str | None = None


class TerminateRequest(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an instance is to end."""

    output: OptionalRaw = None
    reason: str | None = None
    recursive: bool = True
    """Its children too."""


class PendingDocument(_Struct, frozen=True, kw_only=True):
    """A request that is stored, and not dealt with yet."""

    request: str
    """By which it can be waited for."""
    asked_at: datetime
    """When it was stored."""
    purged: int | None = None
    """Of a purge, how many instances it covers."""


class PurgedDocument(_Struct, frozen=True, kw_only=True):
    """How many instances a purge covers."""

    purged: int


class InstanceDocument(_Struct, frozen=True, kw_only=True):
    """An instance as it is; see `InstanceStatus`."""

    instance_id: str
    run: str
    workflow: str
    status: Status
    generation: int
    turn: int
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    input: msgspec.Raw
    version: str | None = None
    reason: str | None = None
    parent: str | None = None
    trace_id: str | None = None
    start_at: datetime | None = None
    ended_at: datetime | None = None
    output: OptionalRaw = None
    custom_status: OptionalRaw = None
    failure: Failure | None = None


class ListingDocument(_Struct, frozen=True, kw_only=True):
    """A page of a listing, newest first."""

    instances: list[InstanceDocument]
    next: str | None = None
    """What `after` takes for the next page; left out on the last."""
    counts: dict[Status, int] | None = None
    """How many fit the filter in all, by status, if that was asked for."""


class HistoryPage(_Struct, frozen=True, kw_only=True):
    """A part of the history of the present generation."""

    generation: int
    events: list[Event]
    next: str | None = None
    """What `after` takes for the next part; left out in the last."""


class QueueDocument(_Struct, frozen=True, kw_only=True):
    """A queue of the engine; see `QueueStatus`. `messages` and `consumers` are left out where it is not there."""

    name: str
    kind: QueueKind
    pool: str | None = None
    activities: list[str] = []
    messages: int | None = None
    consumers: int | None = None


class QueuesDocument(_Struct, frozen=True, kw_only=True):
    """All queues of the engine."""

    queues: list[QueueDocument]


class TallyDocument(_Struct, frozen=True, kw_only=True):
    """How many instances a workflow's version has in a status."""

    workflow: str
    version: str | None = None
    status: Status
    count: int


class TalliesDocument(_Struct, frozen=True, kw_only=True):
    """How many instances fit a filter, by workflow, version and status."""

    tallies: list[TallyDocument]


class BulkDocument(_Struct, frozen=True, kw_only=True):
    """What became of a request to many instances; see `BulkResult`."""

    asked: int
    refused: int
    refusals: list[str]
    next: str | None = None
    """What `after` takes for the next page; left out where all have been asked."""


class _ScheduleFields(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input: OptionalRaw = None
    cron: str | UnsetType = UNSET
    every: float | UnsetType = UNSET
    """Seconds."""
    time_zone: str | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    catch_up: int | UnsetType = UNSET
    jitter: float | UnsetType = UNSET
    """Seconds."""
    version: str | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType = UNSET


class ScheduleChanges(_ScheduleFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change in a schedule; see `ScheduleOptions`. What is left out stays as it is."""

    workflow: str | UnsetType = UNSET


class ScheduleRequest(_ScheduleFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new schedule. One of `cron` and `every` is needed."""

    name: str
    workflow: str
    paused: bool = False


class TriggeredDocument(_Struct, frozen=True, kw_only=True):
    """The run that a schedule was told to start."""

    instance_id: str


class Problem(_Struct, frozen=True, kw_only=True):
    """Why a request was refused (RFC 9457)."""

    title: str
    status: int
    detail: str
    """What happened, to which instance, and what to do."""
    error: str | None = None
    """The name of an exception in `tenuto.errors`."""
    field: str | None = None
    """The field or parameter that is wrong."""


_cursor: Final = msgspec.json.Decoder(tuple[datetime, str])


def cursor_token(cursor: Cursor) -> str:
    """Where a page ended, as `after` takes it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def cursor_of(token: str) -> Cursor:
    """The inverse of `cursor_token`. Raises ValueError: it is none."""
    return _cursor.decode(base64.urlsafe_b64decode(token.encode()))


def instance_document(status: InstanceStatus) -> InstanceDocument:
    """What the API says of an instance."""
    return InstanceDocument(
        instance_id=status.instance_id,
        run=status.run,
        workflow=status.workflow,
        version=status.version,
        status=status.status,
        generation=status.generation,
        turn=status.turn,
        reason=status.reason,
        tags=dict(status.tags),
        parent=status.parent,
        trace_id=status.trace_id,
        start_at=status.start_at,
        created_at=status.created_at,
        updated_at=status.updated_at,
        ended_at=status.ended_at,
        input=msgspec.Raw(status.raw_input),
        output=_raw(status.raw_output),
        custom_status=_raw(status.raw_custom_status),
        failure=status.failure,
    )


def instance_status(document: InstanceDocument) -> InstanceStatus:
    """The inverse of `instance_document`."""
    return InstanceStatus(
        instance_id=document.instance_id,
        run=document.run,
        workflow=document.workflow,
        version=document.version,
        status=document.status,
        generation=document.generation,
        turn=document.turn,
        reason=document.reason,
        tags=document.tags,
        parent=document.parent,
        trace_id=document.trace_id,
        start_at=document.start_at,
        created_at=document.created_at,
        updated_at=document.updated_at,
        ended_at=document.ended_at,
        raw_input=bytes(document.input),
        raw_output=_bytes(document.output),
        raw_custom_status=_bytes(document.custom_status),
        raw_failure=None if document.failure is None else msgspec.json.encode(document.failure),
    )


def _raw(payload: bytes | None) -> msgspec.Raw | None:
    return None if payload is None else msgspec.Raw(payload)


def _bytes(payload: msgspec.Raw | None) -> bytes | None:
    return None if payload is None else bytes(payload)
