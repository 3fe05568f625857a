"""What goes wrong, and goes on: takeovers, unknown outcomes, refusals, a broker that forgets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tenuto import App, WorkflowContext, activity, when_all
from tenuto.core.events import ActivityScheduled, decode_events
from tenuto.core.status import Status
from tenuto.errors import DataRefusedError, StoreUnavailableError
from tenuto.naming import Names
from tenuto.store.protocol import PartitionWrites
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, Running, until, wipe

app = App("faults")
executions: Counter[str] = Counter()
gates: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    """What the activity `gated` waits for."""
    executions.clear()
    gates[:] = [asyncio.Event()]
    return gates[0]


@app.activity
async def step(number: int) -> int:
    executions[activity.context().idempotency_key] += 1
    return number + 1


@app.activity
async def gated(number: int) -> int:
    executions[activity.context().idempotency_key] += 1
    await gates[0].wait()
    return number + 1


@app.workflow
async def chain(ctx: WorkflowContext, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(step, value)
    return value


@app.workflow
async def held(ctx: WorkflowContext, width: int) -> int:
    return sum(await when_all([ctx.call_activity(gated, 0) for _ in range(width)]))


@app.workflow
async def naps(ctx: WorkflowContext, seconds: float) -> str:
    await ctx.create_timer(seconds)
    return "rested"


@app.workflow
async def waits(ctx: WorkflowContext, _: None) -> Any:
    return await ctx.wait_for_external_event("go")


def _pipeline(running: Running) -> Any:
    parts = running.service._running.parts  # type: ignore[union-attr]
    return parts.pipeline


async def _started(engine: Engine, count: int) -> None:
    async def reached() -> bool:
        return sum(executions.values()) >= count

    await until(reached)


@pytest.mark.semantics("Timers", "orchestrator that dies")
async def test_takeover_goes_on_with_everything(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    """Pending activities, timers and letters all outlive their owner (rule O2)."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker()
    nap = await engine.client.start(naps, 2.0)
    busy = await engine.client.start(held, 3)
    waiting = await engine.client.start(waits, None)
    await _started(engine, 3)
    await first.kill()
    event = asyncio.create_task(waiting.raise_event("go", "kept"))  # nobody is there to take it
    await engine.orchestrator()
    gate.set()
    await event
    assert await busy.result(timeout=20) == 3
    assert await nap.result(timeout=20) == "rested"
    assert await waiting.result(timeout=20) == "kept"


