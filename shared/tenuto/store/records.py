"""What goes into a store and comes out of it: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from tenuto.core.status import Status
from tenuto.core.turn import TimerKey

__all__ = [
    "Admission",
    "Backlog",
    "Cluster",
    "Deployment",
    "Health",
    "HistoryRow",
    "InboxRow",
    "InstanceDelete",
    "InstanceFilter",
    "InstanceRecord",
    "InstanceUpdate",
    "Member",
    "OutboxRow",
    "PartitionLease",
    "PartitionWrites",
    "Recovery",
    "StoredInstance",
    "Tally",
    "TimerRow",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What all processes of a deployment must agree on; recorded by the first orchestrator."""

    partitions: int
    layout: int = 1
    """Covers the number of partitions, the queue type and every queue argument (rule B3)."""
    queue_type: str = "quorum"
    broker_token: str = ""
    """The name of the marker that a broker which was not wiped holds (rule B1); empty before the first one."""


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `instances`. Payloads are JSON as bytes."""

    id: str
    run: str
    partition: int
    workflow: str
    version: str | None
    status: Status
    generation: int
    turn: int
    """Turns in this run, over all generations: the next history row's number."""
    tasks_pending: int
    """Activities sent and unanswered: what a wipe or a loss could have taken (rule B2)."""
    input: bytes
    output: bytes | None = None
    custom_status: bytes | None = None
    failure: bytes | None = None
    """A `Failure` as JSON."""
    reason: str | None = None
    """Why it is STALLED, SUSPENDED or TERMINATED, in words."""
    tags: Mapping[str, str] = {}
    parent: str | None = None
    """The parent's instance id."""
    trace: Mapping[str, str] = {}
    start_at: datetime | None = None
    """Of a delayed start: its first turn is not earlier."""
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None


class InstanceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn changes in its instance's row, guarded by `(run, expected_turn)` (rule C1). It writes all fields,
    tags and version only if they are set."""

    id: str
    run: str
    expected_turn: int
    turn: int
    generation: int
    status: Status
    tasks_pending: int
    output: bytes | None
    custom_status: bytes | None
    failure: bytes | None
    reason: str | None
    updated_at: datetime
    ended_at: datetime | None
    tags: Mapping[str, str] | None = None
    """All of its tags, where the turn has changed them; None: they stay."""
    version: str | None = None
    """The version that it has taken with the turn; None: it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceDelete:
    """Delete an instance with its history and timers, guarded like an update; precedes the same commit's inserts."""

    id: str
    run: str
    expected_turn: int


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One turn's events (`encode_events`)."""

    instance: str
    turn: int
    generation: int
    events: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerRow:
    instance: str
    run: str
    generation: int
    key: TimerKey
    fire_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """A letter on its way. `id` is chosen by the sender (unique, random), so that inserting twice is inserting once."""

    id: str
    partition: int
    target: str
    body: bytes
    """`encode_letter`."""
    run: str | None = None
    """The run that it is meant for; None: whichever is there."""
    held: bool = False
    """Waits for code that fits its instance (rule O5); not read by `inbox`, but by `recovery`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """All that one commit of one partition must publish. `seq` is the owner's, unique per partition and epoch."""

    partition: int
    epoch: int
    seq: int
    body: bytes


