"""Children: what their parents and they owe each other, through ends, generations and crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tenuto import (
    App,
    ChildWorkflowError,
    RetryPolicy,
    WorkflowContext,
    WorkflowFailedError,
    activity,
    when_all,
)
from tenuto.core.events import ChildRetried
from tenuto.core.status import Status
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("children")
attempts: list[str] = []


@app.activity
async def fails_at_first(_: None) -> str:
    attempts.append(activity.context().instance_id)
    if len(attempts) < 3:
        raise OSError("not yet")
    return attempts[-1]


@app.workflow
async def listens(ctx: WorkflowContext, _: None = None) -> Any:
    return await ctx.wait_for_external_event("go")


@app.workflow
async def fragile(ctx: WorkflowContext, _: None = None) -> str:
    return await ctx.call_activity(fails_at_first, None)


@app.workflow
async def retries(ctx: WorkflowContext, _: None = None) -> str:
    return await ctx.call_child_workflow(
        fragile, None, retry=RetryPolicy(max_attempts=5, first_interval=0.01)
    )


@app.workflow
async def adopts(ctx: WorkflowContext, child: str) -> list[Any]:
    """Asks for a child of an id that may be taken, and for another after it."""
    found: list[Any] = []
    for name in (child, f"{child}-too"):
        try:
            found.append(await ctx.call_child_workflow(listens, None, instance_id=name))
        except ChildWorkflowError as error:
            found.append(error.failure and error.failure.type)
    return found


@app.workflow
async def family(ctx: WorkflowContext, generations: list[str]) -> None:
    """A parent of a parent … of a listener."""
    if not generations:
        await ctx.wait_for_external_event("never")
    await when_all([ctx.call_child_workflow(family, generations[1:], instance_id=generations[0])])


@app.workflow
async def leaves(ctx: WorkflowContext, how: str) -> str:
    ctx.call_child_workflow(listens, None, instance_id="kept", abandon=True)
    ctx.call_child_workflow(listens, None, instance_id="dropped")
    await ctx.wait_for_external_event("go")
    if how == "again":
        ctx.continue_as_new("stay")
    if how == "fail":
        raise RuntimeError(how)
    if how == "stay":
        await ctx.wait_for_external_event("never")
    return how


@app.workflow
async def moves_on(ctx: WorkflowContext, generation: int) -> list[Any]:
    """Continues as new at the very event that also lets its child end."""
    child = ctx.call_child_workflow(listens, None, instance_id=f"child-{generation}", abandon=True)
    await ctx.wait_for_external_event("move")
    if generation < 2:
        ctx.continue_as_new(generation + 1)
        return []
    return [generation, await child]


@pytest.fixture(autouse=True)
def _no_attempts() -> None:
    attempts.clear()


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("default id")
async def test_a_retry_is_a_child_with_a_fresh_id(engine: Engine) -> None:
    handle = await engine.client.start(retries, None, instance_id="parent")
    last = await handle.result(timeout=20)
    assert len(set(attempts)) == 3
    assert attempts[1:] == [f"{attempts[0]}:2", f"{attempts[0]}:3"]
    assert last == attempts[2]
    assert len([one for one in await handle.history() if isinstance(one, ChildRetried)]) == 2
    children = [one async for one in engine.client.list(InstanceFilter(parent="parent"))]
    assert {one.status for one in children} == {Status.FAILED, Status.COMPLETED}


@pytest.mark.semantics("A child whose id a live instance has")
async def test_a_child_id_that_a_live_instance_has_fails_that_call_at_once_and_nothing_else(
    engine: Engine,
) -> None:
    taken = await engine.client.start(listens, None, instance_id="taken")
    parent = await engine.client.start(adopts, "taken")
    await engine.status("taken-too", Status.RUNNING)
    await engine.client.get("taken-too").raise_event("go", "second")
    assert await parent.result(timeout=20) == ["AlreadyExistsError", "second"]
    assert (await taken.status()).status is Status.RUNNING


@pytest.mark.semantics("A child whose id a live instance has")
async def test_a_child_id_that_a_terminal_instance_has_is_replaced(engine: Engine) -> None:
    old = await engine.client.start(listens, None, instance_id="mine")
    await old.terminate()
    before = (await engine.record("mine")).run
    parent = await engine.client.start(adopts, "mine")

    async def replaced() -> bool:
        return (await engine.record("mine")).run != before

    await until(replaced)
    for name in ("mine", "mine-too"):
        await engine.status(name, Status.RUNNING)
        await engine.client.get(name).raise_event("go", name)
    assert await parent.result(timeout=20) == ["mine", "mine-too"]


@pytest.mark.semantics("The parent-close policy")
@pytest.mark.parametrize("how", ["return", "fail", "again", "terminate"])
async def test_the_parent_close_policy(engine: Engine, how: str) -> None:
    """Terminate (the default), or abandon: on completion, failure, continue-as-new and termination."""
    parent = await engine.client.start(leaves, how, instance_id="parent")
    await engine.status("kept", Status.RUNNING)
    await engine.status("dropped", Status.RUNNING)
    runs = {name: (await engine.record(name)).run for name in ("kept", "dropped")}
    if how == "terminate":
        await parent.terminate(reason="enough")
    else:
        await parent.raise_event("go")

    async def over() -> bool:
        dropped = await engine.record("dropped")
        return dropped.run != runs["dropped"] or dropped.status is Status.TERMINATED

    await until(over)
    kept = await engine.record("kept")
    assert (kept.run, kept.status) == (runs["kept"], Status.RUNNING)
    if how != "again":  # its next generation asks for children of the same ids
        assert "its parent" in ((await engine.record("dropped")).reason or "")


@pytest.mark.semantics("The outcome of a child that ends while its parent continues as new")
async def test_a_child_that_ends_while_its_parent_continues_as_new_answers_nobody(engine: Engine) -> None:
    """Regression of other engines: the answer belongs to the old generation, and the new one must not take it."""
    parent = await engine.client.start(moves_on, 0, instance_id="parent")
    for generation in range(2):
        child = engine.client.get(f"child-{generation}")
        await engine.status(child.instance_id, Status.RUNNING)
        await asyncio.gather(parent.raise_event("move"), child.raise_event("go", f"late {generation}"))
        await engine.status(child.instance_id, Status.COMPLETED)
    await engine.status("child-2", Status.RUNNING)
    await parent.raise_event("move")
    assert (await parent.status()).status is Status.RUNNING
    await engine.client.get("child-2").raise_event("go", "in time")
    assert await parent.result(timeout=20) == [2, "in time"]


@pytest.mark.semantics("Terminate")
@pytest.mark.parametrize("moment", ["before the child is told", "while the cascade runs"])
async def test_the_cascade_of_terminate_survives_crashes(make_engine: MakeEngine, moment: str) -> None:
    """Regression of other engines: an instance runs for ever after its parent was terminated."""
    engine = await make_engine(app)
    crash = _CrashAfterTerminating({"before the child is told": 1, "while the cascade runs": 2}[moment])
    first = await engine.orchestrator(faults=crash)
    generations = ["child", "grandchild", "great-grandchild"]
    parent = await engine.client.start(family, generations, instance_id="parent")
    await engine.status("great-grandchild", Status.RUNNING)
    crash.armed = True
    await parent.terminate(reason="enough", wait=False)
    await asyncio.wait_for(crash.reached.wait(), 20)
    await first.kill()
    await engine.status("parent", Status.TERMINATED)
    alive = [name for name in generations if not (await engine.record(name)).status.is_terminal]
    assert alive, "it crashed too late to show anything"
    await engine.orchestrator()
    for name in generations:
        record = await engine.status(name, Status.TERMINATED)
        assert "enough" in (record.reason or "")


@pytest.mark.semantics("Purge")
@pytest.mark.parametrize("moment", [1, 2])
async def test_the_cascade_of_purge_survives_crashes(make_engine: MakeEngine, moment: int) -> None:
    engine = await make_engine(app)
    crash = _CrashAfterTerminating(moment)
    first = await engine.orchestrator(faults=crash)
    everybody = ["parent", "child", "grandchild", "great-grandchild"]
    parent = await engine.client.start(family, everybody[1:], instance_id="parent")
    await engine.status("great-grandchild", Status.RUNNING)
    await parent.terminate()
    for name in everybody:
        await engine.status(name, Status.TERMINATED)
    crash.armed = True
    purge = asyncio.create_task(parent.purge())
    await asyncio.wait_for(crash.reached.wait(), 20)
    await first.kill()
    await engine.orchestrator()

    async def gone() -> bool:
        return not await engine.store.instances(everybody)

    await until(gone)
    await asyncio.gather(purge, return_exceptions=True)


@pytest.mark.semantics("terminated child")
async def test_the_parent_of_a_terminated_child_does_not_wait_for_ever(engine: Engine) -> None:
    """Regression of other engines. It hears that the child was terminated, and why."""
    parent = await engine.client.start(family, ["child"], instance_id="parent")
    await engine.status("child", Status.RUNNING)
    await engine.client.get("child").terminate(reason="not needed")
    with pytest.raises(WorkflowFailedError, match=r"ChildWorkflowError.*terminated: not needed"):
        await parent.result(timeout=20)


async def test_the_parent_of_a_purged_child_does_not_wait_for_ever(engine: Engine) -> None:
    parent = await engine.client.start(family, ["child"], instance_id="parent")
    await engine.status("child", Status.RUNNING)
    await engine.client.get("child").purge(force=True)
    with pytest.raises(WorkflowFailedError, match=r"ChildWorkflowError.*terminated: purged"):
        await parent.result(timeout=20)


class _CrashAfterTerminating:
    """Once armed, lets nothing follow its n-th commit: no letter leaves memory, no batch is taken."""

    def __init__(self, commits: int) -> None:
        self.armed = False
        self.reached = asyncio.Event()
        self._left = commits

    async def reach(self, point: str) -> None:
        if not self.armed or point != "commit.after":
            return
        self._left -= 1
        if not self._left:
            self.reached.set()
            await asyncio.Event().wait()
