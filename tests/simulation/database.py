"""A database in memory: the tables, and each verb of the store as one atomic step.

Every verb here runs between two steps of the event loop, so transactions are serial, as they are where a batch locks its
partitions' rows first. What can go wrong on the way to the database and back is in `store.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from tenuto.core.reserved import is_reserved
from tenuto.core.status import Status
from tenuto.errors import ConflictError, DataRefusedError, StoreError
from tenuto.store.protocol import (
    Admission,
    Cluster,
    Deployment,
    HistoryRow,
    InboxRow,
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
from tests.simulation.program import POISON

__all__ = ["Database", "Lease"]

TimerKey = tuple[str, str, int, int, int]

_POISON = POISON.encode()
_LARGEST = 2**63 - 1


@dataclass(slots=True)
class Lease:
    """A row of `partitions`."""

    partition: int
    owner: str | None = None
    epoch: int = 0
    until: datetime | None = None
    broker_token: str = ""

    def free(self, now: datetime) -> bool:
        return self.owner is None or self.until is None or self.until <= now

    def remaining(self, now: datetime) -> float:
        return 0.0 if self.until is None else (self.until - now).total_seconds()

    def let_go(self) -> None:
        self.owner, self.until = None, None


@dataclass(slots=True, kw_only=True)
class Database:
    """The tables. `now` is the database's clock."""

    now: Callable[[], datetime]
    on_commit: Callable[[PartitionWrites], None] = lambda _: None
    """Told of all that was stored for a partition."""
    recorded: Deployment | None = None
    leases: dict[int, Lease] = field(default_factory=dict)
    alive: dict[str, tuple[datetime, Member]] = field(default_factory=dict)
    beats: Counter[str] = field(default_factory=Counter)
    joined: dict[str, Counter[str]] = field(default_factory=dict)
    """The beats of the others when a member came."""
    records: dict[str, InstanceRecord] = field(default_factory=dict)
    histories: dict[str, dict[int, HistoryRow]] = field(default_factory=dict)
    due: dict[TimerKey, tuple[int, TimerRow]] = field(default_factory=dict)
    letters: dict[str, InboxRow] = field(default_factory=dict)
    """In order of arrival."""
    outboxes: dict[tuple[int, int, int], OutboxRow] = field(default_factory=dict)
    inserted: dict[str | tuple[int, int, int], datetime] = field(default_factory=dict)
    """When each letter and outbox row came to be."""
    seen: dict[tuple[str, str], datetime] = field(default_factory=dict)

    # Ownership -------------------------------------------------------------------------------------------------

    def deployment(self, wanted: Deployment | None) -> Deployment | None:
        if self.recorded is None and wanted is not None:
            self.recorded = wanted
            self.leases = {number: Lease(number) for number in range(wanted.partitions)}
        return self.recorded

    def set_broker_token(self, token: str) -> None:
        if self.recorded is None:
            raise StoreError("there is no deployment yet; start an orchestrator first")
        self.recorded = replace(self.recorded, broker_token=token)

    def beat(self, member: Member, lease: timedelta, ttl: timedelta) -> Cluster:
        now = self.now()
        if member.owner not in self.alive:
            self.joined[member.owner] = self.beats.copy()
        self.beats[member.owner] += 1
        self.alive[member.owner] = (now, member)
        self.alive = {o: m for o, m in self.alive.items() if m[0] >= now - ttl or o == member.owner}
        for row in self.leases.values():
            if row.owner == member.owner:
                row.until = now + lease
        members = self.members(ttl) if ttl else [member]
        partitions = [
            PartitionLease(
                partition=row.partition,
                owner=row.owner,
                epoch=row.epoch,
                remaining=row.remaining(now),
                broker_token=row.broker_token,
            )
            for row in self.leases.values()
        ]
        token = "" if self.recorded is None else self.recorded.broker_token
        return Cluster(now=now, members=members, partitions=partitions, broker_token=token)

    def members(self, ttl: timedelta) -> list[Member]:
        since = self.now() - ttl
        return [m for owner, (at, m) in sorted(self.alive.items()) if at >= since and (ttl or at > since)]

    def claim(self, owner: str, partitions: Sequence[int], lease: timedelta) -> dict[int, int]:
        now = self.now()
        taken = {}
        for number in sorted(set(partitions)):
            row = self.leases.get(number)
            if row is not None and (row.owner == owner or row.free(now)):
                row.owner, row.until = owner, now + lease
                row.epoch += 1  # rule O1
                taken[number] = row.epoch
        return taken

    def release(self, owner: str, partitions: Sequence[int]) -> None:
        for number in partitions:
            row = self.leases.get(number)
            if row is not None and row.owner == owner:
                row.let_go()

    def leave(self, owner: str) -> None:
        self.release(owner, list(self.leases))
        self.alive.pop(owner, None)

    # The owner's reading ---------------------------------------------------------------------------------------

    def recovery(self, partition: int, inbox: int, timers: int) -> Recovery:
        if partition not in self.leases:
            raise StoreError(f"there is no partition {partition}")
        return Recovery(
            outbox=[row for _, row in sorted(self.outboxes.items()) if row.partition == partition],
            inbox=[row for row in self.letters.values() if row.partition == partition][:inbox],
            timers=self._timers({partition}, None)[:timers],
            broker_token=self.leases[partition].broker_token,
        )

    def inbox(self, partitions: Sequence[int], limit: int) -> list[InboxRow]:
        return [r for r in self.letters.values() if r.partition in partitions and not r.held][:limit]

    def timers(
        self, partitions: Sequence[int], until: datetime, limit: int, since: datetime | None = None
    ) -> list[TimerRow]:
        found = self._timers(set(partitions), until)
        return [row for row in found if since is None or row.fire_at >= since][:limit]

    def _timers(self, partitions: set[int], until: datetime | None) -> list[TimerRow]:
        found = [
            row for p, row in self.due.values() if p in partitions and (until is None or row.fire_at <= until)
        ]
        return sorted(found, key=lambda row: (row.fire_at, row.instance, row.key.command, row.key.attempt))

    def load(self, ids: Sequence[str]) -> dict[str, StoredInstance]:
        return {
            id_: StoredInstance(record=self.records[id_], turns=self.history(id_))
            for id_ in ids
            if id_ in self.records
        }

    def pending(
        self, partition: int, idle_since: datetime | None, limit: int, after: str | None = None
    ) -> list[str]:
        found = [
            record
            for record in self.records.values()
            if record.partition == partition
            and record.tasks_pending > 0
            and (idle_since is None or record.updated_at <= idle_since)
            and (after is None or record.id > after)
        ]
        return sorted(record.id for record in found)[:limit]

    def ended(
        self, partitions: Sequence[int], status: Status, before: datetime, limit: int
    ) -> list[tuple[str, str, int]]:
        where = InstanceFilter(statuses=frozenset({status}), ended_before=before, builtin=True)
        found = [r for r in self.records.values() if r.partition in partitions and _fits(r, where)]
        found.sort(key=lambda record: (record.created_at, record.id))
        return [(record.id, record.run, record.turn) for record in found][:limit]

    # The owner's commit ------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[PartitionWrites], lease: timedelta) -> frozenset[int]:
        until = self.now() + lease
        held = [writes for writes in batch if self._holds(writes)]
        dropped = {writes.partition for writes in batch} - {writes.partition for writes in held}
        self._check(held)
        for writes in held:
            self.leases[writes.partition].until = until
            self._delete(writes)
        for writes in held:
            self._store(writes)
        for writes in held:
            self.on_commit(writes)
        return frozenset(dropped)

    def _holds(self, writes: PartitionWrites) -> bool:
        """The fence (rule C1)."""
        row = self.leases.get(writes.partition)
        return row is not None and row.epoch == writes.epoch

    def _check(self, batch: Sequence[PartitionWrites]) -> None:
        """Raises before anything is changed."""
        going = {one.id for writes in batch for one in writes.deletes}
        for writes in batch:
            _refuse_large(one.tasks_pending for one in (*writes.inserts, *writes.updates))
            self._check_instances(writes, going)
            self._check_turns(writes, going)
            if len(set(writes.inbox_taken)) != len(writes.inbox_taken):
                raise ConflictError(f"letters are taken from the inbox twice: {writes.inbox_taken}")
            for id_ in writes.inbox_taken:
                if id_ not in self.letters or self.letters[id_].partition != writes.partition:
                    raise ConflictError(f"letter {id_!r} is not in the inbox any more")
            _check_letters(writes.inbox_added)
            added = writes.outbox_added
            if added is not None and (added.partition, added.epoch, added.seq) in self.outboxes:
                raise ConflictError(f"outbox row {added.seq} is there already")

    def _check_instances(self, writes: PartitionWrites, going: set[str]) -> None:
        for delete in writes.deletes:
            record = self.records.get(delete.id)
            if record is None or (record.run, record.turn) != (delete.run, delete.expected_turn):
                raise ConflictError(f"instance {delete.id!r} to be deleted is not as its owner thought")
        for insert in writes.inserts:
            if insert.id in self.records and insert.id not in going:
                raise ConflictError(f"instance {insert.id!r} to be inserted is there already")
        for update in writes.updates:
            record = self.records.get(update.id)
            if record is None or (record.run, record.turn) != (update.run, update.expected_turn):
                raise ConflictError(f"instance {update.id!r} to be updated is not as its owner thought")

    def _check_turns(self, writes: PartitionWrites, going: set[str]) -> None:
        for turn in writes.turns:
            if _POISON in turn.events:
                raise DataRefusedError("the history holds what it may not hold")
            known = {} if turn.instance in going else self.histories.get(turn.instance, {})
            if turn.turn in known:
                raise ConflictError(f"turn {turn.turn} of instance {turn.instance!r} is there already")

    def _delete(self, writes: PartitionWrites) -> None:
        for delete in writes.deletes:
            del self.records[delete.id]
            self.histories.pop(delete.id, None)
            self.due = {key: entry for key, entry in self.due.items() if key[0] != delete.id}
        for instance, generation in writes.histories_dropped:
            turns = self.histories.get(instance, {})
            self.histories[instance] = {n: row for n, row in turns.items() if row.generation >= generation}

    def _store(self, writes: PartitionWrites) -> None:
        for record in writes.inserts:
            self.records[record.id] = record
        for update in writes.updates:
            self.records[update.id] = _updated(self.records[update.id], update)
        for turn in writes.turns:
            self.histories.setdefault(turn.instance, {})[turn.turn] = turn
        for timer in writes.timers_cleared:
            self.due.pop(_timer_key(timer), None)
        for timer in writes.timers_set:
            self.due[_timer_key(timer)] = (writes.partition, timer)
        self._store_inbox(writes)
        self._store_outbox(writes)
        if writes.broker_token is not None:
            self.leases[writes.partition].broker_token = writes.broker_token

    def _store_inbox(self, writes: PartitionWrites) -> None:
        for id_ in writes.inbox_taken:
            del self.letters[id_], self.inserted[id_]
        for id_ in writes.inbox_held:
            if id_ in self.letters and self.letters[id_].partition == writes.partition:
                self.letters[id_] = replace(self.letters[id_], held=True)
        for id_ in writes.inbox_released:
            self.letters[id_] = replace(self.letters[id_], held=False)
        for row in writes.inbox_added:
            self._insert(row)

    def _store_outbox(self, writes: PartitionWrites) -> None:
        for epoch, seq in writes.outbox_confirmed:
            self.outboxes.pop((writes.partition, epoch, seq), None)
            self.inserted.pop((writes.partition, epoch, seq), None)
        if writes.outbox_added is not None:
            added = writes.outbox_added
            self.outboxes[added.partition, added.epoch, added.seq] = added
            self.inserted[added.partition, added.epoch, added.seq] = self.now()

    # Outsiders -------------------------------------------------------------------------------------------------

    def _insert(self, letter: InboxRow) -> None:
        if letter.id not in self.letters:
            self.letters[letter.id] = letter
            self.inserted[letter.id] = self.now()

    def deliver(self, rows: Sequence[InboxRow]) -> None:
        _check_letters(rows)
        for row in rows:
            self._insert(row)

    def admit(self, admissions: Sequence[Admission]) -> list[bool]:
        _check_letters([one.row for one in admissions])
        new = []
        for one in admissions:
            key = None if one.message_id is None else (one.row.target, one.message_id)
            new.append(key is None or key not in self.seen)
            if key is not None:
                self.seen.setdefault(key, self.now())
            letter = one.row if new[-1] else one.duplicate
            if letter is not None:
                self._insert(letter)
        return new

    def forget_seen(self, before: datetime) -> int:
        kept = {key: at for key, at in self.seen.items() if at >= before}
        gone, self.seen = len(self.seen) - len(kept), kept
        return gone

    def waiting(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in ids if id_ in self.letters)

    def instances(self, ids: Sequence[str]) -> dict[str, InstanceRecord]:
        return {id_: self.records[id_] for id_ in ids if id_ in self.records}

    def find(
        self, where: InstanceFilter, limit: int, after: tuple[datetime, str] | None
    ) -> list[InstanceRecord]:
        found = [record for record in self.records.values() if _fits(record, where)]
        found.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return [r for r in found if after is None or (r.created_at, r.id) < after][:limit]

    def tally(self, where: InstanceFilter) -> list[Tally]:
        fitting = [record for record in self.records.values() if _fits(record, where)]
        counted = Counter((one.workflow, one.version, one.status) for one in fitting)
        tallies = [
            Tally(workflow=workflow, version=version, status=status, count=count)
            for (workflow, version, status), count in counted.items()
        ]
        return sorted(tallies, key=lambda tally: tally.place)

    def history(self, instance: str) -> list[bytes]:
        record = self.records.get(instance)
        turns = self.histories.get(instance, {})
        return [
            turns[number].events
            for number in sorted(turns)
            if record is not None and turns[number].generation == record.generation
        ]


