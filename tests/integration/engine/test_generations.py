"""Continue-as-new in the whole engine, and what must not come of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Delivery, Outgoing, Subscription
from tenuto.core.events import ActivityCompleted, ExecutionTerminated
from tenuto.core.status import Status
from tenuto.messages import ActivityResult, Results, decode_tasks, encode
from tenuto.naming import Names
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("generations")


@app.activity
async def work(number: int) -> int:
    return number + 1


@app.workflow
async def loops(ctx: WorkflowContext, rounds: int) -> int:
    """As tight as a loop of continue-as-new can be, until it is told to stop."""
    try:
        await ctx.wait_for_external_event("stop", timeout=0)
    except TimeoutError:
        ctx.continue_as_new(rounds + 1)
    return rounds


@app.workflow
async def small(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(work, await ctx.call_activity(work, number))


@app.workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_external_event("go", type=str)


@app.workflow
async def leaves_a_child(ctx: WorkflowContext, generation: int) -> str:
    if generation == 0:
        ctx.call_child_workflow(waits, instance_id="child", abandon=True)
        await ctx.wait_for_external_event("next")
        ctx.continue_as_new(1)
        return ""
    return await ctx.wait_for_external_event("end", type=str)


@app.workflow(version="1")
async def keeps(ctx: WorkflowContext, generation: int) -> list[Any]:
    if generation == 0:
        ctx.upsert_tags({"stage": "second"})
        ctx.set_custom_status("under way")
        ctx.continue_as_new(1)
        return []
    await ctx.wait_for_external_event("go")
    return [ctx.instance_id, ctx.version]


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("terminate in the same batch")
async def test_a_tight_loop_of_continue_as_new_starves_nobody(make_engine: MakeEngine) -> None:
    """The loop goes on all the while, in the same partitions, and the others end."""
    engine = await make_engine(app, partitions=1, batch=2, replay_check="never")
    await engine.orchestrator()
    await engine.worker()
    loop = await engine.client.start(loops, 0)
    handles = [await engine.client.start(small, number) for number in range(10)]
    assert [await handle.result(timeout=20) for handle in handles] == [number + 2 for number in range(10)]
    rounds = (await engine.record(loop.instance_id)).generation
    assert rounds > 0

    async def went_on() -> bool:
        return (await engine.record(loop.instance_id)).generation > rounds

    await until(went_on)
    await loop.raise_event("stop")
    assert await loop.result(timeout=20) > rounds


@pytest.mark.semantics("terminate in the same batch")
async def test_a_tight_loop_can_be_terminated(engine: Engine) -> None:
    loop = await engine.client.start(loops, 0)
    await loop.terminate(reason="enough")
    assert (await engine.status(loop.instance_id, Status.TERMINATED)).reason == "enough"


@pytest.mark.semantics("The outcome of a child that ends while its parent continues as new")
async def test_a_child_that_ends_while_its_parent_continues_as_new(engine: Engine) -> None:
    """Its outcome is for the old generation, and dropped; neither of them waits for ever."""
    for _ in range(5):
        parent = await engine.client.start(leaves_a_child, 0, instance_id="parent")
        await engine.status("child", Status.RUNNING)
        child = engine.client.get("child")
        await asyncio.gather(parent.raise_event("next", wait=False), child.raise_event("go", "x", wait=False))
        await parent.raise_event("end", "well")
        assert await parent.result(timeout=20) == "well"
        await engine.status("child", Status.COMPLETED)


class ByHand:
    """A worker by hand: it takes tasks, and answers them as often as the test likes."""

    def __init__(self, engine: Engine) -> None:
        self.broker = engine.place.broker("by-hand")
        self.deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self.subscription: Subscription | None = None
        self.queue = Names(engine.place.namespace).activities("default")

    async def task(self) -> Any:
        await self.broker.open()
        self.subscription = await self.broker.subscribe(
            self.queue, self.deliveries.put_nowait, prefetch=10, on_lost=lambda _: None
        )
        return await self.next_task()

    async def next_task(self) -> Any:
        delivery = await asyncio.wait_for(self.deliveries.get(), 20)
        assert self.subscription is not None
        self.subscription.ack(delivery.tag)
        (task,) = decode_tasks(delivery.body).tasks
        return task

    async def answer(self, task: Any) -> None:
        result = ActivityResult(
            instance=task.instance,
            run=task.run,
            generation=task.generation,
            command=task.command,
            attempt=task.attempt,
            name=task.name,
            result=task.input,
            seconds=0.0,
        )
        await self.broker.publish([Outgoing(queue=task.reply_to, body=encode(Results(results=[result])))])


@pytest.mark.semantics("Answers and timers of an older generation")
async def test_answers_that_come_twice_count_once_also_after_a_hand_over(make_engine: MakeEngine) -> None:
    """Duplicate completions: before and after another orchestrator took over."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    worker = ByHand(engine)
    handle = await engine.client.start(small, 5)
    task = await worker.task()
    await worker.answer(task)
    await worker.answer(task)
    second_task = await worker.next_task()
    await first.kill()
    await engine.orchestrator()
    for each in (task, second_task, task, second_task):
        await worker.answer(each)
    assert await handle.result(timeout=20) == 5
    history = await handle.history()
    assert [each.command for each in history if isinstance(each, ActivityCompleted)] == [0, 1]
    await worker.broker.close()


@pytest.mark.semantics("Terminate")
async def test_nothing_goes_on_after_a_terminate(make_engine: MakeEngine) -> None:
    """An answer that comes after it is dropped: no instance runs for ever after terminate."""
    engine = await make_engine(app, partitions=1)  # so that what comes later is dealt with later
    await engine.orchestrator()
    worker = ByHand(engine)
    handle = await engine.client.start(small, 5)
    task = await worker.task()
    await handle.terminate()
    await worker.answer(task)
    other = await engine.client.start(waits)  # a later turn of the same orchestrator
    await other.raise_event("go", "x")
    await other.result(timeout=20)
    record = await engine.record(handle.instance_id)
    assert (record.status, record.tasks_pending) == (Status.TERMINATED, 0)
    assert isinstance((await handle.history())[-1], ExecutionTerminated)
    await worker.broker.close()


@pytest.mark.semantics("What is kept", "The custom status")
async def test_tags_version_and_custom_status_outlive_a_generation(engine: Engine) -> None:
    handle = await engine.client.start(keeps, 0, instance_id="kept", tags={"customer": "7"})

    async def second() -> bool:
        return (await engine.record("kept")).generation == 1

    await until(second)
    status = await handle.status()
    assert (status.tags, status.custom_status) == ({"customer": "7", "stage": "second"}, "under way")
    await handle.raise_event("go")
    assert await handle.result(timeout=20) == ["kept", "1"]
