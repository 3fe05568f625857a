"""What the owner of a partition reads (rules O2, I1, B2), and what anyone may look up."""
# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from datetime import timedelta

import pytest

from tenuto.errors import StoreError
from tenuto.store.protocol import Store
from tenuto.testing.store_contract.base import (
    NOON,
    OpenStore,
    Owned,
    StoreFixtures,
    letter,
    record,
    timer,
    turn,
    update,
)

__all__ = ["ReadingContract"]

SECOND = timedelta(seconds=1)


class ReadingContract(StoreFixtures):
    """`recovery`, `inbox`, `timers`, `load`, `pending`, `waiting`, `instances`, `history`."""

    async def test_letters_come_in_order_of_arrival(self, store: Store) -> None:
        for group in (["d", "a"], ["c"], ["b", "e"]):
            await store.deliver([letter(id_) for id_ in group])
        await store.deliver([letter("f", 1), letter("g", 2)])
        assert [one.id for one in await store.inbox([0], limit=10)] == ["d", "a", "c", "b", "e"]
        assert [one.id for one in await store.inbox([2, 0, 1], limit=10)] == [
            "d",
            "a",
            "c",
            "b",
            "e",
            "f",
            "g",
        ]
        assert [one.id for one in await store.inbox([0, 1], limit=2)] == ["d", "a"]
        assert await store.inbox([3], limit=10) == []
        assert await store.inbox([], limit=10) == []

    async def test_letters_come_back_as_they_were(self, store: Store) -> None:
        rows = [
            letter("ünïque '1'", 0, target="ö", run="run-1", body=b"\x00"),
            letter("2", run=None, held=True),
        ]
        await store.deliver(rows)
        assert (await store.recovery(0, inbox=10, timers=0)).inbox == rows

    async def test_timers_come_earliest_first(self, owned: Owned) -> None:
        late, early = timer("b", fire_at=NOON + 2 * SECOND), timer("c", fire_at=NOON)
        elsewhere = timer("a", fire_at=NOON + SECOND)
        await owned.commit(owned.writes(0, timers_set=[late, early]), owned.writes(1, timers_set=[elsewhere]))
        store = owned.store
        assert await store.timers([0, 1], until=NOON + 2 * SECOND, limit=10) == [early, elsewhere, late]
        assert await store.timers([0], until=NOON + SECOND, limit=10) == [early]
        assert await store.timers([0, 1], until=NOON + 2 * SECOND, limit=2) == [early, elsewhere]
        assert await store.timers([0, 1], until=NOON - SECOND, limit=10) == []
        since = NOON + SECOND
        assert await store.timers([0, 1], since=since, until=NOON + 2 * SECOND, limit=10) == [elsewhere, late]
        assert (await store.recovery(0, inbox=0, timers=10)).timers == [early, late]
        assert (await store.recovery(0, inbox=0, timers=1)).timers == [early]

    async def test_recovery_takes_as_many_letters_as_asked_for(self, store: Store) -> None:
        await store.deliver([letter("a", held=True), letter("b"), letter("c"), letter("d", 1)])
        assert [one.id for one in (await store.recovery(0, inbox=2, timers=0)).inbox] == ["a", "b"]

    async def test_a_partition_that_does_not_exist_cannot_be_recovered(self, store: Store) -> None:
        with pytest.raises(StoreError, match="99"):
            await store.recovery(99, inbox=1, timers=1)

    async def test_load_gives_the_present_generation_in_order(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[record(generation=1, turn=13), record("fresh")],
                turns=[
                    turn(number=10, generation=0, events=b"old"),
                    turn(number=12, generation=1, events=b"12"),
                    turn(number=9, generation=1, events=b"9"),
                    turn(number=11, generation=1, events=b"11"),
                ],
            )
        )
        loaded = await owned.store.load(["order", "fresh", "nobody"])
        assert set(loaded) == {"order", "fresh"}
        assert loaded["order"].record == record(generation=1, turn=13)
        assert loaded["order"].turns == [b"9", b"11", b"12"]
        assert loaded["fresh"].turns == []
        assert await owned.store.history("order") == [b"9", b"11", b"12"]
        assert await owned.store.history("nobody") == []
        assert await owned.store.load([]) == {}

    async def test_pending_finds_instances_that_wait_for_activities(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[
                    record("newer", tasks_pending=1, updated_at=NOON + SECOND),
                    record("older", tasks_pending=2),
                    record("none"),
                ]
            ),
            owned.writes(1, inserts=[record("elsewhere", partition=1, tasks_pending=1)]),
        )
        store = owned.store
        assert await store.pending(0, idle_since=None, limit=10) == ["newer", "older"]
        assert await store.pending(0, idle_since=NOON, limit=10) == ["older"]
        assert await store.pending(0, idle_since=None, limit=1) == ["newer"]
        assert await store.pending(0, idle_since=None, limit=10, after="newer") == ["older"]
        assert await store.pending(0, idle_since=None, limit=10, after="older") == []
        await owned.commit(owned.writes(updates=[update("older", tasks_pending=0)]))
        assert await store.pending(0, idle_since=None, limit=10) == ["newer"]

    async def test_waiting_tells_which_letters_are_still_there(self, owned: Owned) -> None:
        await owned.store.deliver([letter("a"), letter("b", 1), letter("c", held=True)])
        await owned.commit(owned.writes(inbox_taken=["a"]))
        assert await owned.store.waiting(["a", "b", "c", "d"]) == {"b", "c"}
        assert await owned.store.waiting([]) == frozenset()

    async def test_every_store_on_the_database_sees_what_one_committed(
        self, open_store: OpenStore, owned: Owned
    ) -> None:
        await owned.commit(owned.writes(inserts=[record()], turns=[turn()]))
        other = await open_store()
        assert await other.instances(["order"]) == {"order": record()}
        assert await other.history("order") == [b"[]"]

    async def test_opening_and_closing_tolerate_repeats(self, open_store: OpenStore, store: Store) -> None:
        other = await open_store()
        await other.upgrade()
        await other.open()
        assert await other.deployment() == await store.deployment()
