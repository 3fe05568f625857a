"""SEMANTICS, Limits: "payload size", with errors at the door; never a stuck instance."""

from __future__ import annotations

import json

import pytest

from tenuto import ActivityError, App, PayloadError, Publisher, WorkflowContext, WorkflowFailedError
from tenuto.broker.protocol import Delivery
from tenuto.client import Client
from tenuto.core.status import Status
from tenuto.naming import Names
from tenuto.settings import ClientSettings, Settings
from tenuto_orchestrator.door import REASON_HEADER
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

LIMIT = 2000
app = App("limits")


@app.activity
async def repeat(times: int) -> str:
    return "x" * times


@app.activity
async def length(text: str) -> int:
    return len(text)


@app.workflow
async def asks_for(ctx: WorkflowContext, times: int) -> str:
    try:
        return await ctx.call_activity(repeat, times)
    except ActivityError as error:
        return str(error)


@app.workflow
async def tells(ctx: WorkflowContext, times: int) -> str:
    try:
        return str(await ctx.call_activity(length, "x" * times))
    except ActivityError as error:
        return str(error)


@app.workflow
async def returns(_: WorkflowContext, times: int) -> str:
    return "x" * times


@app.workflow
async def waits(ctx: WorkflowContext, _: str) -> str:
    return await ctx.wait_for_external_event("news", type=str)


@app.workflow
async def tells_many(ctx: WorkflowContext, times: int) -> list[str]:
    """A call whose message is too large, among others that are folded with it."""
    lengths = ["x" * times, "a", "bc"]
    calls = [ctx.call_activity(length, text) for text in lengths]
    found = []
    for call in calls:
        try:
            found.append(str(await call))
        except ActivityError as error:
            found.append(str(error))
    return found


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator(max_payload_bytes=LIMIT)
    await engine.worker(max_payload_bytes=LIMIT)
    return engine


@pytest.mark.semantics("the input of an activity or a child", "an activity's result")
async def test_calls_and_results_over_the_limit_fail_clearly_and_can_be_caught(engine: Engine) -> None:
    handles = [
        await engine.client.start(asks_for, LIMIT - 1),
        await engine.client.start(tells, LIMIT - 1),
        await engine.client.start(tells, LIMIT - 2),
    ]
    too_much, refused, taken = [await handle.result() for handle in handles]
    assert "the result of activity 'repeat' has 2001 bytes, and a payload has 2000 at most" in too_much
    assert "the input of activity 'length' has 2001 bytes" in refused
    assert taken == str(LIMIT - 2)


@pytest.mark.semantics("the result, the input of continue_as_new")
async def test_a_workflow_whose_result_is_over_the_limit_fails(engine: Engine) -> None:
    handle = await engine.client.start(returns, LIMIT)
    with pytest.raises(WorkflowFailedError, match="it has 2002 bytes"):
        await handle.result()


@pytest.mark.semantics("a client")
async def test_a_client_refuses_what_is_over_the_limit_before_anything_is_stored(engine: Engine) -> None:
    big = "x" * LIMIT
    settings = ClientSettings(namespace=engine.place.namespace, max_payload_bytes=LIMIT, poll_interval=0.2)
    async with Client(settings, store=engine.store, broker=engine.place.broker("small"), app=app) as client:
        with pytest.raises(PayloadError, match="The input has 2002 bytes"):
            await client.start(waits, big, instance_id="refused")
        assert await engine.store.instances(["refused"]) == {}
        handle = await client.start(waits, "", instance_id="one")
        with pytest.raises(PayloadError, match="The payload of event 'news' has 2002 bytes"):
            await handle.raise_event("news", big)
        with pytest.raises(PayloadError, match="The output has 2002 bytes"):
            await handle.terminate(big)
        await handle.raise_event("news", "small")
        assert await handle.result() == "small"


@pytest.mark.semantics("a message to the public queue")
@pytest.mark.parametrize("codec", [None, "zlib"])
async def test_the_public_door_puts_what_is_over_the_limit_with_the_dead_letters(
    engine: Engine, codec: str | None
) -> None:
    """Whether it comes plain, or compressed to a few bytes."""
    names = Names(engine.place.namespace)
    broker = engine.place.broker("outsider")
    await broker.open()
    engine.stack.push_async_callback(broker.close)
    dead: list[Delivery] = []
    settings = Settings(namespace=engine.place.namespace, payload_codec=codec)
    async with Publisher(settings, broker=broker) as publisher:
        await publisher.start(waits, "x" * LIMIT, instance_id="big")
        await publisher.start(returns, 3, instance_id="small")
    await engine.status("small", Status.COMPLETED)

    async def found() -> bool:
        return bool(dead)

    await broker.subscribe(names.start_dead, dead.append, prefetch=10, on_lost=lambda _reason: None)
    await until(found)
    assert "`input` has 2002 bytes, and a payload has 2000 at most" in dead[0].headers[REASON_HEADER]
    assert json.loads(dead[0].body)["instance_id"] == "big"
    assert "big" not in await engine.store.instances(["big"])


@pytest.mark.semantics("a task whose message the broker refuses")
async def test_a_message_that_the_broker_refuses_fails_its_command_clearly(make_engine: MakeEngine) -> None:
    """Rule B4: and only its own; a second round meets durations that are known, so that tasks are folded."""
    engine = await make_engine(app)
    await engine.orchestrator(broker=engine.place.broker("small", max_message_bytes=LIMIT))
    await engine.worker()
    for _ in range(2):
        handle = await engine.client.start(tells_many, LIMIT)
        refused, *taken = await handle.result()
        assert "the broker refuses the activity's message: its input is too large" in refused
        assert taken == ["1", "2"]
