"""A history outside of its instance: put together from its rows, or as a document that can be kept and replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from tenuto.core.documents import read_document
from tenuto.core.events import Event, ExecutionStarted, decode_events
from tenuto.core.execution import Resolver, replay
from tenuto.core.status import Status

__all__ = ["HistoryDocument", "decode_document", "encode_document", "read_history", "replay_document"]


class HistoryDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The history of an instance's present generation, with what a replay must know besides. JSON outside."""

    instance: str
    run: str
    workflow: str
    version: str | None = None
    status: Status
    events: list[Event]


def read_history(rows: Iterable[bytes]) -> list[Event]:
    """The events of one generation, from its rows in order.

    Raises:
        msgspec.DecodeError: a row cannot be read by this release, or the beginning is missing.
    """
    return _checked([event for row in rows for event in decode_events(row)])


def encode_document(document: HistoryDocument) -> bytes:
    """A history as JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def decode_document(body: bytes) -> HistoryDocument:
    """The inverse of `encode_document`.

    Raises:
        msgspec.DecodeError: it is no history of this release.
    """
    document = read_document(_decoder, body)
    _checked(document.events)
    return document


def replay_document(resolve: Resolver, document: HistoryDocument) -> None:
    """See whether code fits a history: returns if it does.

    Raises:
        NonDeterminismError: it does not; the message shows both side by side.
        UnknownWorkflowError: there is no such workflow, or not in that version.
        WorkflowCodeError: it does what no workflow may do.
        StalledError: the history makes no sense.
    """
    execution = replay(resolve, document.instance, document.run, document.events)
    execution.abandon()
    if execution.stalled is not None:
        raise execution.stalled


def _checked(events: list[Event]) -> list[Event]:
    if not events or not isinstance(events[0], ExecutionStarted):
        raise msgspec.DecodeError("the history does not begin with the start of an execution")
    return events


_decoder: Final = msgspec.json.Decoder(HistoryDocument)
