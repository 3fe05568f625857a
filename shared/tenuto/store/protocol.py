"""The store: what the engine asks of a database, in few verbs. Each names its guarantee and its errors.

Who may call what (the rule numbers are those of the protocol, `docs/protocol.md`):

* the owner of partitions, and only it: `commit`, `recovery`, `inbox`, `timers`, `ended` (rule C7);
* any orchestrator: `beat`, `claim`, `release`, `admit`, `exclusive`, `deployment`, `set_broker_token`;
* anyone, clients too: `deliver`, `waiting`, `instances`, `find`, `tally`, `history`, `members`, `health`.

Errors, in every verb: `StoreUnavailableError` (unreachable, or the connection broke: the outcome of a write is then
unknown), `SchemaError` (run `tenuto db upgrade`). `commit`, `admit` and `deliver` raise `DataRefusedError` where the
database definitely refuses this very data (rule C6), and `commit` raises `ConflictError` where a guarded row is not as
the writer thought (rule C1); after either, nothing of the transaction is stored.

Times are aware datetimes in UTC. Leases are reckoned by the database's clock only (rule O1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from tenuto.core.status import Status
from tenuto.store.records import (
    Admission,
    Backlog,
    Cluster,
    Deployment,
    Health,
    HistoryRow,
    InboxRow,
    InstanceDelete,
    InstanceFilter,
    InstanceRecord,
    InstanceUpdate,
    Member,
    OutboxRow,
    PartitionLease,
    PartitionWrites,
    Recovery,
    StoredInstance,
    Tally,
    TimerRow,
)

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
    "Store",
    "StoredInstance",
    "Tally",
    "TimerRow",
]


@runtime_checkable
class Store(Protocol):
    """A database of the engine's. Opened once, used from one event loop, closed once; both tolerate repeats."""

    async def open(self) -> None:
        """Connect and check the schema. Raises `SchemaError` where it is not this program's."""

    async def close(self) -> None:
        """Release every connection."""

    async def upgrade(self) -> None:
        """Create or migrate the schema to this program's. Safe to run from several processes at once."""

    # Deployment and ownership ------------------------------------------------------------------------

    async def deployment(self, wanted: Deployment | None = None) -> Deployment | None:
        """The recorded deployment; recorded as `wanted`, with its partitions' rows, if there is none yet. With
        `wanted` None only looks. The caller compares."""
        ...

    async def beat(self, member: Member, *, lease: timedelta, ttl: timedelta) -> Cluster:
        """Record that `member` lives, renew the leases that it holds (those that have run out too, so long as nobody
        took them), forget members silent for longer than `ttl`, and report. One transaction, few statements."""
        ...

    async def claim(self, owner: str, partitions: Sequence[int], *, lease: timedelta) -> Mapping[int, int]:
        """Take those of `partitions` that are free, run out, or the caller's already; each gets its next epoch. Returns
        the epochs of what was taken (rule O1: the epoch rises at every acquisition, also by the same process)."""
        ...

    async def release(self, owner: str, partitions: Sequence[int]) -> None:
        """Let go of those that `owner` still holds; others may claim them at once."""

    async def leave(self, owner: str) -> None:
        """Release everything and forget the member."""

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        """A lock over the whole deployment, held until the block ends or the process dies (rule B1)."""
        ...

    async def set_broker_token(self, token: str) -> None:
        """Record the deployment's token; the partitions keep theirs until their owners have sent everything again."""

    # For the owner of a partition ---------------------------------------------------------------------

    async def recovery(self, partition: int, *, inbox: int, timers: int) -> Recovery:
        """The partition's outbox, and at most so many inbox rows and timers, earliest first (rule O2)."""
        ...

    async def inbox(self, partitions: Sequence[int], *, limit: int) -> Sequence[InboxRow]:
        """Rows that are not held, in order of arrival, at most `limit` in all."""
        ...

    async def timers(
        self, partitions: Sequence[int], *, until: datetime, limit: int, since: datetime | None = None
    ) -> Sequence[TimerRow]:
        """Timers due from `since` (if given) to `until`, both included, earliest first, at most `limit` in all."""
        ...

    async def load(self, ids: Sequence[str]) -> Mapping[str, StoredInstance]:
        """Records and present histories of those that exist. One statement for all records, one for all histories."""
        ...

    async def pending(
        self, partition: int, *, idle_since: datetime | None, limit: int, after: str | None = None
    ) -> Sequence[str]:
        """Ids of instances with `tasks_pending > 0` (rule B2), those not updated since `idle_since` where given; in the
        order of the ids, beginning behind `after`."""
        ...

    async def ended(
        self, partitions: Sequence[int], status: Status, *, before: datetime, limit: int
    ) -> Sequence[tuple[str, str, int]]:
        """(id, run, turn) of instances that ended with this status before then, at most `limit`, the oldest first."""
        ...

    async def commit(self, writes: Sequence[PartitionWrites], *, lease: timedelta) -> frozenset[int]:
        """Store a batch in one transaction (rule C1).

        First locks the partitions' rows in partition order and compares epochs; those that match have their lease
        renewed and all their writes stored, the others' writes are dropped. Returns the partitions that were dropped.
        Inserts of `inbox_added` are insert-or-ignore by id.

        Raises:
            ConflictError: an update's or delete's `(run, expected_turn)` does not match, an insert's id exists, or an
                inbox row to be taken is not there. Nothing is stored.
            DataRefusedError: the database refuses a value. Nothing is stored.
            StoreUnavailableError: anything else; whether it is stored is unknown (rule C3).
        """
        ...

    # For outsiders ---------------------------------------------------------------------------------------

    async def deliver(self, rows: Sequence[InboxRow], *, connection: Any = None) -> None:
        """Insert letters, or ignore those whose id is there. With `connection`, a user's own SQLAlchemy connection or
        session on the same database (sync or async), in the user's transaction and without committing it (rule I2)."""

    async def admit(self, admissions: Sequence[Admission]) -> Sequence[bool]:
        """In one transaction: insert `(instance, message id)` into `seen`, and for those not there before their letter,
        for the others `duplicate`. True for each that was new (rule I3)."""
        ...

    async def forget_seen(self, *, before: datetime) -> int:
        """Delete some of what `seen` holds from before then, so many as one short transaction can; returns how many
        rows. Zero: there is nothing left to delete."""
        ...

    async def waiting(self, row_ids: Sequence[str]) -> frozenset[str]:
        """Those of these inbox rows that are still there, hence not yet dealt with."""
        ...

    async def instances(self, ids: Sequence[str]) -> Mapping[str, InstanceRecord]:
        """The records of those that exist."""
        ...

    async def find(
        self, where: InstanceFilter, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> Sequence[InstanceRecord]:
        """A page of records, newest first. `after`: `(created_at, id)` of the last one seen (keyset pagination)."""
        ...

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        """How many instances fit the filter, by workflow, version and status, in that order; none are left out."""
        ...

    async def history(self, instance: str) -> Sequence[bytes]:
        """The present generation's history rows, in order; empty where there is no such instance."""
        ...

    async def members(self, *, ttl: timedelta) -> Sequence[Member]:
        """The live orchestrators, with what they serve."""
        ...

    async def health(self, *, examples: int = 5) -> Health:
        """What waits, and since when, each with at most so many examples. It reads by index, and changes nothing; what
        it tells of one place may be a moment older than of another.

        Raises:
            StoreError: there is no deployment yet.
        """
        ...
