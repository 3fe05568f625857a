"""Rows of the tables as values of the protocol, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tenuto.core.documents import read_document
from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tenuto.store.protocol import (
    InboxRow,
    InstanceRecord,
    Member,
    OutboxRow,
    TimerRow,
)

__all__ = [
    "INBOX_COLUMNS",
    "INSTANCE_COLUMNS",
    "TIMER_COLUMNS",
    "decode_member",
    "encode_member",
    "encode_strings",
    "inbox_row",
    "inbox_values",
    "instance_record",
    "instance_values",
    "outbox_row",
    "tag_digest",
    "timer_row",
    "timer_values",
]

INSTANCE_COLUMNS = (
    "id",
    "run",
    "partition",
    "workflow",
    "version",
    "status",
    "generation",
    "turn",
    "tasks_pending",
    "input",
    "output",
    "custom_status",
    "failure",
    "reason",
    "tags",
    "parent",
    "trace",
    "start_at",
    "created_at",
    "updated_at",
    "ended_at",
)
TIMER_COLUMNS = ("instance", "run", "generation", "command", "attempt", "partition", "fire_at")
INBOX_COLUMNS = ("id", "partition", "target", "run", "held", "body")


class _MemberDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a member says of itself; readers of other releases ignore what they do not know."""

    workflows: dict[str, list[str]]
    activities: dict[str, str]
    host: str = ""
    release: str = ""
    event_format: int = 1


_member_decoder = msgspec.json.Decoder(_MemberDocument)
_strings_decoder = msgspec.json.Decoder(dict[str, str])


def encode_member(member: Member) -> bytes:
    return msgspec.json.encode(
        _MemberDocument(
            workflows={name: list(versions) for name, versions in member.workflows.items()},
            activities=dict(member.activities),
            host=member.host,
            release=member.release,
            event_format=member.event_format,
        )
    )


def decode_member(owner: str, document: bytes) -> Member:
    try:
        read = read_document(_member_decoder, document)
    except msgspec.DecodeError:
        # It lives, whatever it says of itself; one that nobody understands must not end those who read it.
        return Member(owner=owner, workflows={}, activities={})
    return Member(
        owner=owner,
        workflows=read.workflows,
        activities=read.activities,
        host=read.host,
        release=read.release,
        event_format=read.event_format,
    )


def tag_digest(name: str, value: str) -> bytes:
    """What the index knows of a tag: 16 bytes, whatever its length. A collision takes 2^64 tags."""
    return hashlib.sha256(msgspec.json.encode((name, value))).digest()[:16]


def instance_values(record: InstanceRecord) -> tuple[Any, ...]:
    """In the order of `INSTANCE_COLUMNS`."""
    return (
        record.id,
        record.run,
        record.partition,
        record.workflow,
        record.version,
        record.status.value,
        record.generation,
        record.turn,
        record.tasks_pending,
        record.input,
        record.output,
        record.custom_status,
        record.failure,
        record.reason,
        encode_strings(record.tags),
        record.parent,
        encode_strings(record.trace),
        record.start_at,
        record.created_at,
        record.updated_at,
        record.ended_at,
    )


def instance_record(row: Sequence[Any]) -> InstanceRecord:
    """From a row of `INSTANCE_COLUMNS`; what follows them is left alone."""
    return InstanceRecord(
        id=row[0],
        run=row[1],
        partition=row[2],
        workflow=row[3],
        version=row[4],
        status=_status(row[5]),
        generation=row[6],
        turn=row[7],
        tasks_pending=row[8],
        input=row[9],
        output=row[10],
        custom_status=row[11],
        failure=row[12],
        reason=row[13],
        tags=_decode_strings(row[14]),
        parent=row[15],
        trace=_decode_strings(row[16]),
        start_at=row[17],
        created_at=row[18],
        updated_at=row[19],
        ended_at=row[20],
    )


def timer_values(timer: TimerRow, partition: int) -> tuple[Any, ...]:
    """In the order of `TIMER_COLUMNS`."""
    key = timer.key
    return (timer.instance, timer.run, timer.generation, key.command, key.attempt, partition, timer.fire_at)


def timer_row(row: Sequence[Any]) -> TimerRow:
    """From a row of `TIMER_COLUMNS`."""
    return TimerRow(
        instance=row[0],
        run=row[1],
        generation=row[2],
        key=TimerKey(command=row[3], attempt=row[4]),
        fire_at=row[6],
    )


def inbox_values(letter: InboxRow) -> tuple[Any, ...]:
    """In the order of `INBOX_COLUMNS`."""
    return (letter.id, letter.partition, letter.target, letter.run, letter.held, letter.body)


def inbox_row(row: Sequence[Any]) -> InboxRow:
    """From a row of `INBOX_COLUMNS`."""
    return InboxRow(id=row[0], partition=row[1], target=row[2], run=row[3], held=row[4], body=row[5])


def outbox_row(row: Sequence[Any]) -> OutboxRow:
    """From a row of `(partition, epoch, seq, body)`."""
    return OutboxRow(partition=row[0], epoch=row[1], seq=row[2], body=row[3])


def encode_strings(strings: Mapping[str, str]) -> bytes | None:
    """Tags or a trace as they are stored; None: there are none."""
    return msgspec.json.encode(dict(strings)) if strings else None


def _decode_strings(body: bytes | None) -> Mapping[str, str]:
    """Labels only: where they cannot be read, the instance goes on without them."""
    if body is None:
        return {}
    try:
        strings = read_document(_strings_decoder, body)
    except msgspec.DecodeError:
        return {}
    return strings


def _status(text: str) -> Status:
    """A status that this release does not know is one that no code at hand can go on from."""
    try:
        return Status(text)
    except ValueError:
        return Status.STALLED