def _updated(record: InstanceRecord, update: InstanceUpdate) -> InstanceRecord:
    return msgspec.structs.replace(
        record,
        turn=update.turn,
        generation=update.generation,
        status=update.status,
        tasks_pending=update.tasks_pending,
        output=update.output,
        custom_status=update.custom_status,
        failure=update.failure,
        reason=update.reason,
        updated_at=update.updated_at,
        ended_at=update.ended_at,
        tags=record.tags if update.tags is None else update.tags,
        version=record.version if update.version is None else update.version,
    )


def _timer_key(row: TimerRow) -> TimerKey:
    return row.instance, row.run, row.generation, row.key.command, row.key.attempt


def _refuse_large(numbers: Iterable[int]) -> None:
    if any(number > _LARGEST for number in numbers):
        raise DataRefusedError("a number is too large for the database")


def _check_letters(rows: Sequence[InboxRow]) -> None:
    _refuse_large(row.partition for row in rows)
    try:
        for row in rows:
            row.id.encode()
    except UnicodeEncodeError as error:
        raise DataRefusedError(f"a letter's id cannot be stored: {error}") from error


def _fits(record: InstanceRecord, where: InstanceFilter) -> bool:
    tags: Mapping[str, str] = record.tags
    statuses: frozenset[Status] = where.statuses
    return (
        (not statuses or record.status in statuses)
        and where.workflow in (None, record.workflow)
        and (where.builtin or where.workflow is not None or not is_reserved(record.workflow))
        and where.version in (None, record.version)
        and where.parent in (None, record.parent)
        and record.id.startswith(where.id_prefix or "")
        and all(tags.get(name) == value for name, value in where.tags.items())
        and (where.created_after is None or record.created_at >= where.created_after)
        and (where.created_before is None or record.created_at < where.created_before)
        and (
            where.ended_before is None
            or (record.ended_at is not None and record.ended_at < where.ended_before)
        )
    )
