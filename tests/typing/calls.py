"""What type checkers must make of workflow code. Never run; `test_typing.py` has mypy look at it."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any, assert_type

from tenuto import App, Client, RetryPolicy, SyncClient, Task, WorkflowContext, when_all, when_any
from tenuto.activity import ActivityContext

app = App("typed")


@app.activity
async def charge(order: int) -> str:
    return str(order)


@app.activity(pool="docks")
def ship(receipt: str) -> bytes:
    return receipt.encode()


@app.activity
async def ping() -> float:
    return 1.0


@app.activity
def dapr_style(ctx: Any, order: int) -> list[int]:
    return [order]


@app.activity
def only_context(ctx: ActivityContext) -> int:
    return ctx.attempt


@app.activity
async def only_context_async(ctx: ActivityContext) -> str:
    return ctx.activity


@app.workflow
async def child(ctx: WorkflowContext, order: int) -> str:
    return str(order)


@app.workflow(version="2")
def generator_child(ctx: WorkflowContext, order: int) -> Generator[Task[Any], Any, bytes]:
    receipt = yield ctx.call_activity(charge, order)
    return bytes(receipt)


@app.workflow
async def parent(ctx: WorkflowContext) -> None:
    assert_type(await ctx.call_activity(charge, 1), str)
    assert_type(await ctx.call_activity(ship, "x", retry=RetryPolicy(), start_to_close=5), bytes)
    assert_type(await ctx.call_activity(ping), float)
    assert_type(await ctx.call_activity(dapr_style, input=1), list[int])
    assert_type(await ctx.call_activity(only_context), int)
    assert_type(await ctx.call_activity(only_context_async, pool="docks"), str)
    assert_type(await ctx.call_activity("by name", {"any": "thing"}), Any)
    assert_type(await ctx.call_activity("by name", 1, type=int | None), Any)
    assert_type(await ctx.call_activity("by name", 1, type=int), int)

    assert_type(await ctx.call_child_workflow(child, 1, instance_id="x"), str)
    assert_type(await ctx.call_child_workflow(generator_child, 1), bytes)
    assert_type(await ctx.call_child_workflow(parent), None)
    assert_type(await ctx.call_child_workflow("by name"), Any)
    assert_type(await ctx.call_child_workflow("by name", 1, type=int), int)

    assert_type(await ctx.create_timer(timedelta(days=1)), None)
    assert_type(await ctx.wait_for_external_event("x", timeout=1), Any)
    assert_type(await ctx.wait_for_external_event("x", type=int), int)
    assert_type(await ctx.wait_for_external_event("x", type=int | None), Any)
    assert_type(await ctx.spawn(child(ctx, 1)), str)

    assert_type(await when_all([ctx.call_activity(charge, order) for order in range(3)]), list[str])
    assert_type(await when_all([child(ctx, 1), child(ctx, 2)]), list[str])
    winner = await when_any([ctx.call_activity(charge, 1), ctx.spawn(child(ctx, 1))])
    assert_type(winner, Task[str])
    assert_type(await winner, str)


@app.workflow
async def need_not_be_given(ctx: WorkflowContext, number: int = 3) -> int:
    return number


async def clients(client: Client, sync: SyncClient) -> None:
    assert_type(await (await client.start(child, 1, instance_id="x")).result(), str)
    assert_type(await (await client.start(generator_child, 1)).result(), bytes)
    assert_type(await (await client.start(parent)).result(), None)
    assert_type(await (await client.start(need_not_be_given)).result(), int)
    assert_type(await (await client.start(need_not_be_given, 4)).result(), int)
    assert_type(await (await client.start("by name", 1)).result(), Any)
    assert_type(sync.start(child, 1).result(), str)
    assert_type(sync.start(parent, wait=False).result(), None)
    assert_type(sync.start("by name").result(), Any)


async def mistakes(ctx: WorkflowContext) -> None:
    await ctx.call_activity(charge, "no number")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
    await ctx.call_activity(charge)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
    await ctx.call_child_workflow(child, "no number")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
    await ctx.call_activity(charge, 1, colour="red")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one


async def client_mistakes(client: Client, sync: SyncClient) -> None:
    await client.start(child, "no number")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
    await client.start(child)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
    sync.start(child, "no number")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]  # it must be one
