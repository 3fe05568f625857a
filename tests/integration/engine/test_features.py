"""What workflows can do, run by the whole engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tenuto import (
    ActivityError,
    AlreadyExistsError,
    App,
    ChildWorkflowError,
    InstanceOverError,
    NotFoundError,
    RequestError,
    RetryPolicy,
    WorkflowContext,
    WorkflowFailedError,
    WorkflowTerminatedError,
    activity,
    when_all,
    when_any,
)
from tenuto.core.events import ActivityRetried, TimerFired, TurnStarted
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("features")
calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    calls.clear()


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@app.activity
async def double(number: int) -> int:
    calls["double"] += 1
    return number * 2


@app.activity
def slow_add(numbers: list[int]) -> int:
    return sum(numbers)


@app.activity
async def fails(message: str) -> None:
    calls["fails"] += 1
    raise ValueError(message)


@app.activity(retry=RetryPolicy(max_attempts=4, first_interval=0.01))
async def third_time_lucky(_: None) -> str:
    attempt = activity.context().attempt
    calls[activity.context().idempotency_key] += 1
    if attempt < 3:
        raise RuntimeError(f"attempt {attempt}")
    return f"attempt {attempt}"


@app.workflow
async def stalls(ctx: WorkflowContext) -> None:
    await asyncio.sleep(0)  # what stalls it


@app.workflow
async def chain(ctx: WorkflowContext, start: int) -> int:
    value = start
    for _ in range(5):
        value = await ctx.call_activity(double, value)
    return value


@app.workflow
async def fan_out(ctx: WorkflowContext, width: int) -> int:
    parts = await when_all([ctx.call_activity(double, number) for number in range(width)])
    return await ctx.call_activity(slow_add, parts)


@app.workflow
async def naps(ctx: WorkflowContext, seconds: float) -> str:
    before = ctx.current_utc_datetime
    await ctx.create_timer(timedelta(seconds=seconds))
    return str((ctx.current_utc_datetime - before).total_seconds() >= seconds)


@app.workflow
async def waits(ctx: WorkflowContext, timeout: float | None) -> Any:
    try:
        return await ctx.wait_for_external_event("Go", timeout=timeout)
    except TimeoutError:
        return "timed out"


@app.workflow
async def races(ctx: WorkflowContext, _: None) -> str:
    nap = ctx.create_timer(30.0)
    work = ctx.call_activity(double, 4)
    winner = await when_any([nap, work])
    assert winner is work
    return f"work {await work}"


@app.workflow
async def parent(ctx: WorkflowContext, number: int) -> list[int]:
    return await when_all([ctx.call_child_workflow(chain, number + child) for child in range(3)])


@app.workflow
async def unhappy(ctx: WorkflowContext, message: str) -> None:
    await ctx.call_activity(fails, message)


@app.workflow
async def catches(ctx: WorkflowContext, message: str) -> str:
    try:
        await ctx.call_child_workflow(unhappy, message)
    except ChildWorkflowError as error:
        return str(error.failure.message if error.failure else "")
    return "not reached"


@app.workflow
async def retries(ctx: WorkflowContext, _: None) -> str:
    return await ctx.call_activity(third_time_lucky, None)


@app.workflow
async def counts_down(ctx: WorkflowContext, left: int) -> str:
    ctx.set_custom_status({"left": left})
    if left:
        await ctx.call_activity(double, left)
        ctx.continue_as_new(left - 1)
    return "lift-off"


@app.workflow
async def sends(ctx: WorkflowContext, receiver: str) -> None:
    ctx.send_event(receiver, "go", {"from": ctx.instance_id})


@app.workflow
async def has_waiting_children(ctx: WorkflowContext, ids: list[str]) -> None:
    await when_all([ctx.call_child_workflow(waits, None, instance_id=child) for child in ids])


async def test_chaining(engine: Engine) -> None:
    handle = await engine.client.start(chain, 1)
    assert await handle.result(timeout=20) == 32
    assert calls["double"] == 5


@pytest.mark.semantics("when_all")
async def test_fan_out_and_fan_in(engine: Engine) -> None:
    handle = await engine.client.start(fan_out, 50)
    assert await handle.result(timeout=20) == sum(2 * number for number in range(50))
    assert calls["double"] == 50


@pytest.mark.semantics("Timers")
async def test_a_durable_timer(engine: Engine) -> None:
    handle = await engine.client.start(naps, 0.3)
    assert await handle.result(timeout=20) == "True"
    assert any(isinstance(event, TimerFired) for event in await handle.history())


@pytest.mark.semantics("Payloads arrive")
@pytest.mark.parametrize("payload", [{"a": 1}, 0, "", False, None])
async def test_an_external_event_arrives_as_sent(engine: Engine, payload: object) -> None:
    handle = await engine.client.start(waits, 60.0)
    await handle.raise_event("go", payload)
    assert await handle.result(timeout=20) == payload


@pytest.mark.semantics("wait that timed out")
async def test_an_external_event_times_out(engine: Engine) -> None:
    handle = await engine.client.start(waits, 0.1)
    assert await handle.result(timeout=20) == "timed out"


@pytest.mark.semantics("wait that timed out")
async def test_a_resolved_wait_leaves_no_timer(engine: Engine) -> None:
    handle = await engine.client.start(waits, 3600.0)
    await handle.raise_event("go", 1)
    await handle.result(timeout=20)
    number = (await engine.record(handle.instance_id)).partition
    assert not (await engine.store.recovery(number, inbox=10, timers=10)).timers


@pytest.mark.semantics("Events come")
async def test_an_event_from_one_workflow_to_another(engine: Engine) -> None:
    receiver = await engine.client.start(waits, 60.0, instance_id="receiver")
    sender = await engine.client.start(sends, "receiver")
    assert await receiver.result(timeout=20) == {"from": sender.instance_id}


@pytest.mark.semantics("when_any")
async def test_the_first_of_several_wins(engine: Engine) -> None:
    handle = await engine.client.start(races, None)
    assert await handle.result(timeout=20) == "work 8"


@pytest.mark.semantics("child")
async def test_child_workflows(engine: Engine) -> None:
    handle = await engine.client.start(parent, 1)
    assert await handle.result(timeout=20) == [32, 64, 96]
    children = [page async for page in engine.client.list(InstanceFilter(parent=handle.instance_id))]
    assert len(children) == 3


async def test_a_failure_reaches_the_client_with_its_cause(engine: Engine) -> None:
    handle = await engine.client.start(unhappy, "out of stock")
    with pytest.raises(WorkflowFailedError) as caught:
        await handle.result(timeout=20)
    failure = caught.value.failure
    assert failure is not None
    assert failure.type == ActivityError.__name__
    assert failure.cause is not None
    assert (failure.cause.type, failure.cause.message) == ("ValueError", "out of stock")


@pytest.mark.semantics("child")
async def test_a_childs_failure_can_be_caught(engine: Engine) -> None:
    handle = await engine.client.start(catches, "nope")
    assert "nope" in await handle.result(timeout=20)


@pytest.mark.semantics("The idempotency key")
async def test_retries_with_one_idempotency_key(engine: Engine) -> None:
    handle = await engine.client.start(retries, None)
    assert await handle.result(timeout=20) == "attempt 3"
    assert list(calls.values()) == [3]
    retried = [event for event in await handle.history() if isinstance(event, ActivityRetried)]
    assert [event.attempt for event in retried] == [2, 3]


@pytest.mark.semantics("new generation")
async def test_continue_as_new_keeps_one_generations_history(engine: Engine) -> None:
    handle = await engine.client.start(counts_down, 5)
    assert await handle.result(timeout=20) == "lift-off"
    record = await engine.record(handle.instance_id)
    assert record.generation == 5
    assert record.custom_status == b'{"left":0}'
    assert len(await engine.store.history(handle.instance_id)) <= 2


@pytest.mark.semantics("Suspend")
async def test_suspend_keeps_and_resume_delivers(engine: Engine) -> None:
    handle = await engine.client.start(waits, None)
    await handle.suspend("lunch")
    await handle.suspend("lunch again")
    record = await engine.status(handle.instance_id, Status.SUSPENDED)
    assert record.reason == "lunch"
    await handle.raise_event("go", "kept")
    assert (await engine.record(handle.instance_id)).status is Status.SUSPENDED
    await handle.resume()
    assert await handle.result(timeout=20) == "kept"


@pytest.mark.semantics("Terminate")
async def test_terminate_reaches_the_children(engine: Engine) -> None:
    children = [f"child-{number}" for number in range(3)]
    handle = await engine.client.start(has_waiting_children, children)
    for child in children:
        await engine.status(child, Status.RUNNING)
    await handle.terminate(output={"stopped": True}, reason="changed our mind")
    with pytest.raises(WorkflowTerminatedError, match="changed our mind"):
        await handle.result(timeout=20)
    for child in children:
        await engine.status(child, Status.TERMINATED)


@pytest.mark.semantics("terminated child")
async def test_a_terminated_child_surfaces_in_its_parent(engine: Engine) -> None:
    handle = await engine.client.start(has_waiting_children, ["alone"])
    await engine.status("alone", Status.RUNNING)
    await engine.client.get("alone").terminate(reason="not needed")
    with pytest.raises(WorkflowFailedError) as caught:
        await handle.result(timeout=20)
    assert caught.value.failure is not None
    assert caught.value.failure.type == "ChildWorkflowError"
    assert "not needed" in caught.value.failure.message


@pytest.mark.semantics("Purge")
async def test_purge_deletes_the_instance_and_its_children(engine: Engine) -> None:
    handle = await engine.client.start(parent, 1, instance_id="family")
    await handle.result(timeout=20)
    children = [record.instance_id async for record in engine.client.list(InstanceFilter(parent="family"))]
    await handle.purge()
    with pytest.raises(NotFoundError):
        await handle.status()

    async def gone() -> bool:
        return not await engine.store.instances(["family", *children])

    assert await until(gone)


@pytest.mark.semantics("Purge")
async def test_purge_of_a_live_instance_needs_force(engine: Engine) -> None:
    handle = await engine.client.start(waits, None)
    with pytest.raises(RequestError, match="terminate"):
        await handle.purge()
    await handle.purge(force=True)
    with pytest.raises(NotFoundError):
        await handle.status()


@pytest.mark.semantics("Each request is durable")
async def test_requests_wait_for_an_orchestrator(make_engine: MakeEngine) -> None:
    """Those that nobody waited for, and one whose wait timed out."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    handle = await engine.client.start(waits, None)
    other = await engine.client.start(waits, None)
    await first.kill()
    await handle.suspend("lunch", wait=False)
    await handle.raise_event("go", 1, wait=False)
    with pytest.raises(TimeoutError):
        await other.terminate(reason="enough", timeout=0.05)
    await handle.resume(wait=False)
    await engine.orchestrator()
    assert await handle.result(timeout=20) == 1
    assert (await engine.status(other.instance_id, Status.TERMINATED)).reason == "enough"


