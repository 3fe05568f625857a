"""A small app for what is watched: every kind of thing that has a metric, and an activity that waits for a gate."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tenuto import App, RetryPolicy, WorkflowContext, when_all

GATE_VARIABLE = "WATCHED_GATE"
QUICK_POOL = "quick"
GATED_POOL = "gated"

app = App("watched")


@app.activity(pool=QUICK_POOL)
async def square(number: int) -> int:
    return number * number


@app.activity(pool=QUICK_POOL, retry=RetryPolicy(max_attempts=2, first_interval=0.01))
def fail(number: int) -> int:
    raise RuntimeError(f"{number} fails, as it should")


@app.activity(local=True)
async def add(numbers: list[int]) -> int:
    return sum(numbers)


@app.activity(pool=GATED_POOL)
async def pass_gate(number: int) -> int:
    """Runs until the file that the variable names exists."""
    gate = Path(os.environ[GATE_VARIABLE])
    while not await asyncio.to_thread(gate.exists):  # noqa: ASYNC110  another process opens it
        await asyncio.sleep(0.05)
    return number


@app.workflow
async def mixed(ctx: WorkflowContext, width: int) -> int:
    squares = await when_all([ctx.call_activity(square, number) for number in range(width)])
    await ctx.create_timer(0.05)
    await ctx.wait_for_external_event("go")
    return await ctx.call_activity(add, squares)


@app.workflow
async def failing(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(fail, number)


@app.workflow
async def gated(ctx: WorkflowContext, width: int) -> int:
    return sum(await when_all([ctx.call_activity(pass_gate, number) for number in range(width)]))


@app.workflow
async def impure(ctx: WorkflowContext) -> None:
    """Stalls: workflow code may not wait for anything but the engine."""
    await asyncio.sleep(0)
