"""SEMANTICS, *Suspend, resume, terminate, purge*: over a filter, and by retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import App, Status, WorkflowContext
from tenuto.client import BulkResult, bulk_verbs
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.database import query
from tests.support.engine import Engine, until

app = App("bulk")


@app.workflow
async def waits(ctx: WorkflowContext) -> Any:
    return await ctx.wait_for_external_event("go")


@app.workflow
async def ends(ctx: WorkflowContext, badly: bool) -> None:
    if badly:
        raise ValueError("badly")


@app.workflow
async def parent(ctx: WorkflowContext, child: str) -> Any:
    return await ctx.call_child_workflow(waits, instance_id=child)


@pytest.fixture
async def engine(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(bulk_verbs, "_PAGE", 3)
    engine = await make_engine(app)
    await engine.orchestrator()
    return engine


async def start(engine: Engine, count: int, **options: Any) -> list[str]:
    handles = [await engine.client.start(waits, **options) for _ in range(count)]
    for handle in handles:
        await handle.started()
    return sorted(handle.instance_id for handle in handles)


async def listed(engine: Engine, *statuses: Status) -> list[str]:
    where = InstanceFilter(statuses=frozenset(statuses))
    return sorted([each.instance_id async for each in engine.client.list(where)])


@pytest.mark.semantics("Over a filter")
async def test_every_verb_goes_over_a_filter(engine: Engine) -> None:
    """Bulk operations over a filter; all idempotent."""
    client = engine.client
    mine, others = await start(engine, 7, tags={"mine": "yes"}), await start(engine, 2)
    where = InstanceFilter(tags={"mine": "yes"})
    assert await client.suspend_all(where, "lunch") == BulkResult(asked=7)
    assert await client.suspend_all(where) == BulkResult(asked=0), "twice is once"
    assert (await client.get(mine[0]).status()).reason == "lunch"
    assert await listed(engine, Status.SUSPENDED) == mine
    assert await client.resume_all(InstanceFilter(), "back") == BulkResult(asked=7)
    assert await client.resume_all(InstanceFilter()) == BulkResult(asked=0)
    assert await client.purge_all(where) == BulkResult(asked=0), "they live"
    assert await client.terminate_all(where, {"by": "me"}, "enough") == BulkResult(asked=7)
    status = await client.get(mine[3]).status()
    assert (status.status, status.reason, status.output) == (Status.TERMINATED, "enough", {"by": "me"})
    assert await client.terminate_all(where) == BulkResult(asked=0)
    assert await client.purge_all(where) == BulkResult(asked=7)
    assert await listed(engine) == others
    assert await client.purge_all(InstanceFilter(), force=True) == BulkResult(asked=2)
    assert await listed(engine) == []


async def test_a_status_that_a_verb_does_not_apply_to_is_left_alone(engine: Engine) -> None:
    await start(engine, 1)
    over = InstanceFilter(statuses=frozenset({Status.COMPLETED}))
    assert await engine.client.terminate_all(over) == BulkResult(asked=0)


async def test_one_insert_and_one_bell_per_partition_for_a_page(engine: Engine) -> None:
    await start(engine, 6)
    sent: list[int] = []
    deliver = engine.store.deliver

    async def counted(rows: Any, **options: Any) -> None:
        sent.append(len(rows))
        await deliver(rows, **options)

    engine.store.deliver = counted  # type: ignore[method-assign]
    assert (await engine.client.suspend_all(InstanceFilter(), wait=False)).asked == 6
    assert sent == [3, 3]

    async def all_suspended() -> bool:
        return len(await listed(engine, Status.SUSPENDED)) == 6

    await until(all_suspended)


@pytest.mark.semantics("Over a filter")
async def test_what_has_become_another_run_meanwhile_is_left_alone(engine: Engine) -> None:
    """The listing showed one run, and another has taken its place when the letter comes."""
    (instance,) = await start(engine, 1, instance_id="one")
    find = engine.store.find

    async def replaced_behind_the_back(*args: Any, **options: Any) -> Any:
        found = await find(*args, **options)
        engine.store.find = find  # type: ignore[method-assign]
        await engine.client.get(instance).terminate()
        again = await engine.client.start(waits, instance_id=instance)
        await again.started()
        return found

    engine.store.find = replaced_behind_the_back  # type: ignore[method-assign]
    await engine.client.terminate_all(InstanceFilter())
    assert (await engine.client.get(instance).status()).status is Status.RUNNING


async def test_terminate_leaves_the_children_alone_if_so_asked(engine: Engine) -> None:
    """Recursive to children by default."""
    handle = await engine.client.start(parent, "child")
    await engine.status("child", Status.RUNNING)
    assert await handle.terminate(recursive=False)
    await engine.client.get("child").raise_event("go")
    await engine.status("child", Status.COMPLETED)


async def test_purge_by_age(engine: Engine) -> None:
    """By filter (status, age, name, tag)."""
    for badly in (False, True):
        await engine.client.start(ends, badly, instance_id=str(badly))
        await engine.status(str(badly), Status.COMPLETED, Status.FAILED)
    now = datetime.now(UTC)
    where = InstanceFilter(ended_before=now - timedelta(days=1))
    assert await engine.client.purge_all(where) == BulkResult(asked=0)
    where = InstanceFilter(ended_before=now + timedelta(days=1), statuses=frozenset({Status.FAILED}))
    assert await engine.client.purge_all(where) == BulkResult(asked=1)
    assert await listed(engine) == ["False"]


@pytest.mark.semantics("Retention")
async def test_retention_is_per_terminal_status(make_engine: MakeEngine) -> None:
    """Retention per terminal status, off by default."""
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    alive = (await start(engine, 1))[0]
    for badly in (False, True):
        await engine.client.start(ends, badly, instance_id=str(badly))
        await engine.status(str(badly), Status.COMPLETED, Status.FAILED)
    await orchestrator.stop()
    await engine.orchestrator(retain_completed=0.01)

    async def purged() -> bool:
        return await listed(engine) == sorted([alive, "True"])

    await until(purged)
    rows = await query(
        engine.place.database_url, "SELECT instance FROM tenuto_history WHERE instance = 'False'"
    )
    assert list(rows) == []
