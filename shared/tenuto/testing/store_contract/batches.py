"""What `commit` stores: each kind of change, all kinds together, and very many of a kind."""
# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from datetime import timedelta

from tenuto.core.status import Status
from tenuto.core.turn import TimerKey
from tenuto.store.protocol import InstanceFilter, OutboxRow, TimerRow
from tenuto.testing.store_contract.base import (
    LONG,
    NOON,
    Owned,
    StoreFixtures,
    erase,
    letter,
    record,
    timer,
    turn,
    update,
)

__all__ = ["BatchContract"]

MANY = 10_000


class BatchContract(StoreFixtures):
    """`commit`: what it does."""

    async def test_an_inserted_record_comes_back_as_it_was(self, owned: Owned) -> None:
        full = record(
            "full",
            partition=2,
            version="v2",
            status=Status.COMPLETED,
            generation=3,
            turn=2**40,
            tasks_pending=5,
            input=b"[1]",
            output=b"",
            custom_status=b"null",
            failure=b"{}",
            reason="",
            tags={"customer": "7", "": ""},
            start_at=NOON,
            parent="parent",
            trace={"traceparent": "00-1-2-03"},
            updated_at=NOON + timedelta(seconds=1),
            ended_at=NOON + timedelta(microseconds=1),
        )
        await owned.commit(owned.writes(2, inserts=[full, record("bare", partition=2)]))
        found = await owned.store.instances(["full", "bare", "nobody"])
        assert found == {"full": full, "bare": record("bare", partition=2)}

    async def test_an_update_writes_all_that_a_turn_changes(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(tags={"a": "b"}, parent="parent")]))
        later = NOON + timedelta(hours=1)
        change = update(
            turn=7,
            generation=1,
            status=Status.TERMINATED,
            tasks_pending=2,
            output=b"1",
            custom_status=b"2",
            failure=b"3",
            reason="why",
            updated_at=later,
            ended_at=later,
        )
        await owned.commit(owned.writes(updates=[change]))
        assert (await owned.store.instances(["order"]))["order"] == record(
            turn=7,
            generation=1,
            status=Status.TERMINATED,
            tasks_pending=2,
            output=b"1",
            custom_status=b"2",
            failure=b"3",
            reason="why",
            updated_at=later,
            ended_at=later,
            tags={"a": "b"},
            parent="parent",
        )
        await owned.commit(owned.writes(updates=[update(expected_turn=7, turn=8)]))
        found = (await owned.store.instances(["order"]))["order"]
        assert (found.output, found.custom_status, found.failure, found.reason, found.ended_at) == (None,) * 5

    async def test_an_id_is_reused_in_one_commit(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[record(tags={"a": "b"})],
                turns=[turn(), turn(number=1)],
                timers_set=[timer(), timer(command=1)],
            )
        )
        await owned.commit(
            owned.writes(
                deletes=[erase()],
                inserts=[record(run="run-2")],
                turns=[turn(events=b"new")],
                timers_set=[timer(run="run-2", command=1)],
            )
        )
        stored = (await owned.store.load(["order"]))["order"]
        assert stored.record == record(run="run-2")
        assert stored.turns == [b"new"]
        assert await owned.store.timers([0], until=NOON, limit=10) == [timer(run="run-2", command=1)]
        assert await owned.store.find(InstanceFilter(tags={"a": "b"}), limit=10) == []

    async def test_a_deleted_instance_leaves_nothing(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[record(tags={"a": "b"}), record("kept", tags={"a": "b"})],
                turns=[turn(), turn("kept")],
                timers_set=[timer(), timer("kept")],
            )
        )
        await owned.commit(owned.writes(deletes=[erase()]))
        assert set(await owned.store.load(["order", "kept"])) == {"kept"}
        assert await owned.store.history("order") == []
        assert await owned.store.timers([0], until=NOON, limit=10) == [timer("kept")]
        assert [one.id for one in await owned.store.find(InstanceFilter(tags={"a": "b"}), limit=10)] == [
            "kept"
        ]

    async def test_histories_of_earlier_generations_are_dropped(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[record(), record("other")],
                turns=[turn(), turn(number=1), turn("other", events=b"other")],
            )
        )
        await owned.commit(
            owned.writes(
                updates=[update(turn=3, generation=1)],
                histories_dropped=[("order", 1)],
                turns=[turn(number=2, generation=1, events=b"new")],
            )
        )
        loaded = await owned.store.load(["order", "other"])
        assert loaded["order"].turns == [b"new"]
        assert loaded["other"].turns == [b"other"]

    async def test_timers_are_set_cleared_and_moved(self, owned: Owned) -> None:
        later = NOON + timedelta(days=1)
        await owned.commit(owned.writes(timers_set=[timer(), timer(attempt=1), timer(command=1)]))
        cleared = [
            timer(attempt=1),
            timer(command=9),
            timer(run="another run"),
            TimerRow(instance="order", run="run-1", generation=1, key=TimerKey(command=0), fire_at=NOON),
        ]
        await owned.commit(owned.writes(timers_cleared=cleared, timers_set=[timer(fire_at=later)]))
        found = await owned.store.timers([0], until=later, limit=10)
        assert found == [timer(command=1), timer(fire_at=later)]

    async def test_the_outbox_keeps_what_is_not_confirmed(self, owned: Owned) -> None:
        epoch = owned.epochs[0]
        rows = [OutboxRow(partition=0, epoch=epoch, seq=seq, body=str(seq).encode()) for seq in range(3)]
        for row in rows:
            await owned.commit(owned.writes(outbox_added=row))
        other = OutboxRow(partition=1, epoch=owned.epochs[1], seq=1, body=b"other")
        await owned.commit(owned.writes(1, outbox_added=other))
        await owned.commit(owned.writes(outbox_confirmed=[(epoch, 1), (epoch, 1), (epoch, 7)]))
        assert (await owned.store.recovery(0, inbox=0, timers=0)).outbox == [rows[0], rows[2]]
        assert (await owned.store.recovery(1, inbox=0, timers=0)).outbox == [other]
        epochs = await owned.store.claim("me", [0], lease=LONG)
        newer = OutboxRow(partition=0, epoch=epochs[0], seq=0, body=b"newer")
        await Owned(store=owned.store, epochs=dict(epochs)).commit(
            Owned(store=owned.store, epochs=dict(epochs)).writes(outbox_added=newer)
        )
        assert (await owned.store.recovery(0, inbox=0, timers=0)).outbox == [rows[0], rows[2], newer]

    async def test_letters_go_to_any_partition_and_once(self, owned: Owned) -> None:
        await owned.store.deliver([letter("there", 3, body=b"first")])
        await owned.commit(
            owned.writes(inbox_added=[letter("a", 3), letter("there", 3, body=b"second"), letter("b", 0)])
        )
        found = await owned.store.inbox([3], limit=10)
        assert [(one.id, one.body) for one in found] == [("there", b"first"), ("a", b"{}")]
        assert await owned.store.waiting(["b"]) == {"b"}

    async def test_tags_that_a_turn_changes_replace_those_that_were_there(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(tags={"a": "1"}), record("other", tags={"a": "1"})]))
        await owned.commit(owned.writes(updates=[update()]))
        assert (await owned.store.instances(["order"]))["order"].tags == {"a": "1"}, "None leaves them"
        await owned.commit(owned.writes(updates=[update(expected_turn=1, turn=2, tags={"b": "2"})]))
        assert (await owned.store.instances(["order"]))["order"].tags == {"b": "2"}
        for tags, ids in (({"a": "1"}, ["other"]), ({"b": "2"}, ["order"])):
            assert [one.id for one in await owned.store.find(InstanceFilter(tags=tags), limit=10)] == ids
        await owned.commit(owned.writes(updates=[update(expected_turn=2, turn=3, tags={})]))
        assert (await owned.store.instances(["order"]))["order"].tags == {}

    async def test_released_letters_are_read_again_in_their_order(self, owned: Owned) -> None:
        await owned.store.deliver([letter("a", held=True), letter("b"), letter("c", held=True)])
        await owned.commit(owned.writes(inbox_released=["a"]))
        assert [one.id for one in await owned.store.inbox([0], limit=10)] == ["a", "b"]

    async def test_held_letters_are_read_in_recovery_only(self, owned: Owned) -> None:
        await owned.store.deliver([letter("a"), letter("b"), letter("c", held=True)])
        await owned.commit(owned.writes(inbox_held=["a"]))
        assert [one.id for one in await owned.store.inbox([0], limit=10)] == ["b"]
        found = (await owned.store.recovery(0, inbox=10, timers=0)).inbox
        assert [(one.id, one.held) for one in found] == [("a", True), ("b", False), ("c", True)]
        await owned.commit(owned.writes(inbox_taken=["a", "c"]))
        assert await owned.store.waiting(["a", "b", "c"]) == {"b"}

    async def test_ten_thousand_commands_in_one_turn(self, owned: Owned) -> None:
        timers = [timer(command=n, fire_at=NOON + timedelta(seconds=n)) for n in range(MANY)]
        letters = [letter(f"letter-{n}", n % 4) for n in range(MANY)]
        await owned.commit(
            owned.writes(inserts=[record()], turns=[turn()], timers_set=timers, inbox_added=letters)
        )
        assert await owned.store.timers([0], until=timers[-1].fire_at, limit=2 * MANY) == timers
        assert len(await owned.store.waiting([one.id for one in letters])) == MANY
        mine = [one.id for one in await owned.store.inbox([0], limit=2 * MANY)]
        assert mine == [one.id for one in letters if one.partition == 0]
        await owned.commit(owned.writes(updates=[update()], timers_cleared=timers[1:], inbox_taken=mine))
        assert await owned.store.timers([0], until=timers[-1].fire_at, limit=10) == timers[:1]
        assert await owned.store.inbox([0], limit=1) == []

    async def test_ten_thousand_instances_in_one_batch(self, owned: Owned) -> None:
        ids = [f"order-{n}" for n in range(MANY)]
        await owned.commit(
            owned.writes(inserts=[record(id_) for id_ in ids], turns=[turn(id_) for id_ in ids])
        )
        changes = [update(id_, output=id_.encode()) for id_ in ids]
        await owned.commit(owned.writes(updates=changes, turns=[turn(id_, 1, events=b"1") for id_ in ids]))
        loaded = await owned.store.load(ids)
        assert [loaded[id_].record.output for id_ in ids] == [id_.encode() for id_ in ids]
        assert all(loaded[id_].turns == [b"[]", b"1"] for id_ in ids)
        await owned.commit(owned.writes(deletes=[erase(id_, expected_turn=1) for id_ in ids]))
        assert await owned.store.instances(ids) == {}
