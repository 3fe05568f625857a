"""The commit of a batch: the one transaction that everything else is built around (rules C1, C2, O3).

However many instances, turns and letters a batch has, the transaction is the fence and at most one statement per kind
of change; kinds without changes send nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Table, Update, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.errors import ConflictError
from tenuto.store import schema
from tenuto.store.bulk import Bulk, BulkStyle, Given, Insertion, Rows
from tenuto.store.column_types import AnyType
from tenuto.store.database import Database
from tenuto.store.protocol import InstanceRecord, InstanceUpdate, PartitionWrites
from tenuto.store.rows import (
    INBOX_COLUMNS,
    INSTANCE_COLUMNS,
    TIMER_COLUMNS,
    encode_strings,
    inbox_values,
    instance_values,
    tag_digest,
    timer_values,
)

__all__ = ["Commits", "Step"]

_CHANGED = (
    "turn",
    "generation",
    "status",
    "tasks_pending",
    "output",
    "custom_status",
    "failure",
    "reason",
    "updated_at",
    "ended_at",
)
"""The columns that a turn writes."""

_SHOWN = 3
"""How many ids an error message names."""

_TIMER_KEY = ("instance", "run", "generation", "command", "attempt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement of a commit."""

    bulk: Bulk
    rows: Callable[[PartitionWrites], Iterable[tuple[Any, ...]]]
    guard: str | None = None
    """Says, for people, what it means if a row is not touched. None: it means nothing."""
    ordered: bool = False
    """Whether it touches rows that other steps, or the fence, may touch as well, so that their order matters."""

    def collect(self, batch: Sequence[PartitionWrites]) -> Rows:
        """Its rows of a batch."""
        return [row for writes in batch for row in self.rows(writes)]

    async def run(self, connection: AsyncConnection, rows: Rows) -> None:
        """Run it. Raises `ConflictError` if it is guarded and did not touch every row."""
        touched = await self.bulk.run(connection, rows)
        if self.guard is not None and touched != len(rows):
            raise ConflictError(f"{self.guard} ({len(rows) - touched} of {len(rows)}: {_ids(rows)})")


