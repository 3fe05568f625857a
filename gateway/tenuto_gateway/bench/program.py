"""The app that is measured. A deployment to be driven serves it as any other: `tenuto_gateway.bench.program:app`."""

from __future__ import annotations

from datetime import timedelta

from tenuto import App, WorkflowContext, when_all

__all__ = [
    "MARK",
    "add_one",
    "app",
    "chain",
    "children",
    "fanout",
    "history",
    "local_chain",
    "mixed",
    "noop",
    "timers",
    "waiting",
]

app = App("bench")

MARK = 100
"""Steps over which the beginning and the end of a long history are timed."""
_PAUSE = 0.01


@app.activity
async def add_one(number: int) -> int:
    """The shortest activity: what is measured is the engine."""
    return number + 1


@app.workflow
async def noop(ctx: WorkflowContext, number: int) -> int:
    """Nothing at all."""
    del ctx
    return number


@app.workflow
async def chain(ctx: WorkflowContext, steps: int) -> int:
    """Activities one after the other."""
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(add_one, value)
    return value


@app.workflow
async def local_chain(ctx: WorkflowContext, steps: int) -> int:
    """Local activities one after the other."""
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(add_one, value, local=True)
    return value


@app.workflow
async def fanout(ctx: WorkflowContext, width: int) -> int:
    """Activities side by side."""
    return sum(await when_all([ctx.call_activity(add_one, number) for number in range(width)]))


@app.workflow
async def history(ctx: WorkflowContext, steps: int) -> list[float]:
    """A long chain. Returns the times (seconds since the epoch) at its begin, after `MARK` steps, `MARK` steps before
    its end, and at its end."""
    marks = []
    for step in range(steps):
        if step in (0, MARK, steps - MARK):
            marks.append(ctx.current_utc_datetime.timestamp())
        await ctx.call_activity(add_one, step)
    return [*marks, ctx.current_utc_datetime.timestamp()]


@app.workflow
async def waiting(ctx: WorkflowContext, number: int) -> int:
    """Wait for somebody to say go."""
    return number + await ctx.wait_for_external_event("go", type=int)


@app.workflow
async def timers(ctx: WorkflowContext, seconds: float) -> float:
    """Sleep. Returns how many seconds late it woke up."""
    due = ctx.current_utc_datetime + timedelta(seconds=seconds)
    await ctx.create_timer(due)
    return (ctx.current_utc_datetime - due).total_seconds()


@app.workflow
async def children(ctx: WorkflowContext, width: int) -> int:
    """Child workflows side by side."""
    return sum(await when_all([ctx.call_child_workflow(noop, number) for number in range(width)]))


@app.workflow
async def mixed(ctx: WorkflowContext, steps: int) -> int:
    """A little of everything: a chain, a fan-out, a child, a timer."""
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(add_one, value)
    value += sum(await when_all([ctx.call_activity(add_one, number) for number in range(steps)]))
    value += await ctx.call_child_workflow(noop, value)
    await ctx.create_timer(_PAUSE)
    return value
