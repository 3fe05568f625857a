"""Workflows whose traces are looked at from outside."""

from __future__ import annotations

from opentelemetry import trace

from tenuto import App, RetryPolicy, WorkflowContext, activity

app = App("traced")


@app.activity(retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def flaky(number: int) -> int:
    with trace.get_tracer("users").start_as_current_span("users.own"):
        if activity.context().attempt == 1:
            raise RuntimeError("once")
    return number


@app.activity
def plain(number: int) -> int:
    """In a thread."""
    with trace.get_tracer("users").start_as_current_span("users.thread"):
        return number


@app.workflow
async def child(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(plain, number)


@app.workflow
async def traced(ctx: WorkflowContext, number: int) -> int:
    await ctx.call_activity(flaky, number)
    await ctx.create_timer(0.01)
    await ctx.call_child_workflow(child, number, instance_id=f"{ctx.instance_id}-child")
    return await ctx.wait_for_external_event("go", type=int)


@app.workflow
async def again(ctx: WorkflowContext, generation: int) -> int:
    await ctx.call_activity(plain, generation)
    if generation < 1:
        ctx.continue_as_new(generation + 1)
    return generation
