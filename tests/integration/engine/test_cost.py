"""What a step costs must not depend on how many came before it. Counted in function calls, never in seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.memory import MemoryServer
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Place

app = App("cost")
calls_before_step: list[int] = []


class CallCounter:
    """Counts every function call of this thread: orchestrator, worker, broker and client together."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self.calls += 1


counter = CallCounter()


@app.activity
async def step(number: int) -> int:
    calls_before_step.append(counter.calls)
    return number + 1


@app.workflow
async def long_chain(ctx: WorkflowContext, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(step, value)
    return value


@pytest.fixture
def place(tmp_path: Path, namespace: str) -> Place:
    """Embedded only: what is counted is in this process."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'cost.db'}"
    return Place(database_url=url, broker_url="memory://", namespace=namespace, server=MemoryServer())


async def test_the_last_hundred_of_2000_activities_cost_no_more_than_the_first(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app, replay_check="never", lease=10.0, inbox_interval=5.0)
    await engine.orchestrator()
    await engine.worker()
    sys.setprofile(counter)
    try:
        handle = await engine.client.start(long_chain, 2000)
        assert await handle.result(timeout=100) == 2000
    finally:
        sys.setprofile(None)
    assert len(calls_before_step) == 2000
    first = calls_before_step[200] - calls_before_step[100]  # the first steps of all still fill caches
    last = calls_before_step[1999] - calls_before_step[1899]
    assert last <= 1.1 * first, (first, last)
