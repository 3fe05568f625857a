"""Local activities: in the orchestrator, without a message to a worker, by the same rules (SEMANTICS, Activities)."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from tenuto import ActivityError, App, RetryPolicy, WorkflowContext, activity, when_all
from tenuto.core.events import ActivityCompleted, ActivityScheduled, Event, decode_events
from tenuto.core.status import Status
from tenuto.errors import NonRetryableError
from tenuto.messages import ActivityTask
from tenuto_orchestrator.local import LocalActivities
from tenuto_orchestrator.partition import Partition
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("local")
executions: Counter[str] = Counter()
gates: list[asyncio.Event] = []
histories: list[list[Event]] = []
engines: list[Engine] = []


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    """What the activity `gated` waits for."""
    executions.clear()
    histories.clear()
    gates[:] = [asyncio.Event()]
    return gates[0]


@app.activity(local=True)
async def step(number: int) -> int:
    return number + 1


@app.activity
async def gated(number: int) -> int:
    executions[activity.context().idempotency_key] += 1
    await gates[0].wait()
    return number + 1


@app.activity(local=True)
def in_a_thread(number: int) -> bool:
    return threading.current_thread() is not threading.main_thread() and number == 1


@app.activity(local=True)
async def shaky(times: int) -> int:
    attempt = activity.context().attempt
    if attempt <= times:
        raise RuntimeError(f"attempt {attempt}")
    return attempt


@app.activity(local=True, start_to_close=0.05)
async def slow() -> None:
    await asyncio.Event().wait()


@app.activity(local=True)
async def hopeless() -> None:
    raise NonRetryableError("no use")


@app.activity(local=True)
async def look_at_history(number: int) -> int:
    histories.append(await stored(engines[0], activity.context().instance_id))
    return number + 1


async def stored(engine: Engine, instance: str) -> list[Event]:
    return [event for turn in await engine.store.history(instance) for event in decode_events(turn)]


@app.workflow
async def chain(ctx: WorkflowContext, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(step, value)
    return value


@app.workflow
async def held(ctx: WorkflowContext, width: int) -> int:
    return sum(await when_all([ctx.call_activity(gated, 0, local=True) for _ in range(width)]))


@app.workflow
async def elsewhere(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(step, number, local=False)


@app.workflow
async def threaded(ctx: WorkflowContext, number: int) -> bool:
    return await ctx.call_activity(in_a_thread, number)


@app.workflow
async def retried(ctx: WorkflowContext, times: int) -> int:
    policy = RetryPolicy(max_attempts=3, first_interval=0.01)
    return await ctx.call_activity(shaky, times, retry=policy)


@app.workflow
async def failing(ctx: WorkflowContext, name: str) -> str:
    try:
        await ctx.call_activity(name, retry=RetryPolicy(max_attempts=1), local=True)
    except ActivityError as error:
        return error.failure.type if error.failure is not None else "no failure"
    return "nothing"


@app.workflow
async def looking(ctx: WorkflowContext, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await ctx.call_activity(look_at_history, value)
    return value


@app.workflow
async def unknown(ctx: WorkflowContext, _: None) -> Any:
    return await ctx.call_activity("nobody_knows", local=True)


async def _begun(count: int) -> None:
    async def reached() -> bool:
        return sum(executions.values()) >= count

    await until(reached)


@pytest.mark.semantics("local activity")
async def test_a_local_activity_needs_no_worker_and_stands_in_the_history_as_local(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()  # and no worker
    handle = await engine.client.start(chain, 3)
    assert await handle.result(timeout=20) == 3
    scheduled = [event for event in await handle.history() if isinstance(event, ActivityScheduled)]
    assert [event.local for event in scheduled] == [True] * 3

    async def outbox_is_empty() -> bool:
        rows = [(await engine.store.recovery(number, inbox=1, timers=1)).outbox for number in range(4)]
        return not any(rows)

    await until(outbox_is_empty)


@pytest.mark.semantics("local activity")
async def test_a_call_may_say_otherwise_than_its_activity(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(elsewhere, 1)
    await handle.started()
    assert [event.local for event in await handle.history() if isinstance(event, ActivityScheduled)] == [
        False
    ]
    await engine.worker()
    assert await handle.result(timeout=20) == 2


@pytest.mark.semantics("The same rules")
async def test_a_plain_function_runs_in_a_thread(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(threaded, 1)
    assert await handle.result(timeout=20) is True


@pytest.mark.semantics("The same rules")
async def test_the_same_retry_timeout_and_failure_rules_hold(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    second, slowly, never = await asyncio.gather(
        engine.client.start(retried, 1),
        engine.client.start(failing, "slow"),
        engine.client.start(failing, "hopeless"),
    )
    assert await second.result(timeout=20) == 2
    assert await slowly.result(timeout=20) == "StartToCloseTimeoutError"
    assert await never.result(timeout=20) == "NonRetryableError"


@pytest.mark.semantics("result is committed")
async def test_a_result_is_committed_before_the_code_goes_on(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    engines[:] = [engine]
    await engine.orchestrator()
    handle = await engine.client.start(looking, 3)
    assert await handle.result(timeout=20) == 3
    counts = [
        (
            sum(isinstance(event, ActivityScheduled) for event in history),
            sum(isinstance(event, ActivityCompleted) for event in history),
        )
        for history in histories
    ]
    assert counts == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.semantics("No batch waits for one")
async def test_no_batch_waits_for_a_local_activity(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    engine = await make_engine(app, partitions=1)
    await engine.orchestrator()
    waiting = await engine.client.start(held, 3)
    await _begun(3)
    quick = await engine.client.start(chain, 3)
    assert await quick.result(timeout=20) == 3
    assert (await waiting.status()).status is Status.RUNNING
    gate.set()
    assert await waiting.result(timeout=20) == 3


@pytest.mark.semantics("runs at least once")
async def test_whoever_recovers_a_partition_runs_again_what_was_not_answered(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator()
    handle = await engine.client.start(held, 2)
    await _begun(2)
    await first.kill()
    gate.set()
    await engine.orchestrator()
    assert await handle.result(timeout=20) == 2
    assert sorted(executions.values()) == [2, 2]  # at least once, under one key


async def test_the_answer_to_an_instance_that_was_terminated_is_dropped(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(held, 1)
    await _begun(1)
    assert await handle.terminate()
    gate.set()
    quick = await engine.client.start(chain, 2)
    assert await quick.result(timeout=20) == 2
    assert (await handle.status()).status is Status.TERMINATED
    assert not any(isinstance(event, ActivityCompleted) for event in await handle.history())


async def test_one_that_nobody_executes_is_missed(
    make_engine: MakeEngine, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule B2: as where an older release took the outbox row for a worker's."""
    gate.set()
    forgotten: list[ActivityTask] = []
    put = LocalActivities.put

    def forgetful(self: LocalActivities, partition: Partition, task: ActivityTask, done: Any) -> None:
        if forgotten:
            put(self, partition, task, done)
        else:
            forgotten.append(task)

    monkeypatch.setattr(LocalActivities, "put", forgetful)
    engine = await make_engine(app, resend_after=0.2)
    await engine.orchestrator()
    handle = await engine.client.start(held, 1)
    assert await handle.result(timeout=20) == 1
    assert len(forgotten) == 1


@pytest.mark.semantics("unknown local activity")
async def test_an_unknown_local_activity_stalls_the_instance_with_the_reason(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(unknown, None)
    record = await engine.status(handle.instance_id, Status.STALLED)
    assert record.reason is not None
    assert "nobody_knows" in record.reason
    assert "test_local_activities.py" in record.reason
