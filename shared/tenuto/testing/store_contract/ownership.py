"""Deployment, members, leases and epochs (rules O1, O2, B1)."""
# ruff: noqa: S101, S105, S106, PLR2004 - a suite asserts, with the numbers of its examples; a broker's token is no password

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from tenuto.errors import StoreError
from tenuto.store.protocol import Cluster, Deployment, PartitionLease, Store
from tenuto.testing.store_contract.base import (
    LONG,
    NOW_OVER,
    PARTITIONS,
    OpenStore,
    Owned,
    StoreFixtures,
    member,
)

__all__ = ["ExclusiveContract", "OwnershipContract"]

EVERYBODY = timedelta(hours=1)
"""A time to live in which no member falls silent during a test."""


async def beat(store: Store, owner: str, *, lease: timedelta = LONG, ttl: timedelta = EVERYBODY) -> Cluster:
    return await store.beat(member(owner), lease=lease, ttl=ttl)


async def leases(store: Store) -> Mapping[int, PartitionLease]:
    """As an onlooker sees them, who holds nothing."""
    cluster = await beat(store, "onlooker")
    return {lease.partition: lease for lease in cluster.partitions}


class OwnershipContract(StoreFixtures):
    """`deployment`, `beat`, `members`, `claim`, `release`, `leave`, `exclusive`, `set_broker_token`."""

    async def test_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)

    async def test_the_first_deployment_is_recorded_and_later_ones_are_not(
        self, open_store: OpenStore
    ) -> None:
        store = await open_store()
        assert await store.deployment() is None
        first = Deployment(partitions=3, layout=2, queue_type="classic", broker_token="token")
        assert await store.deployment(first) == first
        assert await store.deployment(Deployment(partitions=7)) == first
        assert await store.deployment() == first
        assert sorted(await leases(store)) == [0, 1, 2]

    async def test_of_deployments_recorded_at_once_one_wins(self, open_store: OpenStore) -> None:
        stores = [await open_store() for _ in range(2)]
        wanted = [Deployment(partitions=n) for n in (3, 5, 3, 5)]
        found = await asyncio.gather(*(stores[i % 2].deployment(one) for i, one in enumerate(wanted)))
        assert len(set(found)) == 1
        winner = found[0]
        assert winner is not None
        assert len(await leases(stores[0])) == winner.partitions

    async def test_partitions_start_without_owner(self, store: Store) -> None:
        for lease in (await leases(store)).values():
            assert (lease.owner, lease.epoch, lease.broker_token) == (None, 0, "")
            assert lease.remaining <= 0

    async def test_each_claim_raises_the_epoch_also_the_same_owners(self, store: Store) -> None:
        assert await store.claim("a", [0, 2], lease=LONG) == {0: 1, 2: 1}
        assert await store.claim("a", [2, 3], lease=LONG) == {2: 2, 3: 1}
        seen = await leases(store)
        assert [(seen[p].owner, seen[p].epoch) for p in range(4)] == [("a", 1), (None, 0), ("a", 2), ("a", 1)]
        assert 0 < seen[0].remaining <= LONG.total_seconds()

    async def test_a_live_lease_of_another_owner_is_left_alone(self, store: Store) -> None:
        await store.claim("a", [0], lease=LONG)
        assert await store.claim("b", [0, 1], lease=LONG) == {1: 1}
        assert (await leases(store))[0].owner == "a"

    async def test_a_lease_that_has_run_out_can_be_claimed(self, store: Store) -> None:
        await store.claim("a", [0], lease=NOW_OVER)
        assert (await leases(store))[0].remaining <= 0
        assert await store.claim("b", [0], lease=LONG) == {0: 2}
        assert (await leases(store))[0].owner == "b"

    async def test_partitions_that_do_not_exist_cannot_be_claimed(self, store: Store) -> None:
        assert await store.claim("a", [PARTITIONS, -1], lease=LONG) == {}
        assert await store.claim("a", [], lease=LONG) == {}

    async def test_no_epoch_is_given_twice(self, open_store: OpenStore, store: Store) -> None:
        stores = [store, await open_store()]

        async def grab(number: int) -> list[tuple[int, int]]:
            taken: list[tuple[int, int]] = []
            for _ in range(5):
                claimed = await stores[number % 2].claim(f"owner-{number}", range(PARTITIONS), lease=NOW_OVER)
                taken += claimed.items()
            return taken

        given = [pair for taken in await asyncio.gather(*map(grab, range(6))) for pair in taken]
        assert len(given) == len(set(given))
        epochs = {partition: lease.epoch for partition, lease in (await leases(store)).items()}
        for partition in range(PARTITIONS):
            assert sorted(e for p, e in given if p == partition) == list(range(1, epochs[partition] + 1))

    async def test_of_owners_that_claim_at_once_one_gets_the_lease(
        self, open_store: OpenStore, store: Store
    ) -> None:
        stores = [store, await open_store()]
        wanted = list(range(PARTITIONS))
        claims = await asyncio.gather(
            *(stores[i % 2].claim(f"owner-{i}", wanted[i % 3 :] + wanted, lease=LONG) for i in range(8))
        )
        taken = [partition for claim in claims for partition in claim]
        assert sorted(taken) == wanted
        seen = await leases(store)
        for number, claim in enumerate(claims):
            assert all(seen[p].owner == f"owner-{number}" and seen[p].epoch == e for p, e in claim.items())

    async def test_release_frees_what_is_the_callers(self, store: Store) -> None:
        await store.claim("a", [0, 1], lease=LONG)
        await store.claim("b", [2], lease=LONG)
        await store.release("a", [0, 2, 3])
        seen = await leases(store)
        assert [seen[p].owner for p in range(4)] == [None, "a", "b", None]
        assert await store.claim("b", [0], lease=LONG) == {0: 2}

    async def test_leaving_releases_all_and_forgets_the_member(self, store: Store) -> None:
        await beat(store, "a")
        await store.claim("a", range(PARTITIONS), lease=LONG)
        await store.leave("a")
        await store.leave("a")
        seen = await leases(store)
        assert {lease.owner for lease in seen.values()} == {None}
        assert [one.owner for one in await store.members(ttl=EVERYBODY)] == ["onlooker"]

    async def test_a_beat_renews_what_the_member_holds(self, store: Store) -> None:
        await store.claim("a", [0], lease=NOW_OVER)
        await store.claim("b", [1], lease=NOW_OVER)
        cluster = await beat(store, "a")
        remaining = {lease.partition: lease.remaining for lease in cluster.partitions}
        assert remaining[0] > 0
        assert remaining[1] <= 0
        assert await store.claim("c", [0, 1], lease=LONG) == {1: 2}

    async def test_a_beat_does_not_take_back_what_another_took(self, store: Store) -> None:
        await store.claim("a", [0], lease=NOW_OVER)
        await store.claim("b", [0], lease=NOW_OVER)
        await beat(store, "a")
        lease = (await leases(store))[0]
        assert (lease.owner, lease.epoch) == ("b", 2)
        assert lease.remaining <= 0

    async def test_a_beat_reports_members_with_what_they_serve(self, store: Store) -> None:
        rich = member(
            "b",
            workflows={"fulfil": ["1", "2"], "é\x00": []},
            activities={"pay": "bank"},
            host="h",
            release="1.0",
        )
        poor = member("a")
        await store.beat(rich, lease=LONG, ttl=EVERYBODY)
        await store.beat(rich, lease=LONG, ttl=EVERYBODY)
        cluster = await store.beat(poor, lease=LONG, ttl=EVERYBODY)
        assert cluster.members == [poor, rich]
        assert await store.members(ttl=EVERYBODY) == [poor, rich]

    async def test_a_beat_forgets_the_silent_and_never_the_caller(self, store: Store) -> None:
        await beat(store, "silent")
        cluster = await beat(store, "a", ttl=timedelta(0))
        assert [one.owner for one in cluster.members] == ["a"]
        assert [one.owner for one in await store.members(ttl=EVERYBODY)] == ["a"]
        assert await store.members(ttl=timedelta(0)) == []

    async def test_the_databases_clock_goes_on(self, store: Store) -> None:
        first, second = await beat(store, "a"), await beat(store, "a")
        assert first.now.utcoffset() == timedelta(0)
        assert first.now <= second.now

    async def test_the_broker_token_is_the_deployments_until_owners_follow(self, owned: Owned) -> None:
        await owned.store.set_broker_token("new")
        cluster = await beat(owned.store, "me")
        assert cluster.broker_token == "new"
        assert {lease.broker_token for lease in cluster.partitions} == {""}
        await owned.commit(owned.writes(1, broker_token="new"))
        assert (await leases(owned.store))[1].broker_token == "new"
        assert (await owned.store.recovery(1, inbox=1, timers=1)).broker_token == "new"
        assert (await owned.store.recovery(0, inbox=1, timers=1)).broker_token == ""

    async def test_a_token_needs_a_deployment(self, open_store: OpenStore) -> None:
        store = await open_store()
        with pytest.raises(StoreError, match="orchestrator"):
            await store.set_broker_token("token")


