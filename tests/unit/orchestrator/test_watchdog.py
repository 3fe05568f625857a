"""Workflow code that keeps the loop from running is named, with its line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from tenuto import App, WorkflowContext
from tenuto_orchestrator.executor import InProcessExecutor
from tenuto_orchestrator.watchdog import Watchdog
from tests.unit.orchestrator.test_replay_check import resident

NOW = datetime(2026, 1, 1, tzinfo=UTC)
app = App("blocking")
told = threading.Event()


@app.workflow
async def blocks(ctx: WorkflowContext) -> str:
    return await helper()


async def helper() -> str:
    return "told" if told.wait(20) else "nobody said so"


class _Tells(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        told.set()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    told.clear()
    handler, logger = _Tells(), logging.getLogger("tenuto.orchestrator")
    logger.addHandler(handler)
    yield handler.said
    logger.removeHandler(handler)


@contextlib.asynccontextmanager
async def looking(watchdog: Watchdog) -> AsyncIterator[None]:
    task = asyncio.create_task(watchdog.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.semantics("Misuse")
async def test_blocking_the_loop_is_named_with_instance_workflow_and_line(warnings: list[str]) -> None:
    """A blocking of the orchestrator's loop for more than a set time: a clear message naming the line."""
    watchdog = Watchdog(0.01)
    executor = InProcessExecutor(app.resolve, max_losses=3, watchdog=watchdog)
    one = await resident(executor, "blocks")
    async with looking(watchdog):
        await executor.advance(one, [], NOW)
    assert one.execution is not None
    assert bytes(one.execution.state.output or b"") == b'"told"'
    (message,) = warnings
    assert "instance 'i' (workflow 'blocks')" in message
    assert "move that into an activity" in message
    assert f"{__file__}:{helper.__code__.co_firstlineno + 1}, in helper" in message


async def test_with_a_limit_of_zero_nobody_looks() -> None:
    before = threading.active_count()
    watchdog = Watchdog(0)
    async with looking(watchdog):
        assert threading.active_count() == before
