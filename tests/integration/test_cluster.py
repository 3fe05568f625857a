"""`tenuto.testing.Cluster`: an engine within a test, crashed and started again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tenuto import App, Status, UsageError, WorkflowContext, activity
from tenuto.testing import CRASH_POINTS, Cluster

app = App("crashes")
done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@app.activity
async def step(name: str) -> str:
    done.append(f"{name} {activity.context().idempotency_key}")
    return name


@app.activity(pool="threads")
def blocking(name: str) -> str:
    done.append(f"{name} {activity.context().idempotency_key}")
    return name


@app.workflow
async def steps(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return [await ctx.call_activity(step if name < "m" else blocking, name) for name in names]


@app.workflow
async def waits(ctx: WorkflowContext) -> str:
    await ctx.create_timer(0.3)
    return await ctx.wait_for_external_event("go", timeout=timedelta(days=1), type=str)


@pytest.mark.parametrize("point", sorted(CRASH_POINTS - {"claim.after"}))
async def test_whatever_the_moment_of_the_crash_the_workflow_ends_as_if_there_had_been_none(
    point: str,
) -> None:
    async with Cluster(app) as cluster:
        crash = asyncio.create_task(cluster.crash(at=point))
        await asyncio.sleep(0)
        handle = await cluster.client.start(steps, ["a", "b", "x"], wait=False)
        await crash
        await cluster.restart()
        assert await handle.result(timeout=30) == ["a", "b", "x"]
    assert len(set(done)) == 3  # one key for each call, however often it ran


async def test_an_instance_lives_through_many_crashes() -> None:
    async with Cluster(app, orchestrators=2) as cluster:
        handle = await cluster.client.start(waits)
        for _ in range(2):
            await cluster.crash()
            await cluster.restart()
        await handle.raise_event("go", "went")
        assert await handle.result(timeout=30) == "went"


async def test_nothing_runs_between_a_crash_and_a_restart() -> None:
    async with Cluster(app) as cluster:
        await cluster.crash()
        handle = await cluster.client.start(steps, ["a"], wait=False)
        assert done == []
        with pytest.raises(UsageError, match="Nothing runs"):
            await cluster.crash()
        await cluster.restart()
        with pytest.raises(UsageError, match="The cluster runs"):
            await cluster.restart()
        with pytest.raises(UsageError, match=r"no point 'lunch'.*commit\.after"):
            await cluster.crash(at="lunch")
        await handle.result(timeout=30)
        assert (await handle.status()).status is Status.COMPLETED