class Commits:
    """The owner's verb: `commit`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps = _steps(database.style)
        self._at_once = database.at_once(self._steps)
        # Making a statement costs more than running it: these are made once, as those of the steps are.
        table = schema.partitions
        self._fence_rows = (
            select(table.c.partition, table.c.epoch)
            .where(database.among_given(table.c.partition))
            .order_by(table.c.partition)
            .with_for_update()
        )
        self._renewals: dict[timedelta, Update] = {}

    async def commit(self, writes: Sequence[PartitionWrites], *, lease: timedelta) -> frozenset[int]:
        if not writes:
            return frozenset()
        if self._at_once is not None and not any(_sets_what_it_clears(one) for one in writes):
            fence = [(one.partition, one.epoch) for one in writes]
            if await self._at_once(fence, [step.collect(writes) for step in self._steps], lease):
                return frozenset()

        async def work(connection: AsyncConnection) -> frozenset[int]:
            held = await self._fence(connection, writes, lease)
            batch = [one for one in writes if held.get(one.partition) == one.epoch]
            for step in self._steps:
                await step.run(connection, step.collect(batch))
            return frozenset(one.partition for one in writes if held.get(one.partition) != one.epoch)

        return await self._database.write(work)

    async def _fence(
        self, connection: AsyncConnection, writes: Sequence[PartitionWrites], lease: timedelta
    ) -> dict[int, int]:
        """Lock the partitions, in the order of their numbers, and renew the leases of those whose epoch is still ours.

        Returns the epochs of all, as they are now that nobody else can change them. (rule C1)
        """
        database = self._database
        rows = await connection.execute(self._fence_rows, database.given([one.partition for one in writes]))
        epochs: dict[int, int] = {row.partition: row.epoch for row in rows}
        ours = [one.partition for one in writes if epochs.get(one.partition) == one.epoch]
        if ours:
            await connection.execute(self._renewal(lease), database.given(ours))
        return epochs

    def _renewal(self, lease: timedelta) -> Update:
        if lease not in self._renewals:  # there is one lease per process
            table = schema.partitions
            self._renewals[lease] = (
                update(table)
                .where(self._database.among_given(table.c.partition))
                .values(lease_until=self._database.after(lease))
            )
        return self._renewals[lease]


def _steps(style: BulkStyle) -> tuple[Step, ...]:
    """In this order: what is deleted makes room for what is inserted under the same id."""
    return (
        *_deletions(style),
        *_instance_changes(style),
        *_inbox_changes(style),
        *_outbox_changes(style),
    )


def _deletions(style: BulkStyle) -> tuple[Step, ...]:
    instances, history = schema.instances, schema.history
    delete_instance = style.change(
        _types(instances, "id", "run", "turn"),
        lambda given: delete(instances).where(
            instances.c.id == given["id"],
            instances.c.run == given["run"],
            instances.c.turn == given["turn"],
        ),
    )
    drop_generations = style.change(
        _types(history, "instance", "generation"),
        lambda given: delete(history).where(
            history.c.instance == given["instance"], history.c.generation < given["generation"]
        ),
    )
    return (
        Step(
            bulk=delete_instance,
            rows=lambda w: ((one.id, one.run, one.expected_turn) for one in w.deletes),
            guard="an instance to be deleted is not in the run and turn that its owner thought",
            ordered=True,
        ),
        *(
            Step(
                bulk=_delete_by(style, table, "instance"),
                rows=lambda w: ((one.id,) for one in w.deletes),
                ordered=True,
            )
            for table in (schema.tags, history, schema.timers)
        ),
        Step(bulk=drop_generations, rows=lambda w: w.histories_dropped, ordered=True),
    )


def _instance_changes(style: BulkStyle) -> tuple[Step, ...]:
    history, timers = schema.history, schema.timers
    return (
        Step(
            bulk=style.insert(Insertion(table=schema.instances, names=INSTANCE_COLUMNS)),
            rows=lambda w: map(instance_values, w.inserts),
            guard="an instance to be inserted is there already",
        ),
        Step(
            bulk=_update_instance(style),
            rows=lambda w: map(_update_values, w.updates),
            guard="an instance to be updated is not in the run and turn that its owner thought",
        ),
        _version_change(style),
        *_tag_changes(style),
        Step(
            bulk=style.insert(Insertion(table=history, names=("instance", "turn", "generation", "events"))),
            rows=lambda w: ((one.instance, one.turn, one.generation, one.events) for one in w.turns),
            guard="a turn to be recorded is in the history already",
        ),
        Step(
            bulk=_delete_by(style, timers, *_TIMER_KEY),
            rows=lambda w: (
                (one.instance, one.run, one.generation, one.key.command, one.key.attempt)
                for one in w.timers_cleared
            ),
        ),
        Step(
            bulk=style.insert(Insertion(table=timers, names=TIMER_COLUMNS, update=("partition", "fire_at"))),
            rows=lambda w: (timer_values(one, w.partition) for one in w.timers_set),
        ),
    )


def _version_change(style: BulkStyle) -> Step:
    """The version is set at the start; only where it was not known there does a turn set it."""
    instances = schema.instances
    take_version = style.change(
        _types(instances, "id", "version"),
        lambda given: update(instances).where(instances.c.id == given["id"]).values(version=given["version"]),
    )
    return Step(
        bulk=take_version,
        rows=lambda w: ((one.id, one.version) for one in w.updates if one.version is not None),
        ordered=True,
    )


def _tag_changes(style: BulkStyle) -> tuple[Step, ...]:
    """Tags are set at the start, and seldom changed: only then do they cost statements."""
    instances = schema.instances
    replace_tags = style.change(
        _types(instances, "id", "tags"),
        lambda given: update(instances).where(instances.c.id == given["id"]).values(tags=given["tags"]),
    )
    return (
        Step(
            bulk=replace_tags,
            rows=lambda w: ((one.id, encode_strings(one.tags)) for one in w.updates if one.tags is not None),
            ordered=True,
        ),
        Step(
            bulk=_delete_by(style, schema.tags, "instance"),
            rows=lambda w: ((one.id,) for one in w.updates if one.tags is not None),
            ordered=True,
        ),
        Step(
            bulk=style.insert(Insertion(table=schema.tags, names=("instance", "digest"))),
            rows=lambda w: (
                (one.id, tag_digest(name, value))
                for one in _tagged(w)
                for name, value in (one.tags or {}).items()
            ),
        ),
    )


def _tagged(writes: PartitionWrites) -> Iterable[InstanceRecord | InstanceUpdate]:
    yield from writes.inserts
    yield from writes.updates


def _inbox_changes(style: BulkStyle) -> tuple[Step, ...]:
    inbox = schema.inbox

    def mark(*, held: bool) -> Bulk:
        return style.change(
            _types(inbox, "partition", "id"),
            lambda given: (
                update(inbox)
                .where(inbox.c.id == given["id"], inbox.c.partition == given["partition"])
                .values(held=held)
            ),
        )

    return (
        Step(
            bulk=_delete_by(style, inbox, "id", "partition"),
            rows=lambda w: ((id_, w.partition) for id_ in w.inbox_taken),
            guard="a letter to be taken is not in the inbox any more",
        ),
        Step(bulk=mark(held=True), rows=lambda w: ((w.partition, id_) for id_ in w.inbox_held), ordered=True),
        Step(
            bulk=mark(held=False),
            rows=lambda w: ((w.partition, id_) for id_ in w.inbox_released),
            ordered=True,
        ),
        Step(
            bulk=style.insert(Insertion(table=inbox, names=INBOX_COLUMNS)),
            rows=lambda w: map(inbox_values, w.inbox_added),
        ),
    )


def _outbox_changes(style: BulkStyle) -> tuple[Step, ...]:
    outbox, partitions = schema.outbox, schema.partitions
    set_token = style.change(
        _types(partitions, "partition", "broker_token"),
        lambda given: (
            update(partitions)
            .where(partitions.c.partition == given["partition"])
            .values(broker_token=given["broker_token"])
        ),
    )
    return (
        Step(
            bulk=_delete_by(style, outbox, "partition", "epoch", "seq"),
            rows=lambda w: ((w.partition, epoch, seq) for epoch, seq in w.outbox_confirmed),
        ),
        Step(
            bulk=style.insert(Insertion(table=outbox, names=("partition", "epoch", "seq", "body"))),
            rows=lambda w: (
                (row.partition, row.epoch, row.seq, row.body) for row in (w.outbox_added,) if row is not None
            ),
            guard="an outbox row to be added is there already",
        ),
        Step(
            bulk=set_token,
            rows=lambda w: ((w.partition, token) for token in (w.broker_token,) if token is not None),
            ordered=True,
        ),
    )


def _update_instance(style: BulkStyle) -> Bulk:
    table = schema.instances
    types: dict[str, AnyType] = {
        **_types(table, "id", "run"),
        "expected_turn": table.c.turn.type,
        **_types(table, *_CHANGED),
    }
    return style.change(
        types,
        lambda given: (
            update(table)
            .where(
                table.c.id == given["id"],
                table.c.run == given["run"],
                table.c.turn == given["expected_turn"],
            )
            .values({name: given[name] for name in _CHANGED})
        ),
    )


def _sets_what_it_clears(writes: PartitionWrites) -> bool:
    """Whether a timer is deleted and inserted anew, in this order."""
    cleared = {(row.instance, row.run, row.generation, row.key) for row in writes.timers_cleared}
    return bool(cleared) and not cleared.isdisjoint(
        (row.instance, row.run, row.generation, row.key) for row in writes.timers_set
    )


def _update_values(change: InstanceUpdate) -> tuple[Any, ...]:
    return (
        change.id,
        change.run,
        change.expected_turn,
        change.turn,
        change.generation,
        change.status.value,
        change.tasks_pending,
        change.output,
        change.custom_status,
        change.failure,
        change.reason,
        change.updated_at,
        change.ended_at,
    )


def _delete_by(style: BulkStyle, table: Table, *names: str) -> Bulk:
    def build(given: Given) -> Any:
        return delete(table).where(*(table.c[name] == given[name] for name in names))

    return style.change(_types(table, *names), build)


def _types(table: Table, *names: str) -> dict[str, AnyType]:
    return {name: table.c[name].type for name in names}


def _ids(rows: Rows) -> str:
    """The first ids of the rows, for a message."""
    shown = ", ".join(repr(row[0]) for row in rows[:_SHOWN])
    return shown if len(rows) <= _SHOWN else f"among them {shown}"
