"""The fixtures of the suite, and samples of what a store keeps."""
# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tenuto.store.protocol import (
    Deployment,
    HistoryRow,
    InboxRow,
    InstanceDelete,
    InstanceRecord,
    InstanceUpdate,
    Member,
    PartitionWrites,
    Store,
    TimerRow,
)

__all__ = [
    "LONG",
    "NASTY",
    "NOON",
    "NOW_OVER",
    "PARTITIONS",
    "OpenStore",
    "Owned",
    "StoreFixtures",
    "erase",
    "letter",
    "member",
    "record",
    "timer",
    "turn",
    "update",
]

OpenStore: TypeAlias = Callable[[], Awaitable[Store]]
"""Opens a store, its schema upgraded. All that it opens during one test are on one database, which was empty."""

PARTITIONS = 4
LONG = timedelta(minutes=5)
"""A lease that outlives any test."""
NOW_OVER = timedelta(0)
"""A lease that has run out as soon as it is given."""
NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
NASTY = "quote ' \" back\\slash % _ NUL \x00 lone \ud800 emoji \U0001f600 max \U0010ffff \r\n\u2028"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A store whose partitions all belong to the owner `me`."""

    store: Store
    epochs: dict[int, int]

    def writes(self, partition: int = 0, **changes: Any) -> PartitionWrites:
        """Writes under the present epoch."""
        return PartitionWrites(partition=partition, epoch=self.epochs[partition], **changes)

    async def commit(self, *writes: PartitionWrites) -> None:
        """Commit, and insist that no partition was dropped."""
        dropped = await self.store.commit(writes, lease=LONG)
        assert dropped == frozenset()


class StoreFixtures:
    """The fixtures that are the same for every store. They build on `open_store`, which is not."""

    pytestmark = pytest.mark.asyncio

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenStore) -> Store:
        """A store with a deployment of `PARTITIONS` partitions that nobody owns."""
        store = await open_store()
        await store.deployment(Deployment(partitions=PARTITIONS))
        return store

    @pytest_asyncio.fixture
    async def owned(self, store: Store) -> Owned:
        epochs = await store.claim("me", range(PARTITIONS), lease=LONG)
        return Owned(store=store, epochs=dict(epochs))


def record(id_: str = "order", **changes: Any) -> InstanceRecord:
    """An instance that has taken no turn yet."""
    fields: dict[str, Any] = {
        "run": "run-1",
        "partition": 0,
        "workflow": "fulfil",
        "version": None,
        "status": Status.PENDING,
        "generation": 0,
        "turn": 0,
        "tasks_pending": 0,
        "input": b"null",
        "created_at": NOON,
        "updated_at": NOON,
    }
    return InstanceRecord(id=id_, **(fields | changes))


def update(id_: str = "order", **changes: Any) -> InstanceUpdate:
    """The first turn of `record`."""
    fields: dict[str, Any] = {
        "run": "run-1",
        "expected_turn": 0,
        "turn": 1,
        "generation": 0,
        "status": Status.RUNNING,
        "tasks_pending": 0,
        "output": None,
        "custom_status": None,
        "failure": None,
        "reason": None,
        "updated_at": NOON,
        "ended_at": None,
    }
    return InstanceUpdate(id=id_, **(fields | changes))


def erase(id_: str = "order", *, run: str = "run-1", expected_turn: int = 0) -> InstanceDelete:
    return InstanceDelete(id=id_, run=run, expected_turn=expected_turn)


def turn(
    instance: str = "order", number: int = 0, *, generation: int = 0, events: bytes = b"[]"
) -> HistoryRow:
    return HistoryRow(instance=instance, turn=number, generation=generation, events=events)


def timer(
    instance: str = "order",
    command: int = 0,
    *,
    attempt: int = 0,
    fire_at: datetime = NOON,
    run: str = "run-1",
) -> TimerRow:
    key = TimerKey(command=command, attempt=attempt)
    return TimerRow(instance=instance, run=run, generation=0, key=key, fire_at=fire_at)


def letter(id_: str, partition: int = 0, *, target: str = "order", **changes: Any) -> InboxRow:
    fields: dict[str, Any] = {"body": b"{}"}
    return InboxRow(id=id_, partition=partition, target=target, **(fields | changes))


def member(owner: str = "me", **changes: Any) -> Member:
    fields: dict[str, Any] = {"workflows": {}, "activities": {}}
    return Member(owner=owner, **(fields | changes))
