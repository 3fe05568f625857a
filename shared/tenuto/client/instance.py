"""What a client sees of an instance."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from tenuto.core.events import Failure
from tenuto.core.status import Status
from tenuto.errors import PayloadSealedError
from tenuto.payloads import decode
from tenuto.sealing import Sealer, reference
from tenuto.store.protocol import InstanceRecord
from tenuto.tracing import trace_id

__all__ = ["Cursor", "InstanceStatus", "Page", "opened", "status_of", "stored_apart"]

Cursor: TypeAlias = tuple[datetime, str]
"""Where a page of a listing ended: the last instance's time of creation and id."""

_NO_OBJECTS: Mapping[str, bytes] = MappingProxyType({})
_PAYLOADS = ("raw_input", "raw_output", "raw_custom_status")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """An instance as it was when the client looked. Times are aware and in UTC."""

    instance_id: str
    run: str
    """Random; a new one with each start of the id."""
    workflow: str
    version: str | None
    status: Status
    generation: int
    """How often it has continued as new."""
    turn: int
    """Turns that it has taken, over all generations."""
    reason: str | None
    """Why it is STALLED, SUSPENDED or TERMINATED, in words."""
    tags: Mapping[str, str]
    parent: str | None
    """The parent's instance id, of a child workflow."""
    trace_id: str | None
    """The W3C id, in hexadecimal, of the trace that its present generation belongs to, if there is one."""
    start_at: datetime | None
    """When it is to begin, of a delayed start."""
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    raw_input: bytes = field(repr=False)
    raw_output: bytes | None = field(repr=False)
    raw_custom_status: bytes | None = field(repr=False)
    raw_failure: bytes | None = field(repr=False)

    @property
    def revision(self) -> str:
        """Another one whenever the instance has changed: what `WorkflowHandle.changed` takes."""
        return f"{self.run}.{self.turn}.{self.status}.{self.updated_at.timestamp()}"

    @property
    def input(self) -> Any:
        """What it was started with, as plain JSON values."""
        return decode(self.raw_input)

    @property
    def output(self) -> Any:
        """What it returned, as plain JSON values; None also where there is no output (yet). `handle.result()` converts
        it to the type that the workflow returns."""
        return None if self.raw_output is None else decode(self.raw_output)

    @property
    def custom_status(self) -> Any:
        """What the workflow has set last, as plain JSON values; None also where it has set none."""
        return None if self.raw_custom_status is None else decode(self.raw_custom_status)

    @property
    def failure(self) -> Failure | None:
        """How it failed."""
        return None if self.raw_failure is None else msgspec.json.decode(self.raw_failure, type=Failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a listing, newest first."""

    instances: Sequence[InstanceStatus]
    next: Cursor | None
    """What `list_page(after=…)` takes for the next part; None: this was the last."""


def status_of(record: InstanceRecord) -> InstanceStatus:
    return InstanceStatus(
        instance_id=record.id,
        run=record.run,
        workflow=record.workflow,
        version=record.version,
        status=record.status,
        generation=record.generation,
        turn=record.turn,
        reason=record.reason,
        tags=record.tags,
        parent=record.parent,
        trace_id=trace_id(record.trace, record.run, record.generation),
        start_at=record.start_at,
        created_at=record.created_at,
        updated_at=record.updated_at,
        ended_at=record.ended_at,
        raw_input=record.input,
        raw_output=record.output,
        raw_custom_status=record.custom_status,
        raw_failure=record.failure,
    )


def stored_apart(status: InstanceStatus) -> list[str]:
    """The keys of its payloads that are stored apart."""
    payloads = [getattr(status, name) for name in _PAYLOADS]
    return [key for payload in payloads if payload is not None and (key := reference(payload)) is not None]


def opened(
    status: InstanceStatus, sealer: Sealer, objects: Mapping[str, bytes] = _NO_OBJECTS
) -> InstanceStatus:
    """What a client may see of it: every payload that it has the codecs, the keys and the objects for is plain, and the
    rest stays sealed, so that one that cannot be read does not keep the others from being listed."""
    changed: dict[str, bytes | None] = {}
    for name in _PAYLOADS:
        payload = getattr(status, name)
        with contextlib.suppress(PayloadSealedError):
            plain = sealer.open_bytes(payload, status.instance_id, objects)
            if plain is not payload:
                changed[name] = plain
    failure = status.failure
    if failure is not None and failure.sealed is not None:
        with contextlib.suppress(PayloadSealedError):
            changed["raw_failure"] = msgspec.json.encode(sealer.open_failure(failure, status.instance_id))
    return replace(status, **changed) if changed else status  # type: ignore[arg-type]  # all four are bytes