class ExclusiveContract(StoreFixtures):
    """`exclusive`."""

    async def test_one_holder_at_a_time(self, open_store: OpenStore, store: Store) -> None:
        stores = [store, await open_store()]
        inside: list[int] = []
        entered = 0

        async def hold(number: int) -> None:
            nonlocal entered
            async with stores[number % 2].exclusive("broker"):
                assert not inside
                inside.append(number)
                await stores[number % 2].deployment()
                inside.remove(number)
                entered += 1

        await asyncio.gather(*map(hold, range(6)))
        assert entered == 6

    async def test_names_do_not_hinder_each_other(self, open_store: OpenStore, store: Store) -> None:
        other = await open_store()
        async with store.exclusive("one"), other.exclusive("two"):
            assert await other.deployment() is not None

    async def test_an_error_in_the_block_passes_and_releases(
        self, open_store: OpenStore, store: Store
    ) -> None:
        other = await open_store()
        with pytest.raises(ZeroDivisionError):
            async with store.exclusive("broker"):
                raise ZeroDivisionError
        async with other.exclusive("broker"):
            pass

    async def test_a_cancelled_wait_takes_nothing(self, open_store: OpenStore, store: Store) -> None:
        other = await open_store()
        waiting = asyncio.Event()

        async def wait() -> None:
            waiting.set()
            async with other.exclusive("broker"):
                raise AssertionError("entered while another holds it")

        async with store.exclusive("broker"):
            task = asyncio.create_task(wait())
            await waiting.wait()
            await store.deployment()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with store.exclusive("broker"), other.exclusive("other"):
            pass
        async with other.exclusive("broker"):
            pass
