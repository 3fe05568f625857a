"""Fairness: nobody waits for ever behind one who wants very much."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tenuto import App, WorkflowContext, when_all
from tenuto.core.events import ActivityScheduled, Command, EventSent, TimerCreated
from tenuto.naming import Names
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import until

app = App("fairness")
done: Counter[str] = Counter()
gates: list[asyncio.Event] = []
WIDTH = 500
WINDOW = 5


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    """What the activities of the wide fan-out wait for."""
    done.clear()
    gates[:] = [asyncio.Event()]
    return gates[0]


@app.activity
async def slow(number: int) -> int:
    await gates[0].wait()
    done["slow"] += 1
    return number


@app.activity
async def quick(number: int) -> int:
    done["quick"] += 1
    return number + 1


@app.workflow
async def wide(ctx: WorkflowContext, width: int) -> int:
    return sum(await when_all([ctx.call_activity(slow, 1) for _ in range(width)]))


@app.workflow
async def small(ctx: WorkflowContext, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(quick, value)
    return value


@app.workflow
async def ten_thousand(ctx: WorkflowContext, timers: int) -> int:
    """Timers, letters and activities, ten thousand commands in its first turn."""
    for _ in range(timers):
        ctx.create_timer(3600.0)
    for _ in range(500):
        ctx.send_event(ctx.instance_id, "go", "x")
    calls = [ctx.call_activity(quick, number) for number in range(500)]
    await ctx.wait_for_external_event("enough")
    await when_all(calls)
    return len([await ctx.wait_for_external_event("go") for _ in range(500)])


@pytest.mark.semantics("A wide fan-out")
async def test_a_wide_fan_out_does_not_starve_small_workflows(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    """Its activities never end while the gate is closed, and it wants many times the slots that there are. Others get
    through all the same, in the same pool; and once it is open, everything is done once."""
    engine = await make_engine(app, fan_out_window=WINDOW, replay_check="never")
    await engine.orchestrator()
    await engine.worker(concurrency=2 * WINDOW)
    big = await engine.client.start(wide, WIDTH)
    handles = [await engine.client.start(small, 5) for _ in range(3)]
    assert [await handle.result(timeout=20) for handle in handles] == [5, 5, 5]
    assert (done["slow"], done["quick"]) == (0, 15)
    broker = engine.place.broker("onlooker")
    await broker.open()
    info = await broker.inspect(Names(engine.place.namespace).activities("default"))
    await broker.close()
    assert info is not None
    assert info.messages <= WINDOW, "the rest is in the outbox"
    gate.set()
    assert await big.result(timeout=60) == WIDTH
    assert done["slow"] == WIDTH

    async def emptied() -> bool:
        number = (await engine.record(big.instance_id)).partition
        return not (await engine.store.recovery(number, inbox=1, timers=1)).outbox

    await until(emptied)


@pytest.mark.semantics("A wide fan-out")
async def test_a_fan_out_of_a_hundred_thousand_does_not_starve_small_workflows(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    """None of its activities ends before the small ones have; then it is terminated, which takes one commit."""
    engine = await make_engine(app, replay_check="never", lease=60.0)
    await engine.orchestrator()
    await engine.worker(concurrency=2_000)
    big = await engine.client.start(wide, 100_000, wait=False)
    handles = [await engine.client.start(small, 5, timeout=60) for _ in range(10)]
    await big.started(timeout=60)
    handles += [await engine.client.start(small, 5, timeout=60) for _ in range(10)]
    assert [await handle.result(timeout=60) for handle in handles] == [5] * 20
    assert done["slow"] == 0
    await big.terminate(timeout=60)
    gate.set()


@pytest.mark.semantics("A wide fan-out")
async def test_what_is_held_back_of_a_fan_out_survives_a_takeover(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    engine = await make_engine(app, fan_out_window=WINDOW, replay_check="never")
    first = await engine.orchestrator()
    await engine.worker(concurrency=4 * WINDOW)
    big = await engine.client.start(wide, 200)
    await first.kill()
    await engine.orchestrator()
    gate.set()
    assert await big.result(timeout=60) == 200
    assert done["slow"] <= 200 + 2 * WINDOW, "only what was out may have been sent twice"


async def test_what_is_held_back_of_a_fan_out_goes_with_its_instance(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    engine = await make_engine(app, fan_out_window=WINDOW, replay_check="never")
    await engine.orchestrator()
    await engine.worker(concurrency=4 * WINDOW)
    big = await engine.client.start(wide, 200)
    await big.terminate()
    number = (await engine.record(big.instance_id)).partition

    async def emptied() -> bool:
        return not (await engine.store.recovery(number, inbox=1, timers=1)).outbox

    await until(emptied)
    gate.set()
    assert await (await engine.client.start(small, 5)).result(timeout=20) == 5
    assert done["slow"] <= WINDOW


@pytest.mark.semantics("Ten thousand commands in one turn")
async def test_ten_thousand_commands_in_one_turn_commit_on_every_store(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, replay_check="never")
    await engine.orchestrator()
    await engine.worker(concurrency=100)
    handle = await engine.client.start(ten_thousand, 9_000, timeout=60)
    await handle.raise_event("enough", timeout=60)
    assert await handle.result(timeout=60) == 500
    history = await handle.history()
    commands = [event for event in history if isinstance(event, TimerCreated | EventSent | ActivityScheduled)]
    assert len(commands) == 10_000
    assert all(isinstance(event, Command) for event in history[2:10_002]), "in one turn"
    record = await engine.record(handle.instance_id)
    assert not (await engine.store.recovery(record.partition, inbox=1, timers=1)).timers
