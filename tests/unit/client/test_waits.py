"""The loop that looks for everybody who waits, by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tenuto.client.waits import Gone, Told, Waits
from tenuto.messages import NoticeEntry
from tenuto.store.protocol import InstanceRecord, Store
from tests.unit.client.engine import NEVER, OFTEN


class Inbox:
    """A store whose inbox and instances a test fills, and which can hold queries back."""

    def __init__(self) -> None:
        self.rows: set[str] = set()
        self.records: dict[str, Any] = {}
        self.asked_rows: list[list[str]] = []
        self.asked_instances: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.looked = asyncio.Event()

    async def waiting(self, rows: Sequence[str]) -> frozenset[str]:
        self.asked_rows.append(list(rows))
        return frozenset(self.rows & set(rows))

    async def instances(self, ids: Sequence[str]) -> dict[str, InstanceRecord]:
        self.asked_instances.append(list(ids))
        found = {instance: self.records[instance] for instance in ids if instance in self.records}
        self.looked.set()
        await self.gate.wait()
        return found

    def waits(self, *, interval: float, listening: bool = True) -> Waits:
        return Waits(cast("Store", self), interval=interval, listening=lambda: listening)


def anything(_: InstanceRecord | None) -> bool:
    return True


@pytest.mark.parametrize(("listening", "looks"), [(True, 2), (False, 1)])
async def test_where_notifications_arrive_one_is_given_time_to(*, listening: bool, looks: int) -> None:
    inbox = Inbox()
    waits = inbox.waits(interval=OFTEN, listening=listening)
    with waits.request("row", grace=True) as request:
        assert await request.answer() == Gone()
    assert inbox.asked_rows == [["row"]] * looks
    await waits.close()


async def test_a_notification_says_more_than_a_look() -> None:
    inbox = Inbox()
    waits = inbox.waits(interval=NEVER)
    with waits.request("row") as request, waits.request("row") as same, waits.request("other") as other:
        waits.hear(NoticeEntry(instance="one", request="row", error="NotFoundError: no"))
        waits.hear(NoticeEntry(instance="one", request="row"))
        waits.hear(NoticeEntry(instance="one", request="nobody's"))
        assert await request.answer() == await same.answer() == Told("NotFoundError: no")
        assert not other.future.done()
    assert not inbox.asked_rows
    await waits.close()


async def test_a_row_that_is_not_sent_yet_is_not_taken_for_dealt_with() -> None:
    inbox = Inbox()
    waits = inbox.waits(interval=NEVER)
    with waits.request("row") as request:
        waits.look()
        await waits.record("one", anything)  # a look at everything is over
        assert not request.future.done()
        inbox.rows.add("row")
        answer = asyncio.create_task(request.answer())
        await asyncio.sleep(0)
        waits.look()
        await waits.record("one", anything)
        assert not answer.done()
        inbox.rows.clear()
        waits.look()
        assert await answer == Gone()
    assert inbox.asked_rows == [["row"], ["row"]]
    await waits.close()


async def test_a_look_does_not_answer_those_who_came_during_it() -> None:
    """Its answer is from before, when what they wait for may not have been there yet."""
    inbox = Inbox()
    waits = inbox.waits(interval=NEVER)
    inbox.gate.clear()
    early = asyncio.create_task(waits.record("one", anything))
    await inbox.looked.wait()
    late = asyncio.create_task(waits.record("one", anything))
    await asyncio.sleep(0)
    record: Any = object()
    inbox.records["one"] = record
    inbox.gate.set()
    assert await early is None
    assert await late is record
    assert inbox.asked_instances == [["one"], ["one"]]
    await waits.close()


async def test_nobody_waits_nobody_looks() -> None:
    inbox = Inbox()
    waits = inbox.waits(interval=OFTEN)
    await waits.record("one", anything)
    task: Any = waits._task
    await task  # the loop ends by itself when nobody waits any more
    assert inbox.asked_instances == [["one"]]
    assert await waits.record("two", anything) is None  # and begins again
    await waits.close()


async def test_a_wait_that_is_given_up_is_forgotten() -> None:
    inbox = Inbox()
    waits = inbox.waits(interval=NEVER)
    wait = asyncio.create_task(waits.record("one", lambda record: record is not None))
    await inbox.looked.wait()
    wait.cancel()
    await asyncio.wait([wait])
    waits.hear(NoticeEntry(instance="one"))
    await waits.record("two", anything)
    assert inbox.asked_instances == [["one"], ["two"]]
    await waits.close()