@dataclass(slots=True, kw_only=True)
class PartitionWrites:
    """All that a batch writes for one partition, under one fence. Stored whole, or (fence failed) not at all."""

    partition: int
    epoch: int
    deletes: list[InstanceDelete] = field(default_factory=list)
    inserts: list[InstanceRecord] = field(default_factory=list)
    updates: list[InstanceUpdate] = field(default_factory=list)
    histories_dropped: list[tuple[str, int]] = field(default_factory=list)
    """(instance, generation): delete the history rows of generations below this one (continue-as-new)."""
    turns: list[HistoryRow] = field(default_factory=list)
    timers_cleared: list[TimerRow] = field(default_factory=list)
    """Deleted by (instance, run, generation, key); one that is not there is no error."""
    timers_set: list[TimerRow] = field(default_factory=list)
    inbox_taken: list[str] = field(default_factory=list)
    """Ids of this partition's inbox rows that the batch consumes. One that is not there is a `ConflictError`: this is
    what makes a letter take effect once only."""
    inbox_held: list[str] = field(default_factory=list)
    """Ids to be marked as held."""
    inbox_released: list[str] = field(default_factory=list)
    """Ids of held rows that `inbox` is to give again."""
    inbox_added: list[InboxRow] = field(default_factory=list)
    """Letters to instances on whatever partition."""
    outbox_added: OutboxRow | None = None
    outbox_confirmed: list[tuple[int, int]] = field(default_factory=list)
    """(epoch, seq) of this partition's rows that are confirmed, hence to be deleted; none there is no error."""
    broker_token: str | None = None
    """All that is pending was sent to, and confirmed by, the broker of this token (rule B1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A live orchestrator process."""

    owner: str
    """Unique per process start."""
    workflows: Mapping[str, Sequence[str]]
    """The names that it serves, each with its versions (none: unversioned)."""
    activities: Mapping[str, str]
    """The activity names of its app, with their pools."""
    host: str = ""
    release: str = ""
    schemas: bytes = b""
    """What its app takes and gives (`tenuto.registry`), told once: beats neither write nor read it."""
    event_format: int = 1
    """The level of the event format that it reads (rule U1); 1 is the first release's, which did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLease:
    partition: int
    owner: str | None
    epoch: int
    remaining: float
    """Seconds until the lease runs out by the database's clock; zero or less: free to claim."""
    broker_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What `beat` saw."""

    now: datetime
    """The database's clock (rule T1)."""
    members: Sequence[Member]
    """Those that beat within the time to live, the caller among them, sorted by owner."""
    partitions: Sequence[PartitionLease]
    broker_token: str
    """The deployment's present token (rule B1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a new owner must know of a partition; read after its claim has committed (rule O2)."""

    outbox: Sequence[OutboxRow]
    inbox: Sequence[InboxRow]
    """In order of arrival, held rows included; as many as asked for."""
    timers: Sequence[TimerRow]
    """The earliest ones, in order."""
    broker_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    record: InstanceRecord
    turns: Sequence[bytes]
    """The present generation's history rows, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What comes from outside: its letter and, where the message had one, the message id (rules I3, N2)."""

    row: InboxRow
    message_id: str | None
    duplicate: InboxRow | None = None
    """Delivered instead of `row` if the message id was seen before: asks for the outcome to be published again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Which instances; fields that are set must all hold. Ordered by `created_at` then `id`, newest first."""

    statuses: frozenset[Status] = frozenset()
    workflow: str | None = None
    version: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    id_prefix: str | None = None
    parent: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ended_before: datetime | None = None
    builtin: bool = False
    """Whether those of the built-in workflows (locks, schedules) are among them, where `workflow` does not name one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many instances a workflow's version has in a status."""

    workflow: str
    version: str | None
    status: Status
    count: int

    @property
    def place(self) -> tuple[str, str, Status]:
        """By what tallies are ordered."""
        return self.workflow, self.version or "", self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in one place."""

    count: int = 0
    oldest: datetime | None = None
    """Since when the one waits that has waited longest."""
    examples: Sequence[str] = ()
    """Some of those whose it is, who have waited longest: ids of instances or, in the outbox, partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What waits in the database, and who should be at work on it."""

    now: datetime
    """The database's clock, by which all ages are told."""
    broker_token: str
    """The deployment's present token (rule B1)."""
    leases: Sequence[PartitionLease]
    live: Mapping[Status, int]
    """How many instances have each of the statuses of the living."""
    pending: Backlog
    """Instances that are PENDING though their time to start has come, since they were made."""
    stalled: Backlog
    """Instances that are STALLED, since their last turn."""
    unanswered: Backlog
    """Instances with activities that are out, since their last turn."""
    timers: Backlog
    """Timers that are due and not cleared, since they were due."""
    inbox: Backlog
    """Letters that are not held, since they were inserted."""
    held: Backlog
    """Letters that are held (rule O5), since they were inserted."""
    outbox: Backlog
    """Outbox rows, since they were inserted."""
