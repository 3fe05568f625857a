"""How long a history may become, and how many events may wait for an instance."""

from __future__ import annotations

import logging

import pytest

from tenuto import App, RequestError, WorkflowContext
from tenuto.core.status import Status
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine


def _collects(*, anew: bool) -> App:
    """Takes three events; with `anew` in a generation each."""
    app = App("limits")

    @app.workflow
    async def collects(ctx: WorkflowContext, got: list[int]) -> list[int]:
        while len(got) < 3:
            got.append(await ctx.wait_for_external_event("item", type=int))
            if anew:
                ctx.continue_as_new(got)
                break
        return got

    return app


@pytest.mark.semantics("The length of a history")
async def test_a_long_history_is_warned_of_and_then_stalls(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """History length: warn, then stall with the advice to continue-as-new; it goes on with code that does so."""
    caplog.set_level(logging.WARNING)
    engine = await make_engine(_collects(anew=False), history_warning=3, history_limit=5)
    first = await engine.orchestrator()
    handle = await engine.client.start("collects", [], instance_id="long")
    await handle.raise_event("item", 1)  # 4 events
    await handle.raise_event("item", 2, wait=False)  # would be 6
    reason = (await engine.status("long", Status.STALLED)).reason or ""
    assert "would have 6 events, and TENUTO_HISTORY_LIMIT is 5" in reason
    assert "ctx.continue_as_new" in reason
    assert len(await handle.history()) == 4, "it is as it was"
    assert [text for text in caplog.messages if "has 4 events by now, and with 5 it is stalled" in text]
    await first.stop()

    await engine.orchestrator(history_limit=7)
    await handle.raise_event("item", 3, wait=False)
    assert await handle.result(timeout=20) == [1, 2, 3], "the turn that ends it passes, too"


@pytest.mark.semantics("The length of a history")
async def test_a_history_that_begins_anew_has_no_limit(make_engine: MakeEngine) -> None:
    engine = await make_engine(_collects(anew=True), history_limit=4)
    await engine.orchestrator()
    handle = await engine.client.start("collects", [])
    for number in (1, 2, 3):
        await handle.raise_event("item", number)
    assert await handle.result(timeout=20) == [1, 2, 3]


def _keeps() -> App:
    app = App("keeps")

    @app.workflow
    async def keeps(ctx: WorkflowContext) -> list[int]:
        await ctx.wait_for_external_event("go")
        return [await ctx.wait_for_external_event("item", type=int) for _ in range(2)]

    @app.workflow
    async def sends(ctx: WorkflowContext, receiver: str) -> None:
        ctx.send_event(receiver, "item", 4)

    return app


@pytest.fixture
async def full(make_engine: MakeEngine) -> Engine:
    """An instance `full`, for which two events wait, as many as may."""
    engine = await make_engine(_keeps(), waiting_events=2)
    await engine.orchestrator()
    handle = await engine.client.start("keeps", instance_id="full")
    for number in (1, 2):
        await handle.raise_event("item", number)
    return engine


@pytest.mark.semantics("Events waiting for an instance")
async def test_more_events_than_may_wait_are_refused(full: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Events per instance: an error at the door; from another workflow, a log line."""
    caplog.set_level(logging.WARNING)
    handle = full.client.get("full")
    with pytest.raises(RequestError, match="2 events wait for instance 'full' already"):
        await handle.raise_event("item", 3)
    sender = await full.client.start("sends", "full")
    await sender.result(timeout=20)
    with pytest.raises(RequestError, match="TENUTO_WAITING_EVENTS is 2"):
        await handle.raise_event("item", 5)
    assert [text for text in caplog.messages if text.startswith("event 'item' dropped: 2 events wait")]


@pytest.mark.semantics("Events waiting for an instance")
async def test_events_that_are_held_while_suspended_count_too(make_engine: MakeEngine) -> None:
    engine = await make_engine(_keeps(), waiting_events=2)
    await engine.orchestrator()
    handle = await engine.client.start("keeps", instance_id="suspended")
    await handle.suspend()
    for name in ("item", "go"):
        await handle.raise_event(name, 1)
    with pytest.raises(RequestError, match="2 events wait"):
        await handle.raise_event("item", 2)
    await handle.resume()
    await handle.raise_event("item", 3)
    assert await handle.result(timeout=20) == [1, 3]
