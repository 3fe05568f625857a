"""Listing instances, and looking at one."""

from __future__ import annotations

import msgspec
import pytest

from tenuto.client import InstanceFilter
from tenuto.core.events import Event, EventRaised, encode_events
from tenuto.core.reserved import schedule_instance
from tenuto.core.status import Status
from tenuto.errors import NotFoundError
from tenuto.schedules import Overlap, Seen
from tenuto.store.protocol import HistoryRow, PartitionWrites
from tests.unit.client.engine import LEASE, Engine


async def test_a_listing_reads_page_by_page(running: Engine) -> None:
    async with running.client() as client:
        for number in range(7):
            await client.start("w", instance_id=f"i{number}")
        found = [instance.instance_id async for instance in client.list(page_size=3)]
        assert found == [f"i{number}" for number in reversed(range(7))]
        assert running.spy.calls["find"] == 3


async def test_a_page_tells_where_the_next_one_begins(running: Engine) -> None:
    async with running.client() as client:
        for number in range(4):
            await client.start("w", instance_id=f"i{number}")
        first = await client.list_page(limit=2)
        second = await client.list_page(limit=2, after=first.next)
        assert [instance.instance_id for instance in (*first.instances, *second.instances)] == [
            "i3",
            "i2",
            "i1",
            "i0",
        ]
        last = await client.list_page(limit=2, after=second.next)
        assert (last.instances, last.next) == ([], None)


async def test_a_listing_is_filtered(running: Engine) -> None:
    async with running.client() as client:
        await client.start("a", tags={"team": "red"})
        chosen = await client.start("b", tags={"team": "red"})
        await client.start("b")
        where = InstanceFilter(workflow="b", tags={"team": "red"}, statuses=frozenset({Status.RUNNING}))
        assert [instance.instance_id async for instance in client.list(where)] == [chosen.instance_id]


async def test_a_status_decodes_payloads_when_they_are_read(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w", "in")
        status = await handle.status()
        assert (status.input, status.output, status.custom_status, status.failure) == ("in", None, None, None)
        assert status.ended_at is None
        await running.owner.end(handle.instance_id, output=b"[1]", custom_status=b'{"step": 2}')
        status = await handle.status()
    assert (status.output, status.custom_status) == ([1], {"step": 2})
    assert status.ended_at is not None
    assert status.ended_at >= status.created_at
    assert "step" not in repr(status)  # payloads may be large, and may be secret


async def test_a_history_is_the_events_of_all_turns(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        assert await handle.history() == []
        record = (await running.spy.inner.instances([handle.instance_id]))[handle.instance_id]
        events: list[Event] = [EventRaised(name=name, payload=msgspec.Raw(b"1")) for name in "abc"]
        writes = PartitionWrites(partition=record.partition, epoch=running.owner.epoch(record.partition))
        writes.turns = [
            HistoryRow(instance=record.id, turn=0, generation=0, events=encode_events(events[:2])),
            HistoryRow(instance=record.id, turn=1, generation=0, events=encode_events(events[2:])),
        ]
        assert not await running.spy.inner.commit([writes], lease=LEASE)
        names = [event.name for event in await handle.history() if isinstance(event, EventRaised)]
    assert names == ["a", "b", "c"]


async def test_a_schedule_that_has_not_begun_does_not_hide_the_others(running: Engine) -> None:
    async with running.client() as client:
        for name in ("begun", "fresh"):
            await client.schedules.create(name, "w", cron="@daily")
        seen = msgspec.json.encode(Seen(workflow="w", time_zone="UTC", overlap=Overlap.SKIP))
        await running.owner.end(schedule_instance("begun"), status=Status.RUNNING, custom_status=seen)
        assert [schedule.name async for schedule in client.schedules.list()] == ["begun"]
        with pytest.raises(NotFoundError, match="'fresh' has not begun yet"):
            await client.schedules.get("fresh")
