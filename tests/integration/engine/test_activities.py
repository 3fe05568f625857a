"""Activities in the whole engine: their limits, their heartbeats, and how they are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from tenuto import (
    ActivityCancelledError,
    ActivityError,
    App,
    Client,
    NonRetryableError,
    RetryPolicy,
    WorkflowContext,
    activity,
)
from tenuto.broker.protocol import Delivery, Outgoing
from tenuto.core.status import Status
from tenuto.errors import QueueMissingError
from tenuto.messages import Held, Returned, decode_tasks, encode, task_ref
from tenuto.naming import Names
from tenuto_worker import Worker
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import FAST, Engine, Place, Running, until

app = App("activities")
executions: Counter[str] = Counter()
gates: list[asyncio.Event] = []
ends = threading.Event()
clients: list[Client] = []


@pytest.fixture(autouse=True)
def gate() -> asyncio.Event:
    """What the activity `gated` waits for."""
    executions.clear()
    gates[:] = [asyncio.Event()]
    return gates[0]


@app.activity
async def gated(name: str) -> str:
    executions[name] += 1
    await gates[0].wait()
    return name


@app.activity
async def fails(message: str) -> None:
    executions[message] += 1
    raise ValueError(message)


@app.workflow
async def hurried(ctx: WorkflowContext, limits: dict[str, float]) -> str:
    """Calls `gated` under these limits; gives its result, or the type of the failure."""
    try:
        return await ctx.call_activity(gated, "it", **limits)  # type: ignore[arg-type]
    except ActivityError as error:
        return error.failure.type if error.failure else "unknown"


@app.workflow
async def tries(ctx: WorkflowContext, seconds: float) -> str:
    policy = RetryPolicy(max_attempts=None, first_interval=0.05, backoff_coefficient=1)
    try:
        return str(await ctx.call_activity(fails, "broken", retry=policy, schedule_to_close=seconds))
    except ActivityError as error:
        return error.failure.type if error.failure else "unknown"


async def _timers(engine: Engine) -> int:
    later = datetime.now(UTC) + timedelta(days=1)
    return len(await engine.store.timers(range(4), until=later, limit=10))


@pytest.mark.semantics("Four timeouts per activity")
async def test_schedule_to_start_ends_an_activity_that_no_worker_begins(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    handle = await engine.client.start(hurried, {"schedule_to_start": 0.2})
    assert await handle.result(timeout=20) == "ScheduleToStartTimeoutError"
    assert await _timers(engine) == 0


async def test_schedule_to_start_does_not_end_what_a_worker_has_begun(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    """Nor does a takeover: the new owner hears from the worker first, however late the deadline is by then."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(hurried, {"schedule_to_start": 3.0})

    async def begun() -> bool:
        return executions["it"] == 1

    await until(begun)
    await first.kill()
    await engine.orchestrator()

    async def passed() -> bool:
        return await _timers(engine) == 0

    await until(passed)
    gate.set()
    assert await handle.result(timeout=20) == "it"


