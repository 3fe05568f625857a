"""What outsiders write: letters, and admissions by the public door (rules I2, I3, N2)."""
# ruff: noqa: S101, PLR2004 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tenuto.errors import DataRefusedError, UsageError
from tenuto.store.protocol import Admission, Store
from tenuto.testing.store_contract.base import (
    LONG,
    NASTY,
    OpenStore,
    StoreFixtures,
    letter,
    member,
)

__all__ = ["LetterContract"]


def admission(name: str, *, target: str = "order", message_id: str | None = "message") -> Admission:
    """A start that arrived `name`: its letter is `name`, and `name again` if it is a duplicate."""
    return Admission(
        row=letter(name, target=target),
        message_id=message_id,
        duplicate=letter(f"{name} again", target=target),
    )


class LetterContract(StoreFixtures):
    """`deliver`, `admit`, `forget_seen`."""

    async def test_a_letter_is_delivered_once(self, store: Store) -> None:
        await store.deliver([letter("a", body=b"first")])
        await store.deliver([letter("a", body=b"second"), letter("b"), letter("b", body=b"twice")])
        await store.deliver([])
        found = await store.inbox([0], limit=10)
        assert [(one.id, one.body) for one in found] == [("a", b"first"), ("b", b"{}")]

    async def test_letters_delivered_at_once_all_arrive_once(
        self, open_store: OpenStore, store: Store
    ) -> None:
        stores = [store, await open_store()]
        rows = [letter(str(n)) for n in range(20)]
        await asyncio.gather(*(stores[n % 2].deliver(rows) for n in range(6)))
        assert sorted(one.id for one in await store.inbox([0], limit=100)) == sorted(one.id for one in rows)

    async def test_a_refused_letter_keeps_out_the_others(self, store: Store) -> None:
        with pytest.raises(DataRefusedError):
            await store.deliver([letter("a"), letter("b", partition=2**70)])
        with pytest.raises(DataRefusedError):
            await store.deliver([letter("a"), letter("lone \ud800")])
        assert await store.waiting(["a"]) == frozenset()

    async def test_a_connection_that_is_none(self, store: Store) -> None:
        with pytest.raises(UsageError, match="str"):
            await store.deliver([letter("a")], connection="a connection")

    async def test_a_message_is_admitted_once(self, store: Store) -> None:
        assert await store.admit([admission("first")]) == [True]
        assert await store.admit([admission("second"), admission("third", message_id="other")]) == [
            False,
            True,
        ]
        assert [one.id for one in await store.inbox([0], limit=10)] == ["first", "second again", "third"]
        assert await store.admit([]) == []

    async def test_the_same_message_twice_in_one_go(self, store: Store) -> None:
        admissions = [admission("first"), admission("second"), admission("elsewhere", target="other")]
        assert await store.admit(admissions) == [True, False, True]
        assert await store.waiting(["first", "second", "second again", "elsewhere"]) == {
            "first",
            "second again",
            "elsewhere",
        }

    async def test_without_an_id_every_message_is_new(self, store: Store) -> None:
        assert await store.admit([admission("a", message_id=None), admission("b", message_id=None)]) == [
            True,
            True,
        ]
        assert await store.waiting(["a", "b"]) == {"a", "b"}

    async def test_a_duplicate_may_be_silent(self, store: Store) -> None:
        silent = Admission(row=letter("a"), message_id="message")
        assert await store.admit([silent]) == [True]
        assert await store.admit([Admission(row=letter("b"), message_id="message")]) == [False]
        assert await store.waiting(["a", "b"]) == {"a"}

    async def test_ids_of_messages_may_hold_any_character(self, store: Store) -> None:
        assert await store.admit([admission("a", message_id=NASTY)]) == [True]
        assert await store.admit([admission("b", message_id=NASTY)]) == [False]
        assert await store.admit([admission("c", message_id="")]) == [True]

    async def test_of_messages_admitted_at_once_each_counts_once(
        self, open_store: OpenStore, store: Store
    ) -> None:
        stores = [store, await open_store()]

        async def admit(number: int) -> list[bool]:
            ids = [f"message-{n}" for n in range(10)]
            batch = [
                admission(f"{number}-{id_}", message_id=id_) for id_ in (ids if number % 2 else ids[::-1])
            ]
            new = list(await stores[number % 2].admit(batch))
            return new if number % 2 else new[::-1]

        results = await asyncio.gather(*map(admit, range(6)))
        assert [sum(column) for column in zip(*results, strict=True)] == [1] * 10
        waiting = [one.id for one in await store.inbox([0], limit=100)]
        assert len(waiting) == 60
        assert len([id_ for id_ in waiting if not id_.endswith(" again")]) == 10

    async def test_a_refused_admission_stores_nothing(self, store: Store) -> None:
        refused = Admission(row=letter("b", partition=2**70), message_id="other")
        with pytest.raises(DataRefusedError):
            await store.admit([admission("a"), refused])
        assert await store.waiting(["a"]) == frozenset()
        assert await store.admit([admission("a")]) == [True]

    async def test_what_was_seen_is_forgotten_by_its_age(self, store: Store) -> None:
        before = (await store.beat(member(), lease=LONG, ttl=LONG)).now
        await store.admit([admission("a"), admission("b", target="other")])
        assert await store.forget_seen(before=before - timedelta(seconds=1)) == 0
        assert await store.admit([admission("c")]) == [False]
        assert await store.forget_seen(before=datetime.max.replace(tzinfo=UTC)) == 2
        assert await store.admit([admission("d")]) == [True]
