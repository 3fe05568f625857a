"""An error of the engine's costs one instance its turn, and nobody else anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.events import Event, ExecutionStarted
from tenuto.core.execution import Execution
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, Turn
from tenuto.errors import AlreadyExistsError
from tenuto_orchestrator.executor import InProcessExecutor
from tenuto_orchestrator.residents import Resident
from tests.integration.engine.conftest import MakeEngine

app = App("broken-turns")


@app.workflow
async def innocent(ctx: WorkflowContext) -> str:
    return "unharmed"


@app.workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_external_event("go", type=str)


@app.workflow
async def unspeakable(ctx: WorkflowContext) -> None:
    await ctx.call_activity("\ud800")  # cannot be written down


@pytest.fixture
def break_instance(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Instances whose turns fail by a bug."""
    broken: set[str] = set()
    advance = InProcessExecutor.advance

    async def buggy(
        self: InProcessExecutor, resident: Resident, arrived: Sequence[Arrival], now: datetime
    ) -> Turn:
        if resident.record.id in broken:
            raise ZeroDivisionError("a bug")
        return await advance(self, resident, arrived, now)

    monkeypatch.setattr(InProcessExecutor, "advance", buggy)
    return broken


@pytest.mark.semantics("Only what the code lets out fails a workflow")
async def test_a_start_whose_first_turn_breaks_the_engine_is_seen_and_can_be_terminated(
    make_engine: MakeEngine, break_instance: set[str]
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    break_instance.add("broken")
    handle = await engine.client.start(waits, instance_id="broken")
    record = await engine.status("broken", Status.STALLED)
    assert "ZeroDivisionError('a bug')" in (record.reason or "")
    assert [type(event) for event in await handle.history()] == [ExecutionStarted]
    assert await (await engine.client.start(innocent)).result(timeout=20) == "unharmed"

    break_instance.clear()
    await handle.terminate(reason="enough")
    await engine.status("broken", Status.TERMINATED)


@pytest.mark.semantics("Only what the code lets out fails a workflow")
async def test_it_goes_on_when_the_bug_is_gone(make_engine: MakeEngine, break_instance: set[str]) -> None:
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    break_instance.add("broken")
    handle = await engine.client.start(waits, instance_id="broken")
    await engine.status("broken", Status.STALLED)
    break_instance.clear()
    await orchestrator.stop()
    await engine.orchestrator()
    await handle.raise_event("go", "well")
    assert await handle.result(timeout=20) == "well"


async def test_a_turn_that_cannot_be_written_down_stalls_its_instance(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(unspeakable, instance_id="unspeakable")
    record = await engine.status("unspeakable", Status.STALLED)
    assert "UnicodeEncodeError" in (record.reason or "")
    await handle.terminate()
    await engine.status("unspeakable", Status.TERMINATED)


async def test_an_execution_that_cannot_be_made_stalls_its_instance(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = InProcessExecutor.replay

    async def buggy(self: InProcessExecutor, instance: str, run: str, history: Sequence[Event]) -> Execution:
        if instance == "broken" and len(history) > 1:
            raise ZeroDivisionError("a bug")
        return await replay(self, instance, run, history)

    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    handle = await engine.client.start(waits, instance_id="broken")
    await engine.status("broken", Status.RUNNING)
    await orchestrator.stop()
    monkeypatch.setattr(InProcessExecutor, "replay", buggy)
    await engine.orchestrator()
    await handle.raise_event("go", "well", wait=False)
    await engine.status("broken", Status.STALLED)
    assert await (await engine.client.start(innocent)).result(timeout=20) == "unharmed"


async def test_of_two_starts_in_one_batch_the_second_meets_the_first(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()  # so that the deployment exists
    await orchestrator.stop()
    first = await engine.client.start(waits, instance_id="same", wait=False)
    second = await engine.client.start(waits, instance_id="same", wait=False)
    await engine.orchestrator()
    await engine.status("same", Status.RUNNING)
    await engine.client.get("same").raise_event("go", "well")
    assert await first.result(timeout=20) == "well"
    with pytest.raises(AlreadyExistsError):
        await second.result(timeout=20)


async def test_the_start_is_dated(make_engine: MakeEngine) -> None:  # rule T1
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(innocent)
    await handle.result(timeout=20)
    started = (await handle.history())[0]
    assert isinstance(started, ExecutionStarted)
    assert started.at == (await engine.record(handle.instance_id)).created_at