@pytest.mark.semantics("Four timeouts per activity")
async def test_schedule_to_close_ends_an_activity_that_runs_too_long(make_engine: MakeEngine) -> None:
    """It is a durable deadline: another owner enforces it."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(hurried, {"schedule_to_start": 3.0, "schedule_to_close": 4.0})

    async def begun() -> bool:
        return executions["it"] == 1

    await until(begun)
    await first.kill()
    await engine.orchestrator()
    assert await handle.result(timeout=20) == "ScheduleToCloseTimeoutError"
    assert await _timers(engine) == 0


@pytest.mark.semantics("Four timeouts per activity")
async def test_schedule_to_close_ends_retries(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(tries, 2.0)
    assert await handle.result(timeout=20) in ("ValueError", "ScheduleToCloseTimeoutError")
    assert executions["broken"] > 1
    assert await _timers(engine) == 0


async def test_the_deadline_goes_when_the_answer_comes_first(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    gate.set()
    handle = await engine.client.start(hurried, {"schedule_to_close": 3600, "schedule_to_start": 1800})
    assert await handle.result(timeout=20) == "it"
    assert await _timers(engine) == 0


@app.activity(retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def counts(last: int) -> list[int]:
    """Says how far it is; its first attempt hangs or fails in the middle."""
    context = activity.context()
    begin = context.heartbeat_details(int) or 0
    for number in range(begin, last):
        executions[f"count {number}"] += 1
        context.heartbeat(number + 1)
        if context.attempt == 1 and number == last // 2:
            await asyncio.Event().wait()
    return [begin, last]


@app.workflow
async def counted(ctx: WorkflowContext, last: int) -> list[int]:
    return await ctx.call_activity(counts, last, heartbeat_timeout=1.0)


@pytest.mark.semantics("Heartbeats")
async def test_the_next_attempt_goes_on_from_the_details_of_the_last_heartbeat(
    make_engine: MakeEngine,
) -> None:
    """Heartbeat timeouts, and activity.context() gives heartbeat details."""
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(counted, 10)
    assert await handle.result(timeout=20) == [6, 10]
    assert all(executions[f"count {number}"] == 1 for number in range(10))


# Cancelling -------------------------------------------------------------------------------------------------------


@app.activity
async def lasts(name: str) -> None:
    executions[f"{name} begun"] += 1
    try:
        await asyncio.Event().wait()
    finally:
        executions[f"{name} cleaned up"] += 1


@app.activity
def lasts_in_a_thread(name: str) -> None:
    executions[f"{name} begun"] += 1
    while True:
        try:
            activity.heartbeat()
        except ActivityCancelledError:
            executions[f"{name} cleaned up"] += 1
            raise
        ends.wait(0.01)


@app.workflow
async def waits_long(ctx: WorkflowContext, name: str) -> None:
    await ctx.call_activity(lasts, name)


@app.workflow
async def waits_for_a_thread(ctx: WorkflowContext, name: str) -> None:
    await ctx.call_activity(lasts_in_a_thread, name)


@app.workflow
async def gives_up(ctx: WorkflowContext, name: str) -> str:
    task = ctx.call_activity(lasts, name)
    await ctx.wait_for_external_event("enough")
    task.cancel()
    await ctx.wait_for_external_event("never")
    return "never"


@app.workflow
async def hurries(ctx: WorkflowContext, name: str) -> str:
    try:
        await ctx.call_activity(lasts, name, schedule_to_close=0.3)
    except ActivityError:
        await ctx.wait_for_external_event("never")
    return "never"


async def _counted(what: str) -> None:
    async def reached() -> bool:
        return executions[what] > 0

    await until(reached)


@pytest.mark.semantics("Cancellation")
@pytest.mark.parametrize("workflow", [waits_long, waits_for_a_thread])
async def test_running_activities_are_told_to_cancel_when_their_instance_is_terminated(
    make_engine: MakeEngine, workflow: Any
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker(beat_interval=0.05)
    handle = await engine.client.start(workflow, "it")
    await _counted("it begun")
    await handle.terminate()
    await _counted("it cleaned up")
    assert executions["it begun"] == 1


@pytest.mark.semantics("Cancellation")
async def test_a_purge_by_force_cancels_too(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker(beat_interval=0.05)
    handle = await engine.client.start(waits_long, "it")
    await _counted("it begun")
    await handle.purge(force=True)
    await _counted("it cleaned up")


@pytest.mark.semantics("Cancellation")
async def test_cancelling_the_task_in_the_workflow_cancels_the_activity(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker(beat_interval=0.05)
    handle = await engine.client.start(gives_up, "it")
    await _counted("it begun")
    await handle.raise_event("enough")
    await _counted("it cleaned up")
    assert (await engine.record(handle.instance_id)).status is Status.RUNNING


@pytest.mark.semantics("Cancellation")
async def test_an_activity_whose_attempt_has_timed_out_at_its_owner_is_cancelled(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker(beat_interval=0.05)
    await engine.client.start(hurries, "it")
    await _counted("it cleaned up")


async def test_an_instance_that_ended_under_another_owner_has_its_activities_cancelled(
    make_engine: MakeEngine,
) -> None:
    """A new owner looks, when it first hears of a task, whether anybody waits for it."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker(beat_interval=2.0)  # not in a beat yet, when the instance ends
    handle = await engine.client.start(waits_long, "it")
    await _counted("it begun")
    await handle.terminate()
    await first.kill()
    await engine.orchestrator()
    await _counted("it cleaned up")


# Holds ------------------------------------------------------------------------------------------------------------


async def _held(engine: Engine) -> None:
    """Wait until the one task of the engine is held: it has a row, and no message in the broker."""

    async def reached() -> bool:
        later = datetime.now(UTC) + timedelta(days=1)
        timers = await engine.store.timers(range(4), until=later, limit=10)
        return [row.key.attempt for row in timers] == [-1]

    await until(reached)


@pytest.mark.semantics("Long activities")
async def test_a_task_whose_worker_dies_with_it_while_it_is_held_is_sent_again(
    make_engine: MakeEngine, gate: asyncio.Event
) -> None:
    """Also when the owner that knew of the hold has died too (rule W2)."""
    engine = await make_engine(app, resend_after=3600.0)
    first = await engine.orchestrator()
    worker = await engine.worker(beat_interval=0.05, hold_after=0.1)
    handle = await engine.client.start(hurried, {})
    await _held(engine)
    assert isinstance(worker.service, Worker)
    for service in worker.service._services:  # no beat and no answer from now on
        service.cancel()
    worker.over = True
    await worker.broker.close()
    await first.kill()
    await engine.worker()
    await engine.orchestrator()
    gate.set()
    assert await handle.result(timeout=20) == "it"
    assert executions["it"] == 2
    assert await _timers(engine) == 0


