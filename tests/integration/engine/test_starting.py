"""SEMANTICS, *Identity and start*: delayed starts, starts with a first event, events that come first, tags."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import (
    AlreadyExistsError,
    App,
    InstanceOverError,
    NotFoundError,
    Publisher,
    ReuseAction,
    ReusePolicy,
    Status,
    UsageError,
    WorkflowContext,
    WorkflowTerminatedError,
)
from tenuto.core.turn import START_TIMER
from tenuto.settings import Settings
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, Running, until

FAR = datetime(2200, 1, 1, tzinfo=UTC)
IGNORE = ReusePolicy(action=ReuseAction.IGNORE, statuses=frozenset(Status))
app = App("starting")


@app.workflow
async def moment(ctx: WorkflowContext) -> datetime:
    return ctx.current_utc_datetime


@app.workflow
async def collects(ctx: WorkflowContext, count: int) -> list[Any]:
    return [await ctx.wait_for_external_event("item") for _ in range(count)]


@app.workflow
async def moves_on(ctx: WorkflowContext) -> None:
    ctx.upsert_tags({"stage": "waiting", "new": None})
    await ctx.wait_for_external_event("go")
    ctx.upsert_tags({"stage": "done"})


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    return await make_engine(app)


async def replaced(engine: Engine, orchestrator: Running) -> Running:
    await orchestrator.stop()
    return await engine.orchestrator()


async def timers(engine: Engine) -> list[Any]:
    return list(await engine.store.timers(range(4), until=FAR + timedelta(days=1), limit=10))


@pytest.mark.semantics("Delayed starts")
async def test_a_delayed_start_is_pending_and_survives_restarts(engine: Engine) -> None:
    orchestrator = await engine.orchestrator()
    handle = await engine.client.start(moment, start_at=FAR, instance_id="later")
    status = await handle.status()
    assert (status.status, status.start_at) == (Status.PENDING, FAR)
    soon = await engine.client.start(moment, delay=0.5)
    await replaced(engine, orchestrator)
    await soon.started(timeout=20)
    start_at = (await soon.status()).start_at
    assert start_at is not None
    assert await soon.result(timeout=20) >= start_at
    assert (await handle.status()).status is Status.PENDING
    assert [timer.key for timer in await timers(engine)] == [START_TIMER]


@pytest.mark.semantics("Delayed starts")
async def test_a_delayed_start_can_be_terminated_and_purged(engine: Engine) -> None:
    await engine.orchestrator()
    handle = await engine.client.start(moment, start_at=FAR)
    started = asyncio.create_task(handle.started())
    assert await handle.terminate(reason="changed my mind")
    await started
    with pytest.raises(WorkflowTerminatedError, match="changed my mind"):
        await handle.result()
    assert await timers(engine) == []
    purged = await engine.client.start(moment, start_at=FAR)
    assert await purged.purge(force=True) == 1
    assert await timers(engine) == []


@pytest.mark.semantics("Delayed starts")
async def test_what_comes_before_a_delayed_start_is_kept(engine: Engine) -> None:
    await engine.orchestrator()
    handle = await engine.client.start(collects, 2, delay=0.5)
    await handle.suspend("not yet")
    await handle.raise_event("item", "early")
    assert (await handle.status()).status is Status.SUSPENDED
    await handle.resume()
    await handle.raise_event("item", "second")
    assert await handle.result(timeout=20) == ["early", "second"]


async def test_a_start_with_both_times_or_a_naive_one_is_refused(engine: Engine) -> None:
    await engine.orchestrator()
    with pytest.raises(UsageError, match="not both"):
        await engine.client.start(moment, start_at=FAR, delay=1)
    with pytest.raises(UsageError, match="time zone"):
        await engine.client.start(moment, start_at=FAR.replace(tzinfo=None))


# With a first event ---------------------------------------------------------------------------------------


@pytest.mark.semantics("A first event")
async def test_a_start_delivers_its_first_event_in_one_step(engine: Engine) -> None:
    """`start(..., event=(name, payload))` starts and delivers a first event in one step."""
    await engine.orchestrator()
    handle = await engine.client.start(collects, 1, event=("item", 0))
    assert await handle.result(timeout=20) == [0]


@pytest.mark.semantics("A first event")
async def test_a_first_event_goes_to_the_living_instance_that_is_there(engine: Engine) -> None:
    """As Temporal's signal-with-start, and exactly once: a repetition of the same message raises nothing."""
    await engine.orchestrator()
    for message, payload in (("a", 1), ("b", 2), ("b", 2), ("c", 3)):
        handle = await engine.client.start(
            collects, 3, instance_id="one", event=("item", payload), reuse=IGNORE, message_id=message
        )
    assert await handle.result(timeout=20) == [1, 2, 3]
    with pytest.raises(InstanceOverError, match="has ended as COMPLETED, so it takes no event"):
        await engine.client.start(collects, 3, instance_id="one", event=("item", 4), reuse=IGNORE)
    assert (await engine.client.start(collects, 3, instance_id="one", reuse=IGNORE)).instance_id == "one"


