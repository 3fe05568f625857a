"""`tenuto.testing.WorkflowEnvironment`: what it lets a test of a workflow do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import (
    App,
    ChildWorkflowError,
    NonDeterminismError,
    RetryPolicy,
    Saga,
    Status,
    UsageError,
    WorkflowContext,
    WorkflowFailedError,
    WorkflowTerminatedError,
    activity,
    when_all,
)
from tenuto.core.events import TimerFired
from tenuto.errors import NotFoundError
from tenuto.testing import WorkflowEnvironment, WorkflowStuckError


@dataclass
class Order:
    id: str
    items: list[str]


app = App("shop")
charged: list[str] = []


@app.activity(retry=RetryPolicy(max_attempts=3, first_interval=60.0))
async def charge(order: Order) -> int:
    charged.append(activity.context().idempotency_key)
    return len(order.items) * 10


@app.activity
def pack(item: str) -> str:
    return item.upper()


@app.activity
async def refund(amount: int) -> None: ...


@app.activity(start_to_close=5.0)
async def slow(amount: int) -> int:
    return amount


@app.workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> list[str]:
    amount = await ctx.call_activity(charge, order)
    packed = await when_all([ctx.call_activity(pack, item) for item in order.items])
    ctx.set_custom_status({"packed": len(packed)})
    try:
        await ctx.wait_for_external_event("approved", timeout=timedelta(days=3))
    except TimeoutError:
        await ctx.call_activity(refund, amount)
        raise
    return packed


@app.workflow
async def sleepy(ctx: WorkflowContext) -> str:
    began = ctx.current_utc_datetime
    await ctx.create_timer(timedelta(days=30))
    return str(ctx.current_utc_datetime - began)


@app.workflow
async def family(ctx: WorkflowContext, order: Order) -> Any:
    return await ctx.call_child_workflow(fulfil, order, instance_id="the-child")


@app.workflow
async def eternal(ctx: WorkflowContext, day: int) -> None:
    await ctx.call_activity(refund, day)
    await ctx.create_timer(timedelta(days=1))
    ctx.continue_as_new(day + 1)


ORDER = Order("o-1", ["hat", "coat"])


async def test_a_month_passes_in_no_time() -> None:
    env = WorkflowEnvironment(app)
    assert await env.run(sleepy) == "30 days, 0:00:00"
    assert env.now == datetime(2030, 1, 31, tzinfo=UTC)


async def test_activities_are_real_and_their_calls_recorded() -> None:
    env = WorkflowEnvironment(app)
    run = env.start(fulfil, ORDER)
    run.raise_event("Approved", after=timedelta(hours=1))
    assert await run.result() == ["HAT", "COAT"]
    assert env.inputs(charge) == [ORDER]
    assert [call.input for call in env.calls("pack")] == ["hat", "coat"]
    assert env.calls(charge)[0].idempotency_key == charged[-1]
    assert env.calls(refund) == []
    assert run.custom_status == {"packed": 2}
    assert env.now == datetime(2030, 1, 1, 1, tzinfo=UTC)


async def test_a_wait_times_out_when_nothing_comes_first() -> None:
    env = WorkflowEnvironment(app)
    env.mock(charge, returns=7)
    run = env.start(fulfil, ORDER)
    with pytest.raises(WorkflowFailedError, match="TimeoutError"):
        await run.result()
    assert env.inputs(refund) == [7]
    assert run.status is Status.FAILED
    assert run.failure is not None
    assert any(isinstance(event, TimerFired) for event in run.history)


async def test_an_activity_that_fails_on_its_first_calls_is_tried_again() -> None:
    env = WorkflowEnvironment(app)
    env.mock(charge, raises=ConnectionError("down"), on=(1, 2))
    run = env.start(fulfil, ORDER)
    run.raise_event("approved")
    await run.result()
    assert [call.attempt for call in env.calls(charge)] == [1, 2, 3]
    assert [call.at - env.calls(charge)[0].at for call in env.calls(charge)] == [
        timedelta(),
        timedelta(minutes=1),
        timedelta(minutes=3),
    ]
    assert len({call.idempotency_key for call in env.calls(charge)}) == 1


async def test_later_mocks_go_before_earlier_ones_and_may_be_functions() -> None:
    env = WorkflowEnvironment(app)
    env.mock(charge, returns=1)

    async def packed(item: str) -> str:
        return f"box of {item}"

    env.mock("pack", calls=packed)
    env.mock("pack", calls=lambda: "nothing", on=1)
    run = env.start(fulfil, ORDER)
    run.raise_event("approved")
    assert await run.result() == ["nothing", "box of coat"]


async def test_a_call_that_takes_longer_than_its_limit_times_out() -> None:
    other = App("other")

    @other.workflow
    async def ask(ctx: WorkflowContext) -> int:
        return await ctx.call_activity(slow, 3)

    env = WorkflowEnvironment(other, app)
    env.mock(slow, takes=4)
    assert await env.run(ask) == 3
    assert env.now == datetime(2030, 1, 1, 0, 0, 4, tzinfo=UTC)
    env.mock(slow, takes=6)
    with pytest.raises(WorkflowFailedError, match="start_to_close of 5 s"):
        await env.run(ask)


async def test_children_are_real_or_mocked() -> None:
    env = WorkflowEnvironment(app)
    run = env.start(family, ORDER)
    await env.sleep(0)
    child = env.get("the-child", fulfil)
    assert child.status is Status.RUNNING
    child.raise_event("approved")
    assert await run.result() == ["HAT", "COAT"]
    assert env.inputs(fulfil) == [ORDER]

    env = WorkflowEnvironment(app)
    env.mock(fulfil, returns=["mocked"])
    assert await env.run(family, ORDER) == ["mocked"]
    with pytest.raises(NotFoundError, match="the-child"):
        env.get("the-child")

    env.mock(fulfil, raises=ValueError("no"))
    with pytest.raises(WorkflowFailedError, match=ChildWorkflowError.__name__):
        await env.run(family, ORDER)


async def test_a_workflow_that_goes_on_for_ever_is_looked_at_after_a_time() -> None:
    env = WorkflowEnvironment(app)
    run = env.start(eternal, 1)
    await env.sleep(timedelta(days=3))
    assert env.inputs(refund) == [1, 2, 3, 4]
    assert run.status is Status.RUNNING


async def test_suspend_resume_and_terminate_come_when_they_are_due() -> None:
    env = WorkflowEnvironment(app)
    run = env.start(sleepy)
    run.suspend(after=timedelta(days=1))
    await env.sleep(timedelta(days=40))
    assert run.status is Status.SUSPENDED
    with pytest.raises(WorkflowStuckError, match="suspended"):
        await run.result()
    run.resume()
    assert await run.result() == "40 days, 0:00:00"
    other = env.start(sleepy)
    other.terminate({"kept": True}, reason="enough", after=5)
    with pytest.raises(WorkflowTerminatedError, match="enough"):
        await other.result()


async def test_a_wait_that_nothing_ends_says_what_to_send_and_where_the_code_is() -> None:
    other = App("other")

    @other.workflow
    async def forever(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("Godot")

    env = WorkflowEnvironment(other)
    with pytest.raises(WorkflowStuckError, match=r"'Godot'.*test_environment\.py.*raise_event"):
        await env.run(forever)


async def test_what_does_not_replay_fails_the_test() -> None:
    other = App("other")
    flips = iter([True, False, True, False, True, False])

    @other.workflow
    async def fickle(ctx: WorkflowContext) -> None:
        if next(flips):
            await ctx.call_activity(refund, 1)
        await ctx.create_timer(1)

    with pytest.raises(NonDeterminismError, match="TimerCreated"):
        await WorkflowEnvironment(other, app).run(fickle)


def test_a_plain_test_runs_it_with_asyncio() -> None:
    env = WorkflowEnvironment(app)
    env.mock(charge, raises=ValueError("declined"))
    with pytest.raises(WorkflowFailedError, match="declined"):
        asyncio.run(env.run(fulfil, ORDER))


async def test_two_environments_see_the_same() -> None:
    keys = []
    for _ in range(2):
        env = WorkflowEnvironment(app)
        run = env.start(fulfil, ORDER)
        run.raise_event("approved")
        await run.result()
        keys.append([call.idempotency_key for call in env.calls()])
    assert keys[0] == keys[1]


async def test_locks_sagas_and_detached_starts_work_as_in_an_engine() -> None:
    other = App("other")
    log: list[str] = []

    @other.activity
    async def note(text: str) -> None:
        log.append(text)

    @other.workflow
    async def locked(ctx: WorkflowContext, name: str) -> None:
        async with ctx.lock("one at a time"):
            await ctx.call_activity(note, f"{name} in")
            await ctx.create_timer(10)
            await ctx.call_activity(note, f"{name} out")

    @other.workflow
    async def both(ctx: WorkflowContext) -> None:
        ctx.start_workflow(locked, "b", instance_id="b")
        await ctx.call_child_workflow(locked, "a")

    @other.workflow
    async def booking(ctx: WorkflowContext) -> None:
        async with Saga(ctx, compensate_on_terminate=True) as saga:
            saga.add(note, "undo first")
            saga.add(note, "undo second")
            await ctx.create_timer(100)

    env = WorkflowEnvironment(other)
    await env.run(both)
    await env.sleep(20)
    assert env.get("b").status is Status.COMPLETED
    assert sorted((log[:2], log[2:])) == [["a in", "a out"], ["b in", "b out"]]
    log.clear()
    run = env.start(booking)
    run.terminate(after=5)
    await env.sleep(10)
    assert run.status is Status.TERMINATED
    assert log == ["undo second", "undo first"]


async def test_an_activity_that_is_not_done_in_all_its_time_fails_for_good() -> None:
    other = App("other")

    @other.activity(
        schedule_to_close=60.0,
        schedule_to_start=1.0,
        retry=RetryPolicy(max_attempts=None, first_interval=20.0, backoff_coefficient=1.0),
    )
    async def stubborn() -> None:
        raise ValueError("no")

    @other.workflow
    async def ask(ctx: WorkflowContext) -> None:
        await ctx.call_activity(stubborn)

    env = WorkflowEnvironment(other)
    with pytest.raises(WorkflowFailedError, match="ValueError: no"):
        await env.run(ask)
    assert len(env.calls(stubborn)) == 3
    env.mock(stubborn, returns=None, takes=70)
    with pytest.raises(WorkflowFailedError, match="schedule_to_close of 60 s"):
        await env.run(ask)
    env.mock(stubborn, returns=None, takes=50)
    await env.run(ask)


def test_the_fixture_closes_what_it_made(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from tenuto import App

        app = App("shop")
        left = []

        @app.workflow
        async def forever(ctx):
            try:
                await ctx.wait_for_external_event("never")
            finally:
                left.append(ctx.instance_id)

        def test_one(workflow_environment):
            import asyncio
            env = workflow_environment(app)
            env.start(forever)
            asyncio.run(env.sleep(1))
            left.clear()  # of replays

        def test_two():
            assert left == ["forever-1"]
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


async def test_misuse_is_told() -> None:
    env = WorkflowEnvironment(app)
    with pytest.raises(UsageError, match="one of"):
        env.mock(charge, returns=1, raises=ValueError)
    with pytest.raises(UsageError, match="one of"):
        env.mock(charge)
    with pytest.raises(UsageError, match="neither"):
        env.mock(len, returns=1)
    with pytest.raises(UsageError, match=r"there are: .*fulfil"):
        env.start("unknown")
    env.start(sleepy, instance_id="one")
    with pytest.raises(UsageError, match="live instance"):
        env.start(sleepy, instance_id="one")
    other = App("other")

    @other.workflow
    async def lonely(ctx: WorkflowContext) -> None:
        await ctx.call_activity("nobody_has_it")

    with pytest.raises(UsageError, match=r"nobody_has_it.*mock it"):
        await WorkflowEnvironment(other).run(lonely)
