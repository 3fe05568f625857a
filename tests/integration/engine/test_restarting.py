"""SEMANTICS, *Rerun, rewind, restart*."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tenuto import (
    ActivityError,
    AlreadyExistsError,
    App,
    RequestError,
    Status,
    WorkflowContext,
    WorkflowFailedError,
    when_all,
)
from tenuto.client import InstanceFilter
from tenuto.client.sync import SyncClient
from tenuto.core.events import LockRequested
from tenuto.settings import ClientSettings
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("restarting")
runs: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    runs.clear()


@app.activity
async def step(name: str) -> str:
    runs[name] += 1
    return f"{name} done"


@app.workflow
async def greets(ctx: WorkflowContext, name: str) -> str:
    if name == "nobody":
        raise ValueError("nobody to greet")
    return await ctx.call_activity(step, name)


@app.workflow
async def waits(ctx: WorkflowContext) -> Any:
    return await ctx.wait_for_external_event("go")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("Restart")
async def test_restart_is_a_new_instance_with_the_same_input(engine: Engine) -> None:
    """Restart: same input, new instance."""
    handle = await engine.client.start(greets, "Ada", tags={"shop": "berlin"})
    assert await handle.result(timeout=20) == "Ada done"
    again = await handle.restart()
    assert await again.result(timeout=20) == "Ada done"
    assert runs["Ada"] == 2
    old, new = await handle.status(), await again.status()
    assert (new.input, new.tags) == (old.input, old.tags)
    assert (new.instance_id != old.instance_id, new.run != old.run) == (True, True)


@pytest.mark.semantics("Restart")
async def test_a_restart_in_place_replaces_what_has_ended(engine: Engine) -> None:
    handle = await engine.client.start(greets, "nobody", instance_id="one")
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    run = (await handle.status()).run
    again = await handle.restart(instance_id="one")
    with pytest.raises(WorkflowFailedError):
        await again.result(timeout=20)
    assert (await handle.status()).run != run
    alive = await engine.client.start(waits, instance_id="two")
    with pytest.raises(AlreadyExistsError):
        await alive.restart(instance_id="two")


@pytest.mark.semantics("Restart")
async def test_a_restart_with_a_message_id_happens_once(engine: Engine) -> None:
    handle = await engine.client.start(greets, "Ada", instance_id="one")
    await handle.result(timeout=20)
    restarted = [await handle.restart(message_id="again") for _ in range(2)]
    assert len({each.instance_id for each in restarted}) == 1
    assert [await each.result(timeout=20) for each in restarted] == ["Ada done"] * 2
    assert runs["Ada"] == 2


async def test_the_synchronous_client_restarts_and_asks_many(engine: Engine) -> None:
    if engine.place.server is not None:
        pytest.skip("it needs servers that another connection can reach")
    await engine.client.start(waits, instance_id="one")
    await engine.status("one", Status.RUNNING)
    settings = ClientSettings(
        database_url=engine.place.database_url,
        broker_url=engine.place.broker_url,
        namespace=engine.place.namespace,
    )

    def use() -> list[int]:
        everything = InstanceFilter()
        with SyncClient(settings, app=app) as client:
            client.get("one").restart(instance_id="two").started()
            return [
                client.suspend_all(everything, "lunch").asked,
                client.resume_all(everything).asked,
                client.terminate_all(everything).asked,
                client.purge_all(everything).asked,
            ]

    assert await asyncio.to_thread(use) == [2, 2, 2, 2]


# Rewind ---------------------------------------------------------------------------------------------------

broken: set[str] = set()


@app.activity
async def fragile(name: str) -> str:
    runs[name] += 1
    if name in broken:
        raise ValueError(f"{name} is broken")
    return f"{name} done"


@app.workflow
async def steps(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return [await ctx.call_activity(fragile, name) for name in names]


@app.workflow
async def family(ctx: WorkflowContext, names: list[str]) -> list[list[str]]:
    first = await ctx.call_activity(fragile, "parent")
    children = [ctx.call_child_workflow(steps, ["well", name], instance_id=f"child {name}") for name in names]
    return [[first], *await when_all(children)]


@app.workflow
async def holds(ctx: WorkflowContext, child: str) -> Any:
    return await ctx.call_child_workflow(waits, instance_id=child)


@app.workflow
async def cleans_up(ctx: WorkflowContext) -> None:
    try:
        await ctx.call_activity(fragile, "work")
    except ActivityError:
        async with ctx.lock("printer"):
            ctx.set_custom_status("has it")
            await ctx.wait_for_external_event("go")
        raise


@app.workflow
async def keeps_printer(ctx: WorkflowContext) -> None:
    async with ctx.lock("printer"):
        await ctx.wait_for_external_event("go")


@pytest.fixture
def break_things() -> Iterator[set[str]]:
    yield broken
    broken.clear()


@pytest.mark.semantics("Rewind")
async def test_a_failed_instance_goes_on_in_place(engine: Engine, break_things: set[str]) -> None:
    """Rewind: a failed instance goes on in place from its failed activities and children."""
    break_things.add("b")
    handle = await engine.client.start(steps, ["a", "b", "c"])
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    run = (await handle.status()).run
    break_things.clear()
    await handle.rewind("mended")
    assert await handle.result(timeout=20) == ["a done", "b done", "c done"]
    assert runs == {"a": 1, "b": 2, "c": 1}
    assert (await handle.status()).run == run
    with pytest.raises(RequestError, match="neither failed nor been terminated"):
        await handle.rewind()


@pytest.mark.semantics("Rewind")
async def test_rewinding_reaches_the_children(engine: Engine, break_things: set[str]) -> None:
    break_things.add("b")
    handle = await engine.client.start(family, ["a", "b"])
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    break_things.clear()
    await handle.rewind()
    await handle.rewind()  # twice is once: it goes on already
    assert await handle.result(timeout=20) == [
        ["parent done"],
        ["well done", "a done"],
        ["well done", "b done"],
    ]
    assert runs == {"parent": 1, "well": 2, "a": 1, "b": 2}


async def test_rewinding_what_was_terminated_brings_the_children_back(engine: Engine) -> None:
    handle = await engine.client.start(holds, "the child")
    await engine.status("the child", Status.RUNNING)
    await handle.terminate(reason="by mistake")
    await engine.status("the child", Status.TERMINATED)
    await handle.rewind()
    await engine.status("the child", Status.RUNNING)
    await engine.client.get("the child").raise_event("go", "on")
    assert await handle.result(timeout=20) == "on"


@pytest.mark.semantics("Rewind")
async def test_a_child_that_was_purged_is_started_anew(engine: Engine, break_things: set[str]) -> None:
    break_things.add("b")
    handle = await engine.client.start(family, ["b"])
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    await engine.client.get("child b").purge()
    break_things.clear()
    await handle.rewind()
    assert await handle.result(timeout=20) == [["parent done"], ["well done", "b done"]]


async def test_what_is_rewound_asks_again_for_a_lock_that_is_in_use(
    engine: Engine, break_things: set[str]
) -> None:
    break_things.add("work")
    handle = await engine.client.start(cleans_up)

    async def asks() -> bool:
        return isinstance((await handle.history())[-1], LockRequested)

    async def has_it() -> bool:
        return (await engine.record(handle.instance_id)).custom_status is not None

    await until(has_it)
    other = await engine.client.start(keeps_printer, instance_id="other")
    await engine.status("other", Status.RUNNING)
    await handle.raise_event("go")
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    await handle.rewind()
    await until(asks)
    await other.raise_event("go")
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    assert runs == {"work": 2}


async def test_what_is_rewound_survives_a_change_of_owners(
    make_engine: MakeEngine, break_things: set[str]
) -> None:
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    worker = await engine.worker()
    break_things.add("b")
    handle = await engine.client.start(steps, ["a", "b"])
    with pytest.raises(WorkflowFailedError):
        await handle.result(timeout=20)
    await worker.stop()
    await handle.rewind()
    await orchestrator.stop()
    break_things.clear()
    await engine.orchestrator()
    await engine.worker()
    assert await handle.result(timeout=20) == ["a done", "b done"]
