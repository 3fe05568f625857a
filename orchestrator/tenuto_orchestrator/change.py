"""What a batch does to one instance, collected before anything is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

import msgspec

from tenuto.core.documents import read_document
from tenuto.core.events import ReplyTo
from tenuto.core.letters import Letter, Request
from tenuto.core.status import Status
from tenuto.messages import ActivityTask, NoticeEntry
from tenuto.store.protocol import (
    HistoryRow,
    InboxRow,
    InstanceDelete,
    InstanceRecord,
    InstanceUpdate,
    OutboxRow,
    PartitionWrites,
    TimerRow,
)
from tenuto_orchestrator.partition import Partition, timer_id
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.spans import View
from tenuto_orchestrator.work import Item

__all__ = [
    "REASON_HEADER",
    "Change",
    "Envelope",
    "Outgoings",
    "Part",
    "Post",
    "dead_letter",
    "decode_outgoings",
    "encode_outgoings",
    "merge",
]

REASON_HEADER = "x-tenuto-reason"
"""Why a message is a dead letter."""
_LONGEST_REASON = 1000

Envelope: TypeAlias = Callable[[str, Letter, str | None], InboxRow]
"""(target, letter, run) -> an inbox row with a fresh id."""


class Post(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message to publish that is not an activity task: a reply or a dead letter."""

    queue: str
    body: bytes
    mandatory: bool = False
    correlation_id: str | None = None
    headers: dict[str, str] = {}


def dead_letter(queue: str, body: bytes, reason: str) -> Post:
    """A message on its way to the dead letters, with the reason in a header, as far as a header may be long."""
    printable = reason.encode("ascii", "backslashreplace").decode()[:_LONGEST_REASON]
    return Post(queue=queue, body=body, mandatory=True, headers={REASON_HEADER: printable})


class Outgoings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an outbox row: everything that one commit of one partition must bring about (rule C4)."""

    tasks: list[tuple[str, ActivityTask]] = []
    """(pool, task)."""
    posts: list[Post] = []
    local: list[ActivityTask] = []
    """Not published, but executed by the owner itself; the row stays until all are answered and that is committed."""


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Outgoings] = msgspec.json.Decoder(Outgoings)


def encode_outgoings(outgoings: Outgoings) -> bytes:
    return _encoder.encode(outgoings)


def decode_outgoings(body: bytes) -> Outgoings:
    """Raises msgspec.DecodeError on what is no outbox row of this release."""
    return read_document(_decoder, body)


@dataclass(slots=True, eq=False, kw_only=True)
class Change:
    """One instance's part of a batch. Committed whole or not at all."""

    partition: Partition
    instance: str
    items: Sequence[Item]
    resident: Resident | None
    """As loaded; as it will be, once `settle` is called after the commit, if there is a new `record`."""

    delete: InstanceDelete | None = None
    insert: InstanceRecord | None = None
    update: InstanceUpdate | None = None
    drop_below: int | None = None
    turns: list[HistoryRow] = field(default_factory=list)
    timers_cleared: list[TimerRow] = field(default_factory=list)
    timers_set: list[TimerRow] = field(default_factory=list)
    taken: list[InboxRow] = field(default_factory=list)
    held: list[InboxRow] = field(default_factory=list)
    still_held: list[InboxRow] = field(default_factory=list)
    """Held before, and tried in vain."""
    dropped: list[str] = field(default_factory=list)
    """Ids of held rows that go with their instance."""
    released: list[str] = field(default_factory=list)
    """Ids of held rows that may be read again: the instance that they waited for is there."""
    kept: list[tuple[InboxRow, datetime]] = field(default_factory=list)
    """Those of the held rows that wait for the instance to be started, and until when."""
    expired: list[str] = field(default_factory=list)
    """Ids of rows that have waited for it long enough."""
    overtook: list[InboxRow] = field(default_factory=list)
    """Left in the inbox, to be read from there in their order."""
    letters: list[InboxRow] = field(default_factory=list)
    tasks: list[tuple[str, ActivityTask]] = field(default_factory=list)
    local: list[ActivityTask] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    notices: list[tuple[str, NoticeEntry]] = field(default_factory=list)
    watchers: list[str] = field(default_factory=list)
    deferred: list[Item] = field(default_factory=list)
    """Left for the next batch: what must see the outcome of this one."""
    status_before: Status | None = None
    """The status of this very run before the batch; None: it did not exist."""
    record: InstanceRecord | None = None
    """The instance's row as this change leaves it; None: as it was."""
    stalled: bool = False
    reason: str = ""
    """Why it is stalled."""
    cause: str = ""
    """The name of the error that stands in the way; empty: the one that is known."""
    traced: View | None = None
    """What spans are made of it once it is committed, if any."""
    gone: bool = False
    """The instance is purged."""

    def take(self, item: Item) -> None:
        """The item is used up by this commit."""
        if item.row is not None:
            self.taken.append(item.row)
        if item.timer is not None:
            self.timers_cleared.append(item.timer)

    def hold(self, row: InboxRow) -> None:
        """Leave a row in the inbox until the instance ends, or somebody else owns the partition."""
        (self.still_held if row.held else self.held).append(row)

    def answer(self, request: Request | None, error: str | None = None) -> None:
        """Tell whoever asked that the request has been dealt with."""
        if request is not None:
            entry = NoticeEntry(instance=self.instance, request=request.id, error=error)
            self.notices.append((request.queue, entry))

    def reply(self, to: ReplyTo, body: bytes) -> None:
        """Answer the message that started the instance, through the outbox. Nobody may be listening (rule C4)."""
        self.posts.append(Post(queue=to.queue, body=body, correlation_id=to.correlation_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One partition's part of a batch."""

    partition: Partition
    writes: PartitionWrites
    outgoings: Outgoings


def merge(
    partition: Partition,
    changes: Iterable[Change],
    *,
    posts: Iterable[Post] = (),
    unreadable: Iterable[str] = (),
    token: str | None = None,
) -> Part:
    """One partition's part of a batch as the store takes it. It carries away the outbox rows that are confirmed."""
    writes = PartitionWrites(
        partition=partition.number, epoch=partition.epoch, broker_token=token, inbox_held=list(unreadable)
    )
    outgoings = Outgoings(tasks=[], posts=list(posts), local=[])
    for change in changes:
        if change.delete is not None:
            writes.deletes.append(change.delete)
        if change.insert is not None:
            writes.inserts.append(change.insert)
        if change.update is not None:
            writes.updates.append(change.update)
        if change.drop_below is not None:
            writes.histories_dropped.append((change.instance, change.drop_below))
        writes.turns += change.turns
        writes.timers_cleared += change.timers_cleared
        # A hold may be set twice, if its time and a beat come together; one statement must not touch a row twice.
        writes.timers_set += {timer_id(row): row for row in change.timers_set}.values()
        writes.inbox_taken += [row.id for row in change.taken] + change.dropped + change.expired
        writes.inbox_released += change.released
        writes.inbox_held += [row.id for row in change.held]
        writes.inbox_added += change.letters
        outgoings.tasks.extend(change.tasks)
        outgoings.posts.extend(change.posts)
        outgoings.local.extend(change.local)
    if outgoings.tasks or outgoings.posts or outgoings.local:
        writes.outbox_added = OutboxRow(
            partition=partition.number,
            epoch=partition.epoch,
            seq=partition.next_seq(),
            body=encode_outgoings(outgoings),
        )
    writes.outbox_confirmed, partition.confirmed = partition.confirmed, []
    return Part(partition=partition, writes=writes, outgoings=outgoings)