@pytest.mark.semantics("A first event")
async def test_a_refused_start_delivers_no_event(engine: Engine) -> None:
    await engine.orchestrator()
    handle = await engine.client.start(collects, 1, instance_id="one")
    with pytest.raises(AlreadyExistsError):
        await engine.client.start(collects, 1, instance_id="one", event=("item", "refused"))
    await handle.raise_event("item", "raised")
    assert await handle.result(timeout=20) == ["raised"]


async def test_a_first_event_for_a_stalled_instance_is_kept(engine: Engine) -> None:
    """Its start's row is used up, and the event waits with what else is held for the instance."""
    other = App("other")
    orchestrator = await engine.orchestrator()
    await engine.client.start(collects, 1, instance_id="one")
    await engine.status("one", Status.RUNNING)
    await orchestrator.stop()
    stranger = await engine.orchestrator(other)
    engine.client._transport._surroundings._served = frozenset({"collects"})  # type: ignore[attr-defined]
    engine.client._transport._surroundings._asked_at = float("inf")  # type: ignore[attr-defined]
    await engine.client.start(collects, 1, instance_id="one", event=("item", "kept"), reuse=IGNORE)
    await engine.status("one", Status.STALLED)
    await stranger.stop()
    await engine.orchestrator()
    assert await engine.client.get("one").result(timeout=20) == ["kept"]


# Events that come first -----------------------------------------------------------------------------------


@pytest.mark.semantics("Events that come first")
async def test_an_event_is_kept_for_an_instance_that_does_not_exist_yet(engine: Engine) -> None:
    """`raise_event(..., create=True)`, in order, and across a change of owners."""
    orchestrator = await engine.orchestrator()
    handle = engine.client.get("unborn", collects)
    with pytest.raises(NotFoundError):
        await handle.raise_event("item", "lost")
    await handle.raise_event("item", 1, create=True)
    await handle.raise_event("item", 2, create=True)
    orchestrator = await replaced(engine, orchestrator)
    await handle.raise_event("item", 3, create=True)
    await engine.client.start(collects, 4, instance_id="unborn")
    await handle.raise_event("item", 4, create=True)
    assert await handle.result(timeout=20) == [1, 2, 3, 4]
    with pytest.raises(InstanceOverError):
        await handle.raise_event("item", 5, create=True)
    assert (await engine.store.recovery(3, inbox=10, timers=1)).inbox == []


@pytest.mark.semantics("Events that come first")
async def test_a_kept_event_that_nobody_starts_an_instance_for_goes(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, event_window=0.3, partitions=1)
    orchestrator = await engine.orchestrator()
    handle = engine.client.get("unborn", collects)
    await handle.raise_event("item", 1, create=True)
    upkeep: Any = next(
        part
        for part in orchestrator.service._running.parts.others  # type: ignore[union-attr]
        if type(part).__name__ == "Upkeep"
    )

    async def gone() -> bool:
        await upkeep._forget()
        return not (await engine.store.recovery(0, inbox=10, timers=1)).inbox

    await until(gone)
    await engine.client.start(collects, 1, instance_id="unborn")
    await handle.raise_event("item", "after")
    assert await handle.result(timeout=20) == ["after"]


# Tags -----------------------------------------------------------------------------------------------------


@pytest.mark.semantics("Tags")
async def test_tags_upserted_by_the_workflow_are_found(engine: Engine) -> None:
    """Tags (string map) set at start, upserted by the workflow."""
    await engine.orchestrator()
    handle = await engine.client.start(moves_on, tags={"shop": "berlin", "new": "yes"}, instance_id="one")
    await handle.started()
    assert (await handle.status()).tags == {"shop": "berlin", "stage": "waiting"}

    async def found(**tags: str) -> list[str]:
        return [each.instance_id async for each in engine.client.list(InstanceFilter(tags=tags))]

    assert await found(stage="waiting", shop="berlin") == ["one"]
    assert await found(new="yes") == []
    await handle.raise_event("go")
    await handle.result(timeout=20)
    assert (await found(stage="done"), await found(stage="waiting")) == (["one"], [])


# The public door ------------------------------------------------------------------------------------------


async def test_the_publisher_delays_and_brings_an_event(engine: Engine) -> None:
    await engine.orchestrator()
    broker = engine.place.broker("publisher")
    await broker.open()
    publisher = Publisher(Settings(namespace=engine.place.namespace), broker=broker)
    later = await publisher.start(moment, start_at=FAR)
    now = await publisher.start(collects, 1, event=("item", "published"))
    assert (await engine.status(later, Status.PENDING)).start_at == FAR
    await engine.status(now, Status.COMPLETED)
    assert await engine.client.get(now, collects).result() == ["published"]
    await broker.close()


# The registry ---------------------------------------------------------------------------------------------


@pytest.mark.semantics("What a deployment can run")
async def test_the_registry_lists_what_the_deployment_can_run(engine: Engine) -> None:
    """The registry of served workflows: names, versions, parameter schemas, live instances."""
    await engine.orchestrator()
    await engine.client.start(collects, 1)
    served = {workflow.name: workflow for workflow in (await engine.client.registry()).workflows}
    assert {"moment", "collects", "moves_on"} <= served.keys()
    assert (served["collects"].input, served["collects"].live) == ({"type": "integer"}, 1)
    assert served["moment"].input is None
