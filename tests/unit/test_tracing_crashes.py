"""Spans of an engine that dies at bad moments: some may be lost, and none is made twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenuto import App, WorkflowContext
from tenuto.testing import Cluster
from tenuto.tracing.instrumentor import TenutoInstrumentor
from tests.support.spans import Recorded, parent, span_id

app = App("crashes")


@app.activity
async def step(number: int) -> int:
    return number


@app.workflow
async def steps(ctx: WorkflowContext, count: int) -> int:
    for number in range(count):
        await ctx.call_activity(step, number)
        await ctx.create_timer(0.01)
    return count


@pytest.fixture
def spans() -> Iterator[Recorded]:
    recorded, instrumentor = Recorded(), TenutoInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.provider)
    yield recorded
    instrumentor.uninstrument()


@pytest.mark.parametrize("point", ["batch.advanced", "commit.before", "commit.after", "worker.executed"])
async def test_a_crash_makes_no_span_twice(spans: Recorded, point: str) -> None:
    async with Cluster(app) as cluster:
        handle = await cluster.client.start(steps, 3, wait=False)
        await cluster.crash(at=point)
        await cluster.restart()
        assert await handle.result(timeout=30) == 3
        await cluster.crash()

    root = spans.one("orchestration||steps")
    turns = [(span.attributes or {})["tenuto.turn"] for span in spans.named("turn||steps")]
    assert turns == sorted(set(turns))
    timers = [(span.attributes or {})["durabletask.task.task_id"] for span in spans.named("timer")]
    assert timers == sorted(set(timers))
    assert set(timers) <= {1, 3, 5}
    assert len({span_id(span) for span in spans.spans}) == len(spans.spans)
    inner = [span for span in spans.spans if span.name in {"turn||steps", "timer", "activity||step"}]
    assert {parent(span) for span in inner} == {span_id(root)}
