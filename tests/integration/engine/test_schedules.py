"""Schedules, run by the whole engine: they survive restarts, and fire once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tenuto import AlreadyExistsError, App, NotFoundError, Overlap, SyncClient, UsageError, WorkflowContext
from tenuto.core.reserved import schedule_instance
from tenuto.core.status import Status
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("schedules")


@app.workflow
async def report(ctx: WorkflowContext, of: str) -> str:
    return f"{of}: {ctx.current_utc_datetime}"


@app.workflow
async def listens(ctx: WorkflowContext, _: str) -> None:
    await ctx.wait_for_external_event("go")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    return engine


async def runs_of(engine: Engine, name: str) -> list[str]:
    where = InstanceFilter(tags={"tenuto.schedule": name})
    return sorted([run.instance_id async for run in engine.client.list(where)])


async def ran(engine: Engine, name: str, count: int) -> None:
    async def enough() -> bool:
        return len(await runs_of(engine, name)) >= count

    await until(enough)


@pytest.mark.semantics("fires once")
@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.ALLOW])
async def test_a_schedule_survives_restarts_and_fires_once(make_engine: MakeEngine, overlap: Overlap) -> None:
    """Rule T2. Each run's id is its time, so a firing that was made twice would be refused, and counted."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.client.schedules.create("often", report, "now", every=0.2, overlap=overlap, catch_up=3)
    await ran(engine, "often", 2)
    await first.kill()
    second = await engine.orchestrator()
    await ran(engine, "often", 5)
    await second.stop()
    await engine.orchestrator()
    await ran(engine, "often", 8)
    await engine.client.schedules.pause("often")
    seen = await engine.client.schedules.get("often")

    async def settled() -> bool:
        return len(await runs_of(engine, "often")) == seen.runs

    await until(settled)
    runs = [await engine.record(run) for run in await runs_of(engine, "often")]
    assert {one.status for one in runs} <= {Status.COMPLETED, Status.RUNNING}
    assert max(Counter(one.id for one in runs).values()) == 1
    assert seen.last_failure is None


@pytest.mark.semantics("paused and resumed")
async def test_a_schedule_is_seen_paused_resumed_and_changed(engine: Engine) -> None:
    schedules, before = engine.client.schedules, datetime.now(UTC)
    await schedules.create(
        "nightly", report, "yesterday", cron="0 3 * * *", time_zone="Europe/Berlin", tags={"team": "a"}
    )
    seen = await schedules.get("nightly")
    assert (seen.name, seen.workflow, seen.cron, seen.time_zone) == (
        "nightly",
        "report",
        "0 3 * * *",
        "Europe/Berlin",
    )
    assert seen.next is not None
    assert timedelta() < seen.next - before < timedelta(days=1, hours=1)
    assert (seen.next.minute, seen.last, seen.runs, seen.paused) == (0, None, 0, False)
    await schedules.pause("nightly", "holidays")
    paused = await schedules.get("nightly")
    assert (paused.paused, paused.reason, paused.next) == (True, "holidays", None)
    await schedules.resume("nightly")
    assert (await schedules.get("nightly")).next == seen.next
    await schedules.update("nightly", every=timedelta(hours=2), overlap=Overlap.ALLOW)
    changed = await schedules.get("nightly")
    assert (changed.cron, changed.every, changed.overlap, changed.tags) == (
        None,
        7200.0,
        "allow",
        {"team": "a"},
    )
    assert [one.name async for one in schedules.list()] == ["nightly"]
    assert [one async for one in engine.client.list()] == [], "schedules are hidden from listings"


@pytest.mark.semantics("paused and resumed")
async def test_a_trigger_runs_now_and_is_seen(engine: Engine) -> None:
    schedules = engine.client.schedules
    await schedules.create("rarely", listens, "x", cron="@yearly")
    run = await schedules.trigger("rarely")
    await engine.status(run, Status.RUNNING)
    seen = await schedules.get("rarely")
    assert (seen.running, seen.runs, seen.last_run) == (True, 1, run)
    skipped = await schedules.trigger("rarely")
    await engine.client.get(run).terminate(reason="enough")

    async def heard() -> bool:
        return not (await schedules.get("rarely")).running

    await until(heard)
    assert "enough" in ((await schedules.get("rarely")).last_failure or "")
    with pytest.raises(NotFoundError):
        await engine.client.get(skipped).status()


async def test_runs_outlive_a_schedule_that_is_deleted(engine: Engine) -> None:
    schedules = engine.client.schedules
    await schedules.create("gone", listens, "x", cron="@yearly")
    run = await schedules.trigger("gone")
    await engine.status(run, Status.RUNNING)
    await schedules.delete("gone")

    async def deleted() -> bool:
        return not await engine.store.instances([schedule_instance("gone")])

    await until(deleted)
    assert (await engine.record(run)).status is Status.RUNNING
    for verb in (schedules.get, schedules.pause, schedules.resume, schedules.trigger, schedules.delete):
        with pytest.raises(NotFoundError):
            await verb("gone")
    await schedules.create("gone", listens, "x", cron="@yearly")


async def test_what_is_no_schedule_is_refused(engine: Engine) -> None:
    schedules = engine.client.schedules
    with pytest.raises(UsageError, match="no cron expression"):
        await schedules.create("bad", report, cron="often")
    with pytest.raises(UsageError, match="either"):
        await schedules.create("bad", report)
    with pytest.raises(UsageError, match="200 characters"):
        await schedules.create("x" * 201, report, cron="@daily")
    await schedules.create("taken", report, "x", cron="@daily")
    with pytest.raises(AlreadyExistsError):
        await schedules.create("taken", report, "x", cron="@daily")
    with pytest.raises(UsageError, match="no time zone"):
        await schedules.update("taken", time_zone="Mars")


async def test_many_schedules_fire_at_once(engine: Engine) -> None:
    names = [f"s{number}" for number in range(20)]
    await asyncio.gather(*(engine.client.schedules.create(name, report, name, every=0.3) for name in names))
    for name in names:
        await ran(engine, name, 2)


async def test_the_synchronous_client_manages_schedules(engine: Engine) -> None:
    place = engine.place
    settings = ClientSettings(
        database_url=place.database_url,
        broker_url=place.broker_url,
        namespace=place.namespace,
        poll_interval=0.1,
    )

    def use() -> list[object]:
        with SyncClient(settings) as client:
            schedules = client.schedules
            schedules.create("weekly", report, "x", cron="@weekly", paused=True)
            schedules.resume("weekly", "back")
            schedules.update("weekly", cron="@monthly")
            schedules.pause("weekly", "holidays")
            schedules.trigger("weekly")
            seen = schedules.get("weekly")
            names = [one.name for one in schedules.list()]
            schedules.delete("weekly")
            return [seen.cron, seen.paused, seen.reason, names, list(schedules.list())]

    assert await asyncio.to_thread(use) == ["@monthly", True, "holidays", ["weekly"], []]
