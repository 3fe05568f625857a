"""The fence and the guards of `commit` (rules C1, C2, C6): each alone, with all that must not happen beside it."""
# ruff: noqa: S101, S106 - a suite asserts; a broker's token is no password

from __future__ import annotations

import asyncio

import pytest

from tenuto.core.status import Status
from tenuto.errors import ConflictError, DataRefusedError
from tenuto.store.protocol import InstanceDelete, InstanceUpdate, OutboxRow, PartitionWrites, Store
from tenuto.testing.store_contract.base import (
    LONG,
    NASTY,
    NOON,
    NOW_OVER,
    Owned,
    StoreFixtures,
    erase,
    letter,
    member,
    record,
    timer,
    turn,
    update,
)

__all__ = ["CommitContract"]


class CommitContract(StoreFixtures):
    """`commit`: what guards it."""

    async def test_a_stale_epoch_stores_nothing_of_its_partition_and_all_of_the_others(
        self, owned: Owned
    ) -> None:
        await owned.store.claim("me", [1], lease=LONG)
        stale = owned.writes(
            1,
            inserts=[record("stale", partition=1)],
            turns=[turn("stale")],
            timers_set=[timer("stale")],
            inbox_added=[letter("from-stale", 2)],
            outbox_added=OutboxRow(partition=1, epoch=owned.epochs[1], seq=0, body=b""),
            broker_token="token",
        )
        good = owned.writes(0, inserts=[record("good")], turns=[turn("good")])
        assert await owned.store.commit([stale, good], lease=LONG) == frozenset({1})
        assert set(await owned.store.instances(["stale", "good"])) == {"good"}
        assert await owned.store.history("stale") == []
        assert await owned.store.waiting(["from-stale"]) == frozenset()
        found = await owned.store.recovery(1, inbox=10, timers=10)
        assert (found.outbox, found.timers, found.broker_token) == ([], [], "")

    async def test_what_nobody_owns_or_nobody_knows_is_dropped(self, store: Store) -> None:
        writes = [PartitionWrites(partition=0, epoch=1), PartitionWrites(partition=99, epoch=0)]
        assert await store.commit(writes, lease=LONG) == frozenset({0, 99})
        assert await store.commit([], lease=LONG) == frozenset()

    async def test_another_owners_claim_fences_the_former(self, store: Store) -> None:
        epochs = await store.claim("a", [0], lease=NOW_OVER)
        await store.claim("b", [0], lease=LONG)
        zombie = PartitionWrites(partition=0, epoch=epochs[0], inserts=[record()])
        assert await store.commit([zombie], lease=LONG) == frozenset({0})
        assert await store.instances(["order"]) == {}

    async def test_a_commit_renews_the_lease_also_an_empty_one(self, store: Store) -> None:
        epochs = await store.claim("a", [0, 1], lease=NOW_OVER)
        writes = [
            PartitionWrites(partition=0, epoch=epochs[0]),
            PartitionWrites(partition=1, epoch=epochs[1] - 1),
        ]
        assert await store.commit(writes, lease=LONG) == frozenset({1})
        cluster = await store.beat(member("onlooker"), lease=LONG, ttl=LONG)
        remaining = {lease.partition: lease.remaining for lease in cluster.partitions}
        assert remaining[0] > 0
        assert remaining[1] <= 0

    async def test_commits_at_once_on_the_same_partitions_all_hold(self, owned: Owned) -> None:
        batches = [
            [
                owned.writes(p, inserts=[record(f"{n}-{p}", partition=p)])
                for p in ((0, 1, 2) if n % 2 else (2, 1, 0))
            ]
            for n in range(6)
        ]
        dropped = await asyncio.gather(*(owned.store.commit(batch, lease=LONG) for batch in batches))
        assert set(dropped) == {frozenset()}
        ids = [f"{n}-{p}" for n in range(6) for p in range(3)]
        assert set(await owned.store.instances(ids)) == set(ids)

    @pytest.mark.parametrize(
        "wrong",
        [update(run="another run"), update(expected_turn=1), update("nobody")],
        ids=["run", "turn", "id"],
    )
    async def test_an_update_that_does_not_fit_stores_nothing(
        self, owned: Owned, wrong: InstanceUpdate
    ) -> None:
        await owned.commit(owned.writes(inserts=[record(), record("other")]))
        before = await owned.store.instances(["order", "other"])
        writes = owned.writes(updates=[update("other"), wrong], turns=[turn("other")])
        elsewhere = owned.writes(1, inserts=[record("elsewhere", partition=1)])
        with pytest.raises(ConflictError, match=wrong.id):
            await owned.store.commit([writes, elsewhere], lease=LONG)
        assert await owned.store.instances(["order", "other", "elsewhere"]) == before
        assert await owned.store.history("other") == []

    @pytest.mark.parametrize("wrong", [erase(run="another run"), erase(expected_turn=1), erase("nobody")])
    async def test_a_delete_that_does_not_fit_stores_nothing(
        self, owned: Owned, wrong: InstanceDelete
    ) -> None:
        await owned.commit(owned.writes(inserts=[record()], turns=[turn()]))
        with pytest.raises(ConflictError):
            await owned.store.commit([owned.writes(deletes=[wrong], turns=[turn(number=1)])], lease=LONG)
        assert await owned.store.history("order") == [b"[]"]

    async def test_an_insert_of_an_id_that_exists_stores_nothing(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record()]))
        again = record(run="run-2", workflow="another")
        with pytest.raises(ConflictError, match="order"):
            await owned.store.commit([owned.writes(inserts=[record("new"), again])], lease=LONG)
        found = await owned.store.instances(["order", "new"])
        assert found == {"order": record()}

    async def test_a_turn_is_recorded_once(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record()], turns=[turn(events=b"first")]))
        with pytest.raises(ConflictError, match="order"):
            await owned.store.commit([owned.writes(turns=[turn(events=b"second")])], lease=LONG)
        assert await owned.store.history("order") == [b"first"]

    async def test_a_letter_takes_effect_once(self, owned: Owned) -> None:
        await owned.store.deliver([letter("a"), letter("b")])
        await owned.commit(owned.writes(inbox_taken=["a"]))
        with pytest.raises(ConflictError, match="inbox"):
            await owned.store.commit(
                [owned.writes(inbox_taken=["a", "b"], inserts=[record()], turns=[turn()])], lease=LONG
            )
        assert await owned.store.waiting(["a", "b"]) == frozenset({"b"})
        assert await owned.store.instances(["order"]) == {}

    async def test_a_letter_of_another_partition_cannot_be_taken(self, owned: Owned) -> None:
        await owned.store.deliver([letter("a", 1)])
        with pytest.raises(ConflictError):
            await owned.store.commit([owned.writes(0, inbox_taken=["a"])], lease=LONG)
        assert await owned.store.waiting(["a"]) == frozenset({"a"})

    async def test_an_outbox_row_is_added_once(self, owned: Owned) -> None:
        row = OutboxRow(partition=0, epoch=owned.epochs[0], seq=1, body=b"first")
        await owned.commit(owned.writes(outbox_added=row))
        with pytest.raises(ConflictError):
            await owned.store.commit([owned.writes(outbox_added=row, inserts=[record()])], lease=LONG)
        assert await owned.store.instances(["order"]) == {}

    async def test_data_that_the_database_refuses(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record()]))
        refused = owned.writes(updates=[update(tasks_pending=2**70)], turns=[turn()])
        good = owned.writes(1, inserts=[record("good", partition=1)])
        with pytest.raises(DataRefusedError):
            await owned.store.commit([refused, good], lease=LONG)
        assert await owned.store.history("order") == []
        assert await owned.store.instances(["order", "good"]) == {"order": record()}
        await owned.commit(good)

    async def test_no_character_of_a_users_is_refused(self, owned: Owned) -> None:
        body = NASTY.encode("utf-8", "surrogatepass") + bytes(range(256))
        await owned.store.deliver([letter("a", body=body)])
        await owned.commit(
            owned.writes(
                inserts=[record(input=body, tags={"a\x00": "\x00b"}, trace={"k": "\x00"}, reason=NASTY)],
                turns=[turn(events=body)],
                outbox_added=OutboxRow(partition=0, epoch=owned.epochs[0], seq=0, body=body),
            )
        )
        stored = (await owned.store.load(["order"]))["order"]
        assert stored.record == record(input=body, tags={"a\x00": "\x00b"}, trace={"k": "\x00"}, reason=NASTY)
        assert stored.turns == [body]
        changed = update(status=Status.FAILED, output=body, custom_status=body, failure=body, reason=NASTY)
        await owned.commit(owned.writes(updates=[changed]))
        found = (await owned.store.instances(["order"]))["order"]
        assert (found.output, found.custom_status, found.failure, found.reason) == (body, body, body, NASTY)
        recovery = await owned.store.recovery(0, inbox=1, timers=0)
        assert recovery.inbox[0].body == body
        assert recovery.outbox[0].body == body

    async def test_a_version_is_set_once_a_turn_takes_it(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(), record("other")]))
        await owned.commit(owned.writes(updates=[update(version="2"), update("other")]))
        found = await owned.store.instances(["order", "other"])
        assert [found[name].version for name in ("order", "other")] == ["2", record().version]

    async def test_a_cancelled_commit_is_whole_or_nothing(self, owned: Owned) -> None:
        outcomes: set[bool] = set()
        for steps in range(0, 200, 7):
            id_ = f"order-{steps}"
            writes = owned.writes(
                inserts=[record(id_)], turns=[turn(id_)], timers_set=[timer(id_, fire_at=NOON)]
            )
            task = asyncio.create_task(owned.store.commit([writes], lease=LONG))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task])
            stored = await owned.store.load([id_])
            due = await owned.store.timers([0], until=NOON, limit=1000)
            assert [one.turns for one in stored.values()] == ([[b"[]"]] if stored else [])
            assert (id_ in {one.instance for one in due}) == bool(stored)
            if not next(iter(done)).cancelled():
                assert stored
            outcomes.add(bool(stored))
        assert False in outcomes
