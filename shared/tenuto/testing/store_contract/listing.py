"""Listings: filters and keyset pagination."""
# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from datetime import datetime, timedelta

from tenuto.core.status import Status
from tenuto.store.protocol import InstanceFilter, Store
from tenuto.testing.store_contract.base import NOON, Owned, StoreFixtures, record

__all__ = ["ListingContract"]

SECOND = timedelta(seconds=1)


async def ids(store: Store, where: InstanceFilter | None = None) -> list[str]:
    """The ids that fit, in the order of the listing."""
    return [one.id for one in await store.find(where or InstanceFilter(), limit=100)]


class ListingContract(StoreFixtures):
    """`find` and `tally`."""

    async def test_a_tally_counts_by_workflow_version_and_status(self, owned: Owned) -> None:
        records = [
            record("1", workflow="b", tags={"team": "red"}),
            record("2", workflow="b"),
            record("3", workflow="a", version="v2"),
            record("4", workflow="a", version="v1", status=Status.FAILED, tags={"team": "red"}),
        ]
        await owned.commit(owned.writes(inserts=records))
        everything = await owned.store.tally(InstanceFilter())
        assert [(one.workflow, one.version, one.status, one.count) for one in everything] == [
            ("a", "v1", Status.FAILED, 1),
            ("a", "v2", Status.PENDING, 1),
            ("b", None, Status.PENDING, 2),
        ]
        red = await owned.store.tally(InstanceFilter(tags={"team": "red"}))
        assert [(one.workflow, one.count) for one in red] == [("a", 1), ("b", 1)]
        assert await owned.store.tally(InstanceFilter(workflow="none")) == []

    async def test_newest_first_then_by_id(self, owned: Owned) -> None:
        names = ["B", "a", "é", "b", "\uffff", "\U0001f600", "a b", "_", "10", "9"]
        await owned.commit(
            owned.writes(
                inserts=[record(id_) for id_ in names] + [record("newest", created_at=NOON + SECOND)]
            )
        )
        assert await ids(owned.store) == ["newest", *sorted(names, reverse=True)]

    async def test_pages_neither_repeat_nor_skip(self, owned: Owned) -> None:
        records = [record(f"order-{n:02}", created_at=NOON + SECOND * (n // 4)) for n in range(20)]
        await owned.commit(owned.writes(inserts=records))
        expected = [one.id for one in reversed(records)]
        seen: list[str] = []
        after: tuple[datetime, str] | None = None
        while page := await owned.store.find(InstanceFilter(), limit=3, after=after):
            seen += [one.id for one in page]
            after = (page[-1].created_at, page[-1].id)
            # What comes meanwhile is newer than what was seen, and does not shift the pages.
            late = record(f"late-{len(seen)}", created_at=NOON + timedelta(days=1))
            await owned.commit(owned.writes(inserts=[late]))
        assert seen == expected

    async def test_by_status(self, owned: Owned) -> None:
        await owned.commit(owned.writes(inserts=[record(status.value, status=status) for status in Status]))
        found = await ids(owned.store, InstanceFilter(statuses=frozenset({Status.RUNNING, Status.FAILED})))
        assert found == ["RUNNING", "FAILED"]

    async def test_by_workflow_version_and_parent(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[
                    record("1", workflow="a"),
                    record("2", workflow="a", version="v1"),
                    record("3", workflow="A", version="v1", parent="1"),
                    record("4", workflow="a\u0301", parent="2"),
                ]
            )
        )
        assert await ids(owned.store, InstanceFilter(workflow="a")) == ["2", "1"]
        assert await ids(owned.store, InstanceFilter(version="v1")) == ["3", "2"]
        assert await ids(owned.store, InstanceFilter(workflow="a", version="v1")) == ["2"]
        assert await ids(owned.store, InstanceFilter(parent="1")) == ["3"]
        assert await ids(owned.store, InstanceFilter(parent="9")) == []

    async def test_builtin_workflows_are_left_out_unless_asked_for(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(
                inserts=[
                    record("1", workflow="tenuto.lock"),
                    record("2", workflow="Tenuto.lock"),
                    record("3"),
                ]
            )
        )
        assert await ids(owned.store, InstanceFilter()) == ["3", "2"]
        assert await ids(owned.store, InstanceFilter(builtin=True)) == ["3", "2", "1"]
        assert await ids(owned.store, InstanceFilter(workflow="tenuto.lock")) == ["1"]

    async def test_by_the_time_of_the_end(self, owned: Owned) -> None:
        over = {"status": Status.COMPLETED}
        await owned.commit(
            owned.writes(
                inserts=[
                    record("alive"),
                    record("1", ended_at=NOON + SECOND, run="r1", turn=7, **over),
                    record("2", ended_at=NOON + 2 * SECOND, run="r2", created_at=NOON - SECOND, **over),
                    record("3", ended_at=NOON + 3 * SECOND, **over),
                    record("failed", ended_at=NOON, status=Status.FAILED),
                ]
            ),
            owned.writes(1, inserts=[record("elsewhere", partition=1, ended_at=NOON, **over)]),
        )
        before = NOON + 3 * SECOND
        assert await ids(owned.store, InstanceFilter(ended_before=before)) == [
            "failed",
            "elsewhere",
            "1",
            "2",
        ]
        found = await owned.store.ended([0, 2], Status.COMPLETED, before=before, limit=10)
        assert found == [("2", "r2", 0), ("1", "r1", 7)]
        assert await owned.store.ended([0], Status.COMPLETED, before=before, limit=1) == [("2", "r2", 0)]
        assert await owned.store.ended([], Status.COMPLETED, before=before, limit=1) == []

    async def test_by_tags(self, owned: Owned) -> None:
        long = "x" * 10_000
        await owned.commit(
            owned.writes(
                inserts=[
                    record("1", tags={"customer": "7", "region": "eu"}),
                    record("2", tags={"customer": "7"}),
                    record("3", tags={"customer": "8", "7": "customer", "a": "\x00"}),
                    record("4", tags={"long": long}),
                ]
            )
        )
        assert await ids(owned.store, InstanceFilter(tags={"customer": "7"})) == ["2", "1"]
        assert await ids(owned.store, InstanceFilter(tags={"customer": "7", "region": "eu"})) == ["1"]
        assert await ids(owned.store, InstanceFilter(tags={"a": "\x00"})) == ["3"]
        assert await ids(owned.store, InstanceFilter(tags={"long": long})) == ["4"]
        assert await ids(owned.store, InstanceFilter(tags={"region": "us"})) == []

    async def test_by_id_prefix(self, owned: Owned) -> None:
        names = [
            "order-1",
            "order-2",
            "order",
            "orders",
            "Order-1",
            "ord%r",
            "ord_r",
            "ord\ud7ff1",
            "ord\ue000",
        ]
        tops = ["\U0010ffff", "\U0010ffff2", "é", "e\u0301"]
        await owned.commit(owned.writes(inserts=[record(id_) for id_ in names + tops]))

        async def fitting(prefix: str) -> set[str]:
            return set(await ids(owned.store, InstanceFilter(id_prefix=prefix)))

        assert await fitting("order-") == {"order-1", "order-2"}
        assert await fitting("order") == {"order", "order-1", "order-2", "orders"}
        assert await fitting("ord%") == {"ord%r"}
        assert await fitting("ord_") == {"ord_r"}
        assert await fitting("ord\ud7ff") == {"ord\ud7ff1"}
        assert await fitting("\U0010ffff") == {"\U0010ffff", "\U0010ffff2"}
        assert await fitting("e") == {"e\u0301"}
        assert await fitting("") == set(names + tops)
        assert await fitting("nobody") == set()

    async def test_by_time_of_creation(self, owned: Owned) -> None:
        await owned.commit(
            owned.writes(inserts=[record(str(n), created_at=NOON + SECOND * n) for n in range(4)])
        )
        where = InstanceFilter(created_after=NOON + SECOND, created_before=NOON + 3 * SECOND)
        assert await ids(owned.store, where) == ["2", "1"]

    async def test_conditions_all_hold_and_pages_respect_them(self, owned: Owned) -> None:
        records = [
            record(
                f"order-{n}",
                status=Status.FAILED if n % 2 else Status.COMPLETED,
                tags={"parity": str(n % 2)},
                workflow="w",
            )
            for n in range(10)
        ]
        await owned.commit(owned.writes(inserts=records))
        where = InstanceFilter(
            statuses=frozenset({Status.FAILED}), tags={"parity": "1"}, workflow="w", id_prefix="order-"
        )
        page = await owned.store.find(where, limit=2, after=(NOON, "order-7"))
        assert [one.id for one in page] == ["order-5", "order-3"]
        assert page[0] == records[5]