@pytest.mark.semantics("Long activities")
async def test_a_hold_outlives_its_owner(make_engine: MakeEngine, gate: asyncio.Event) -> None:
    """It gets a full fresh period after its partition changed owner: it runs once."""
    engine = await make_engine(app, resend_after=3600.0)
    first = await engine.orchestrator()
    await engine.worker(beat_interval=0.05, hold_after=0.1)
    handle = await engine.client.start(hurried, {})
    await _held(engine)
    await first.kill()
    second = await engine.orchestrator()

    async def looked_after() -> bool:
        partitions = _env(second).owned.values()
        if len(partitions) < FAST["partitions"]:
            return False
        fresh = max(partition.since for partition in partitions) + FAST["beat_life"]
        return asyncio.get_running_loop().time() > fresh + 0.2

    await until(looked_after)
    await _held(engine)
    gate.set()
    assert await handle.result(timeout=20) == "it"
    assert executions["it"] == 1
    assert await _timers(engine) == 0


def _env(running: Running) -> Any:
    return running.service._running.parts.pipeline._env  # type: ignore[union-attr]


# At least once ------------------------------------------------------------------------------------------------------


@app.activity(retry=RetryPolicy(max_attempts=5, first_interval=0.01))
async def gives_up_early(name: str) -> None:
    executions[name] += 1
    raise NonRetryableError(name)


@app.workflow
async def hopeless(ctx: WorkflowContext, name: str) -> str:
    try:
        await ctx.call_activity(gives_up_early, name)
    except ActivityError as error:
        return error.failure.type if error.failure else "unknown"
    return "never"


@pytest.mark.semantics("retry policy")
async def test_a_non_retryable_error_is_never_retried(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(hopeless, "it")
    assert await handle.result(timeout=20) == "NonRetryableError"
    assert executions["it"] == 1


@app.activity(retry=RetryPolicy(max_attempts=3, first_interval=0.01))
async def raises(instance: str) -> None:
    context = activity.context()
    handle = clients[0].get(instance)
    await handle.raise_event("progress", {"page": 1}, message_id=context.idempotency_key)
    if context.attempt < 3:
        raise RuntimeError("again")


@app.workflow
async def listens(ctx: WorkflowContext, _: None) -> Any:
    task = ctx.call_activity(raises, ctx.instance_id)
    payload = await ctx.wait_for_external_event("progress")
    await task
    try:
        return await ctx.wait_for_external_event("progress", timeout=0)
    except TimeoutError:
        return payload


async def test_an_activity_raises_an_event_on_its_workflow(make_engine: MakeEngine) -> None:
    """Events come from activities, by a client. With the idempotency key, which is the same on every attempt, once."""
    engine = await make_engine(app)
    clients[:] = [engine.client]
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(listens, None)
    assert await handle.result(timeout=20) == {"page": 1}


@pytest.mark.semantics("A task that kills its worker")
async def test_a_task_that_kills_its_worker_again_and_again_is_a_failed_activity_and_a_dead_letter(
    make_engine: MakeEngine,
) -> None:
    """Rule W1: redelivery is bounded. The first loss, of a task that might have had company, does not count."""
    engine = await make_engine(app, max_losses=2)
    running = await engine.orchestrator()
    names = _env(running).names
    doomed = asyncio.create_task(_workers_that_die(engine.place, names))
    handle = await engine.client.start(hurried, {})
    assert await handle.result(timeout=30) == "WorkerLostError"
    doomed.cancel()
    assert executions["deliveries"] == 4

    async def buried() -> bool:  # published after the commit that the client has heard of
        found = await running.broker.inspect(names.dead)
        return found is not None and found.messages == 1

    await until(buried)


async def _workers_that_die(place: Place, names: Names) -> None:
    """Workers by the book, each of which dies with the first task that it does not have to hand back."""
    while True:
        broker = place.broker("doomed")
        await broker.open()
        line: asyncio.Queue[Delivery] = asyncio.Queue()
        try:
            subscription = await broker.subscribe(
                names.activities("default"), line.put_nowait, prefetch=1, on_lost=lambda _: None
            )
            while (delivery := await line.get()).redelivered:
                (task,) = decode_tasks(delivery.body).tasks
                back = Returned(tasks=[Held(**structs.asdict(task_ref(task)))], counted=task.alone)
                await broker.publish([Outgoing(queue=task.reply_to, body=encode(back))])
                subscription.ack(delivery.tag)
            executions["deliveries"] += 1
        except QueueMissingError:
            await asyncio.sleep(0.01)  # nobody has declared it yet
        finally:
            await broker.close()
