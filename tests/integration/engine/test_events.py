"""External events, from wherever they come, and what becomes of them across generations."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tenuto import App, WorkflowContext, activity, when_all
from tenuto.core.events import EventRaised
from tenuto.core.status import Status
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("events")
engines: list[Engine] = []
"""The one of the test, for the activity that raises an event as a user's would: with a client."""


@app.activity
async def report(_: None) -> None:
    instance = engines[-1].client.get(activity.context().instance_id)
    await instance.raise_event("Reported", {"by": "activity"})


@app.workflow
async def asks(ctx: WorkflowContext) -> Any:
    told = ctx.wait_for_external_event("reported")
    await ctx.call_activity(report, None)
    return await told


@app.workflow
async def takes(ctx: WorkflowContext, count: int) -> list[Any]:
    return await when_all([ctx.wait_for_external_event("item") for _ in range(count)])


@app.workflow
async def sends(ctx: WorkflowContext, receivers: list[str]) -> None:
    for receiver in receivers:
        ctx.send_event(receiver, "note", 1)


@app.workflow
async def one_per_generation(ctx: WorkflowContext, got: list[int]) -> list[int]:
    got = [*got, await ctx.wait_for_external_event("item", type=int)]
    if got[-1] >= 0:
        ctx.continue_as_new(got)
    return got


@app.workflow
async def polls(ctx: WorkflowContext) -> list[Any]:
    """Takes what is there, and no more; then waits for the last."""
    found: list[Any] = []
    await ctx.wait_for_external_event("go")
    while True:
        try:
            found.append(await ctx.wait_for_external_event("item", timeout=0))
        except TimeoutError:
            break
    return [*found, await ctx.wait_for_external_event("item")]


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    engines.append(engine)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("Events come")
async def test_an_activity_raises_an_event(engine: Engine) -> None:
    """Events come from clients, from other workflows, from activities."""
    handle = await engine.client.start(asks)
    assert await handle.result(timeout=20) == {"by": "activity"}


@pytest.mark.semantics("Events come", "First in, first out")
async def test_parallel_waiters_are_served_in_order_one_event_each(engine: Engine) -> None:
    """n parallel waiters of one name get n events, first in, first out, however they are batched."""
    handle = await engine.client.start(takes, 20)
    for number in range(20):
        await handle.raise_event("ITEM" if number % 2 else "item", number, wait=number % 5 == 0)
    assert await handle.result(timeout=20) == list(range(20))


@pytest.mark.semantics("event with a message_id")
@pytest.mark.parametrize("wait", [True, False])
async def test_a_redelivered_event_arrives_once(engine: Engine, *, wait: bool) -> None:
    """The same message id, rule N2: also after the first has been taken, and beside a start of that id."""
    handle = await engine.client.start(takes, 3, message_id="m-1")
    for _ in range(3):
        await handle.raise_event("item", "first", message_id="m-1", wait=wait)
    await handle.raise_event("item", "second", message_id="m-2", wait=wait)
    await handle.raise_event("item", "first", message_id="m-1", wait=wait)
    await handle.raise_event("item", "third")
    assert await handle.result(timeout=20) == ["first", "second", "third"]
    await handle.raise_event(
        "item", "third", message_id="m-2", wait=wait
    )  # the instance is over; this is no news


@pytest.mark.semantics("To an unknown instance")
async def test_events_to_nobody_are_dropped_with_a_log_line(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """From a workflow to an instance that is unknown, or over (rule N4)."""
    caplog.set_level(logging.INFO, logger="tenuto.orchestrator")
    over = await engine.client.start(sends, [], instance_id="over")
    await over.result(timeout=20)
    sender = await engine.client.start(sends, ["over", "unknown"])
    await sender.result(timeout=20)

    async def both() -> bool:
        said = "\n".join(caplog.messages)
        return all(f"{name!r}: event 'note' dropped" in said for name in ("over", "unknown"))

    await until(both)


@pytest.mark.semantics("wait that timed out")
async def test_a_wait_of_no_time_takes_only_what_is_there(engine: Engine) -> None:
    """`timeout=0` raises `TimeoutError` if nothing is there; events that came before the wait are kept."""
    handle = await engine.client.start(polls)
    for payload in (0, False):
        await handle.raise_event("item", payload)
    await handle.raise_event("go")
    await handle.raise_event("item", "last")
    assert await handle.result(timeout=20) == [0, False, "last"]


@pytest.mark.semantics("Events that nobody took are carried over")
async def test_no_event_is_lost_across_continue_as_new(engine: Engine) -> None:
    """Unconsumed events are carried over in arrival order, while more arrive."""
    handle = await engine.client.start(one_per_generation, [])
    for number in range(40):
        await handle.raise_event("item", number, wait=False)
        if number == 20:
            await handle.suspend()
            await handle.raise_event("other", "nobody takes this")
            await handle.resume()
    await handle.raise_event("item", -1, wait=False)
    assert await handle.result(timeout=20) == [*range(40), -1]
    assert (await engine.record(handle.instance_id)).generation == 40
    history = await handle.history()
    names = [each.name for each in history if isinstance(each, EventRaised)]
    assert names[0] == "other", "it is carried along"


@pytest.mark.semantics("Events that nobody took are carried over")
async def test_events_outlive_their_orchestrator_between_two_generations(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator()
    handle = await engine.client.start(one_per_generation, [])
    await asyncio.gather(*(handle.raise_event("item", number, wait=False) for number in range(30)))
    await first.kill()
    await engine.orchestrator()
    await engine.status(handle.instance_id, Status.RUNNING)
    await handle.raise_event("item", -1, wait=False)
    assert sorted(await handle.result(timeout=20)) == [-1, *range(30)]