@pytest.mark.semantics("To an unknown instance")
async def test_requests_to_what_is_over_or_not_there(engine: Engine) -> None:
    handle = await engine.client.start(chain, 1)
    await handle.result(timeout=20)
    with pytest.raises(InstanceOverError):
        await handle.raise_event("go", 1)
    with pytest.raises(NotFoundError):
        await engine.client.get("nobody").raise_event("go", 1)


@pytest.mark.semantics("An id that is taken", "statuses")
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("action", list(ReuseAction))
async def test_reuse_of_an_id(engine: Engine, action: ReuseAction, status: Status) -> None:
    first = await _in_status(engine, status)
    before = await engine.record("reused")
    policy = ReusePolicy(action=action, statuses=frozenset({status}))
    if action is ReuseAction.ERROR:
        with pytest.raises(AlreadyExistsError):
            await engine.client.start(chain, 1, instance_id="reused", reuse=policy)
        assert (await engine.record("reused")).run == before.run
        return
    second = await engine.client.start(chain, 1, instance_id="reused", reuse=policy)
    if action is ReuseAction.IGNORE:
        assert (await engine.record("reused")).run == before.run
        return
    assert await second.result(timeout=20) == 32
    assert (await engine.record("reused")).run != before.run
    assert first.instance_id == second.instance_id


