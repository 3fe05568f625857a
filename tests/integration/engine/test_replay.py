"""Replays of the whole engine's: after every turn where that is asked for, and strict where the app is."""

from __future__ import annotations

import itertools

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.status import Status
from tests.integration.engine.conftest import MakeEngine


@pytest.mark.semantics("replayed from nothing after every turn")
async def test_what_is_not_deterministic_shows_at_once(make_engine: MakeEngine) -> None:
    """`TENUTO_REPLAY_CHECK=always`: replayed from nothing after every turn, not only at the first failover."""
    app, count = App("fickle"), itertools.count()

    @app.workflow
    async def fickle(ctx: WorkflowContext) -> None:
        await ctx.call_activity(f"call-{next(count)}")

    engine = await make_engine(app, replay_check="always")
    await engine.orchestrator()
    handle = await engine.client.start(fickle)
    reason = (await engine.status(handle.instance_id, Status.STALLED)).reason or ""
    assert "the replay check failed" in reason
    assert "expected by the history: ActivityScheduled #0 call-" in reason
    assert f"{__file__}:" in reason


def _app(*, strict: bool, said: str, shown: str) -> App:
    app = App("strict", strict_replay=strict)

    @app.workflow(name="job")
    async def job(ctx: WorkflowContext) -> str:
        ctx.send_event("nobody", "note", said)
        ctx.set_custom_status(shown)
        return await ctx.wait_for_external_event("go", type=str)

    return app


@pytest.mark.semantics("App(strict_replay=True)")
@pytest.mark.parametrize(("said", "shown"), [("changed", "shown"), ("said", "changed")])
async def test_strict_replay_compares_inputs_and_custom_status(
    make_engine: MakeEngine, said: str, shown: str
) -> None:
    """With `App(strict_replay=True)` a different input or custom status stalls; it goes on when fitting code arrives."""
    right = _app(strict=True, said="said", shown="shown")
    engine = await make_engine(right)
    first = await engine.orchestrator()
    handle = await engine.client.start("job", instance_id="strict")
    await handle.started()
    await first.stop()

    second = await engine.orchestrator(_app(strict=True, said=said, shown=shown))
    await handle.raise_event("go", "well", wait=False)
    assert "changed" in ((await engine.status("strict", Status.STALLED)).reason or "")
    await second.stop()

    await engine.orchestrator(_app(strict=False, said=said, shown=shown))
    assert await handle.result(timeout=20) == "well"


@pytest.mark.semantics("Time, chance and identity replay")
async def test_time_chance_and_identity_outlive_their_orchestrator(make_engine: MakeEngine) -> None:
    """They come from the history: a strict replay by another process asks for the very same."""
    app, printed = App("strict", strict_replay=True), list[str]()

    @app.workflow
    async def draws(ctx: WorkflowContext) -> str:
        for _ in range(3):
            drawn = [str(ctx.new_uuid()), ctx.random.random(), ctx.current_utc_datetime.isoformat()]
            ctx.send_event("nobody", "drawn", drawn)
            ctx.set_custom_status(drawn)
            if not ctx.is_replaying:
                printed.append(str(drawn))
            await ctx.wait_for_external_event("go")
        return "drawn"

    engine = await make_engine(app)
    first = await engine.orchestrator()
    handle = await engine.client.start(draws)
    for _ in range(2):
        await handle.raise_event("go")
        await first.kill()
        first = await engine.orchestrator()
    await handle.raise_event("go")
    assert await handle.result(timeout=20) == "drawn"
    assert len(printed) == len(set(printed)) == 3, "drawn anew each time, and printed once"