@pytest.mark.semantics("orchestrator that dies")
async def test_two_share_and_one_takes_over(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    first, second = await engine.orchestrator(), await engine.orchestrator()
    await engine.worker()

    async def balanced() -> bool:
        shares = [len(_pipeline(running)._env.owned) for running in (first, second)]
        return sorted(shares) == [2, 2]

    await until(balanced)
    handles = [await engine.client.start(chain, 4) for _ in range(20)]
    await first.kill()
    assert [await handle.result(timeout=30) for handle in handles] == [4] * 20


async def test_a_clean_hand_over_sends_nothing_twice(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(held, 5)
    await _started(engine, 5)
    await engine.orchestrator()
    await first.stop()
    gate.set()
    assert await handle.result(timeout=20) == 5
    assert list(executions.values()) == [1] * 5


class _Unreliable:
    """Makes a pipeline's commits fail in a chosen way."""

    def __init__(self, running: Running) -> None:
        store = _pipeline(running)._env.store
        self._commit: Callable[..., Awaitable[frozenset[int]]] = store.commit
        self.before: Exception | None = None
        self.after: Exception | None = None
        self.failed = 0
        store.commit = self.commit

    async def commit(self, writes: Sequence[PartitionWrites], **keywords: Any) -> frozenset[int]:
        worth_failing = any(part.turns for part in writes)
        if self.before is not None and worth_failing:
            error, self.before = self.before, None
            self.failed += 1
            raise error
        dropped = await self._commit(writes, **keywords)
        if self.after is not None and worth_failing:
            error, self.after = self.after, None
            self.failed += 1
            raise error
        return dropped


@pytest.mark.parametrize("committed", [True, False])
async def test_an_unknown_outcome_of_a_commit(make_engine: MakeEngine, *, committed: bool) -> None:
    """Rule C3: the partition is recovered under a new epoch, whether the transaction landed or not."""
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    unreliable = _Unreliable(orchestrator)
    await engine.worker()
    for _ in range(3):
        error = StoreUnavailableError("the answer was lost")
        if committed:
            unreliable.after = error
        else:
            unreliable.before = error
        handle = await engine.client.start(chain, 3)
        assert await handle.result(timeout=20) == 3
        events = [
            event for turn in await engine.store.history(handle.instance_id) for event in decode_events(turn)
        ]
        assert len([event for event in events if isinstance(event, ActivityScheduled)]) == 3
    assert unreliable.failed == 3


async def test_data_that_the_database_refuses_stalls_one_instance(make_engine: MakeEngine) -> None:
    """Rule C6: the batch is split, the others go through, and the offender keeps its message."""
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    await engine.worker()
    victim = await engine.client.start(waits, None, instance_id="victim")
    store = _pipeline(orchestrator)._env.store
    commit = store.commit

    async def refuses(writes: Sequence[PartitionWrites], **keywords: Any) -> frozenset[int]:
        if any(update.id == "victim" and update.output for part in writes for update in part.updates):
            raise DataRefusedError("value out of range")
        return await commit(writes, **keywords)

    store.commit = refuses
    others = [engine.client.start(chain, 2) for _ in range(10)]
    event = asyncio.create_task(victim.raise_event("go", 7))
    handles = await asyncio.gather(*others)
    assert [await handle.result(timeout=20) for handle in handles] == [2] * 10
    record = await engine.status("victim", Status.STALLED)
    assert record.reason is not None
    assert "refuses" in record.reason
    store.commit = commit
    await orchestrator.kill()
    await engine.orchestrator()
    await event
    assert await victim.result(timeout=20) == 7


@pytest.mark.semantics("broker that has lost its memory")
async def test_a_wiped_broker_is_noticed_and_everything_is_sent_again(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    """Rule B1."""
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    busy = await engine.client.start(held, 3)
    waiting = await engine.client.start(waits, None)
    await _started(engine, 3)
    await wipe(engine)
    gate.set()
    after = await engine.client.start(chain, 3, timeout=20)
    assert await after.result(timeout=30) == 3
    assert await busy.result(timeout=30) == 3
    await waiting.raise_event("go", "still here")
    assert await waiting.result(timeout=20) == "still here"


@pytest.mark.semantics("broker that has lost its memory")
async def test_a_purged_pool_queue_loses_nothing(make_engine: MakeEngine) -> None:
    """Rule B2: what is unanswered for long, on no queue and held by no worker, is sent again."""
    engine = await make_engine(app, resend_after=0.5)
    await engine.orchestrator()
    handle = await engine.client.start(chain, 2)
    broker = engine.place.broker("vandal")
    await broker.open()
    queue = Names(engine.place.namespace).activities("default")

    async def purged() -> bool:
        info = await broker.inspect(queue)
        if info is None or info.messages == 0:
            return False
        await broker.purge(queue)
        return True

    await until(purged)
    await broker.close()
    await engine.worker()
    assert await handle.result(timeout=20) == 2


async def test_what_a_worker_holds_is_not_sent_again(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    """Rule W2: the beat stands for the task."""
    engine = await make_engine(app, resend_after=1.0)
    await engine.orchestrator()
    await engine.worker(beat_interval=0.2)
    handle = await engine.client.start(held, 1)
    await _started(engine, 1)
    await asyncio.sleep(3.0)  # the time in which it would have been sent again
    gate.set()
    assert await handle.result(timeout=20) == 1
    assert list(executions.values()) == [1]


@pytest.mark.semantics("broker that has lost its memory")
async def test_a_lost_turn_queue_is_made_again(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    engine = await make_engine(app, resend_after=1.0)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(held, 2)
    await _started(engine, 2)
    broker = engine.place.broker("vandal")
    await broker.open()
    for number in range(4):
        await broker.delete(Names(engine.place.namespace).turns(number))
    await broker.close()
    gate.set()
    assert await handle.result(timeout=20) == 2


@pytest.mark.semantics("An unknown workflow name")
async def test_an_unknown_workflow_stalls_and_goes_on_when_its_code_arrives(make_engine: MakeEngine) -> None:
    old = App("faults")
    engine = await make_engine(app)
    first = await engine.orchestrator(old)
    await engine.worker()
    start = await _start_unchecked(engine, "chain", b"2")
    record = await engine.status(start, Status.STALLED)
    assert record.reason is not None
    assert "chain" in record.reason
    await engine.orchestrator(app)
    await first.stop()
    assert await engine.client.get(start).result(timeout=20) == 2


async def _start_unchecked(engine: Engine, workflow: str, payload: bytes) -> str:
    """By the public door, which takes any name."""
    broker = engine.place.broker("outsider")
    await broker.open()
    from tenuto.broker.protocol import Outgoing  # noqa: PLC0415

    body = b'{"workflow":"%s","instance_id":"unknown","input":%s}' % (workflow.encode(), payload)
    await broker.publish([Outgoing(queue=Names(engine.place.namespace).start, body=body)])
    await broker.close()
    return "unknown"


@pytest.mark.semantics("A mismatch")
async def test_code_that_does_not_fit_stalls_and_loses_nothing(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    changed = App("faults")
    changed.activity(step)

    @changed.workflow(name="held")
    async def other(ctx: WorkflowContext, _: int) -> int:
        return await ctx.call_activity(step, 0)

    engine = await make_engine(app, lease=20.0)  # longer than a busy machine may keep the loop waiting
    first = await engine.orchestrator()
    worker = await engine.worker()
    handle = await engine.client.start(held, 2)
    await _started(engine, 2)
    await first.stop()
    second = await engine.orchestrator(changed)
    gate.set()
    record = await engine.status(handle.instance_id, Status.STALLED)
    assert record.reason is not None
    assert "gated" in record.reason
    assert "step" in record.reason
    await worker.stop()  # the answers were acknowledged, and are kept in the inbox
    await second.stop()
    await engine.orchestrator(app)
    assert await handle.result(timeout=60) == 2
    assert list(executions.values()) == [1, 1]


@pytest.mark.semantics("Terminate")
async def test_a_stalled_instance_can_be_terminated(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator(App("empty"))
    start = await _start_unchecked(engine, "chain", b"2")
    await engine.status(start, Status.STALLED)
    await engine.client.get(start).terminate(reason="never mind")
    assert (await engine.status(start, Status.TERMINATED)).reason == "never mind"


async def test_an_idle_engine_asks_for_little(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, lease=4.0, inbox_interval=2.0)
    orchestrator = await engine.orchestrator()
    await engine.worker()
    handles = [await engine.client.start(waits, None) for _ in range(10)]
    await asyncio.gather(*(handle.started() for handle in handles))
    counted = _count_store_calls(orchestrator)
    await asyncio.sleep(4.0)
    assert sum(counted.values()) <= 12, counted  # a beat a second, a look at the inboxes every two


def _count_store_calls(running: Running) -> Counter[str]:
    counted: Counter[str] = Counter()
    store = _pipeline(running)._env.store
    for name in ("beat", "claim", "commit", "deployment", "inbox", "timers", "load", "pending"):
        setattr(store, name, _counting(getattr(store, name), name, counted))
    return counted


def _counting(call: Callable[..., Awaitable[Any]], name: str, counted: Counter[str]) -> Any:
    async def counting(*args: Any, **keywords: Any) -> Any:
        counted[name] += 1
        return await call(*args, **keywords)

    return counting