async def _in_status(engine: Engine, status: Status) -> Any:
    match status:
        case Status.COMPLETED:
            handle: Any = await engine.client.start(chain, 0, instance_id="reused")
        case Status.FAILED:
            handle = await engine.client.start(unhappy, "x", instance_id="reused")
        case Status.PENDING:
            handle = await engine.client.start(chain, 0, instance_id="reused", delay=3600)
        case Status.STALLED:
            handle = await engine.client.start(stalls, None, instance_id="reused")
        case _:
            handle = await engine.client.start(waits, None, instance_id="reused")
            if status is Status.TERMINATED:
                await handle.terminate()
            if status is Status.SUSPENDED:
                await handle.suspend()
    await engine.status("reused", status)
    return handle


async def test_a_wide_fan_out_takes_few_turns(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, replay_check="never")
    await engine.orchestrator()
    await engine.worker(concurrency=200)
    handle = await engine.client.start(fan_out, 1000)
    assert await handle.result(timeout=60) == sum(2 * number for number in range(1000))
    turns = [event for event in await handle.history() if isinstance(event, TurnStarted)]
    assert len(turns) < 500


async def test_many_at_once_commit_together(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, replay_check="never")
    orchestrator = await engine.orchestrator()
    commits = _count_commits(orchestrator.service)
    await engine.worker()
    handles = await asyncio.gather(*(engine.client.start(chain, number) for number in range(200)))
    results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
    assert results == [32 * number for number in range(200)]
    assert commits["commits"] < 200 * 6 / 2


def _count_commits(service: Any) -> Counter[str]:
    counted: Counter[str] = Counter()
    store = service._running.parts.pipeline._env.store
    commit = store.commit

    async def counting(*args: Any, **keywords: Any) -> Any:
        counted["commits"] += 1
        return await commit(*args, **keywords)

    store.commit = counting
    return counted
