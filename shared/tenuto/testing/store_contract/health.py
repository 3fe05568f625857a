"""What an onlooker is told: how much waits, where, and since when."""
# ruff: noqa: S101, S105, S106, PLR2004 - a suite asserts, with the numbers of its examples; a broker's token is no password

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenuto.core.status import Status
from tenuto.errors import StoreError
from tenuto.store.protocol import Backlog, Deployment, OutboxRow
from tenuto.testing.store_contract.base import (
    LONG,
    NOON,
    OpenStore,
    Owned,
    StoreFixtures,
    letter,
    record,
    timer,
    update,
)

__all__ = ["HealthContract"]

_NEAR = timedelta(minutes=5)
"""How far a database's clock may be from that of its clients in a test."""


class HealthContract(StoreFixtures):
    """`health`."""

    async def test_there_must_be_a_deployment(self, open_store: OpenStore) -> None:
        with pytest.raises(StoreError):
            await (await open_store()).health()

    async def test_nothing_waits_at_first(self, open_store: OpenStore) -> None:
        store = await open_store()
        await store.deployment(Deployment(partitions=3, broker_token="token"))
        health = await store.health()
        assert health.broker_token == "token"
        assert [(lease.partition, lease.owner, lease.epoch) for lease in health.leases] == [
            (number, None, 0) for number in range(3)
        ]
        backlogs = (health.pending, health.stalled, health.unanswered, health.timers)
        assert {*backlogs, health.inbox, health.held, health.outbox} == {Backlog()}
        assert health.live == {
            Status.PENDING: 0,
            Status.RUNNING: 0,
            Status.SUSPENDED: 0,
            Status.STALLED: 0,
        }

    async def test_leases_are_told_with_what_is_left_of_them(self, owned: Owned) -> None:
        leases = (await owned.store.health()).leases
        assert {lease.owner for lease in leases} == {"me"}
        assert {lease.partition: lease.epoch for lease in leases} == owned.epochs
        assert all(0 < lease.remaining <= LONG.total_seconds() for lease in leases)

    async def test_instances_are_counted_by_what_they_wait_for(self, owned: Owned) -> None:
        later = NOON + timedelta(hours=1)
        await owned.commit(
            owned.writes(
                inserts=[
                    record("new", created_at=later),
                    record("older"),
                    record("to come", start_at=datetime.max.replace(tzinfo=UTC)),
                    record("stalled", status=Status.STALLED, updated_at=later),
                    record("busy", status=Status.RUNNING, tasks_pending=3),
                    record("over", status=Status.COMPLETED),
                ]
            )
        )
        health = await owned.store.health()
        assert health.live[Status.PENDING] == 3
        assert health.live[Status.RUNNING] == 1
        assert health.live[Status.STALLED] == 1
        assert Status.COMPLETED not in health.live
        assert health.pending == Backlog(count=2, oldest=NOON, examples=("older", "new"))
        assert health.stalled == Backlog(count=1, oldest=later, examples=("stalled",))
        assert health.unanswered == Backlog(count=1, oldest=NOON, examples=("busy",))

    async def test_what_is_answered_is_counted_no_more(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(tasks_pending=1)]))
        await owned.commit(owned.writes(updates=[update(tasks_pending=0)]))
        health = await owned.store.health()
        assert (health.unanswered, health.pending) == (Backlog(), Backlog())

    async def test_timers_count_once_they_are_due(self, owned: Owned) -> None:
        now = (await owned.store.health()).now
        overdue, to_come = now - timedelta(hours=1), now + timedelta(hours=1)
        await owned.commit(
            owned.writes(timers_set=[timer("b", 1, fire_at=overdue), timer("c", fire_at=to_come)]),
            owned.writes(1, timers_set=[timer("a", fire_at=overdue - timedelta(hours=1))]),
        )
        found = (await owned.store.health()).timers
        assert found == Backlog(count=2, oldest=overdue - timedelta(hours=1), examples=("a", "b"))

    async def test_letters_and_outbox_rows_age_by_the_databases_clock(self, owned: Owned) -> None:
        before = (await owned.store.health()).now
        await owned.store.deliver([letter("1", target="first"), letter("2", 1, target="second")])
        await owned.commit(
            owned.writes(
                inbox_held=["1"],
                inbox_added=[letter("3", 2, target="third")],
                outbox_added=OutboxRow(partition=0, epoch=owned.epochs[0], seq=1, body=b"{}"),
            )
        )
        health = await owned.store.health()
        assert (health.inbox.count, health.inbox.examples) == (2, ("second", "third"))
        assert (health.held.count, health.held.examples) == (1, ("first",))
        assert (health.outbox.count, health.outbox.examples) == (1, ("0",))
        for backlog in (health.inbox, health.held, health.outbox):
            assert backlog.oldest is not None
            assert before - _NEAR <= backlog.oldest <= health.now + _NEAR

    async def test_examples_are_as_many_as_asked_for(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(f"i{n}") for n in range(4)]))
        found = (await owned.store.health(examples=2)).pending
        assert found.count == 4
        assert len(found.examples) == 2
