"""Letters, starts and replies where several meet: nobody is forgotten, and nothing reaches the wrong run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tenuto import AlreadyExistsError, App, ChildWorkflowError, WorkflowContext
from tenuto.broker.protocol import Delivery, Outgoing, QueueSpec
from tenuto.core.events import EventRaised
from tenuto.core.status import Status
from tenuto.errors import BrokerUnavailableError, UsageError
from tenuto.messages import Watch, encode
from tenuto.naming import Names, partition_of
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("letters")


@app.activity
async def add(number: int) -> int:
    return number + 1


@app.workflow
async def waits(ctx: WorkflowContext, _: None) -> Any:
    return await ctx.wait_for_external_event("go")


@app.workflow
async def collects(ctx: WorkflowContext, count: int) -> list[Any]:
    return [await ctx.wait_for_external_event("go") for _ in range(count)]


@app.workflow
async def adds(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(add, number)


@app.workflow
async def adopts(ctx: WorkflowContext, child: str) -> str:
    try:
        return str(await ctx.call_child_workflow(adds, 1, instance_id=child))
    except ChildWorkflowError as error:
        return str(error.failure.type if error.failure else "")


@app.workflow
async def names_a_pool(ctx: WorkflowContext, pool: str) -> int:
    return await ctx.call_activity(add, 1, pool=pool)


@pytest.mark.semantics("An id that is taken")
async def test_two_starts_of_one_id_at_the_same_time(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    starts = [engine.client.start(waits, None, instance_id="one") for _ in range(2)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert sum(isinstance(outcome, AlreadyExistsError) for outcome in outcomes) == 1


async def test_two_parents_of_one_child_id_both_hear_of_it(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    parents = await asyncio.gather(*(engine.client.start(adopts, "child") for _ in range(2)))
    outcomes = [await parent.result(timeout=20) for parent in parents]
    assert set(outcomes) <= {"2", "AlreadyExistsError"}  # a child that has ended is replaced
    assert "2" in outcomes


async def test_what_was_held_for_an_instance_goes_with_it(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator(App("empty"))
    await _publish(engine, {"workflow": "waits", "instance_id": "i"})
    await engine.status("i", Status.STALLED)
    old = engine.client.get("i")
    request = asyncio.create_task(old.raise_event("go", "for the old run", timeout=1.0))
    await asyncio.wait([request])
    await old.terminate()
    await old.purge()
    number = partition_of("i", 4)
    assert not (await engine.store.recovery(number, inbox=10, timers=10)).inbox
    await first.stop()
    await engine.orchestrator()
    new = await engine.client.start(waits, None, instance_id="i")
    await new.raise_event("go", "for the new run")
    assert await new.result(timeout=20) == "for the new run"


async def _publish(engine: Engine, message: dict[str, Any], **properties: Any) -> None:
    broker = engine.place.broker("outsider")
    await broker.open()
    body = json.dumps(message).encode()
    await broker.publish([Outgoing(queue=Names(engine.place.namespace).start, body=body, **properties)])
    await broker.close()


async def test_everybody_who_asked_is_told_how_a_live_instance_ends(make_engine: MakeEngine) -> None:
    """A duplicate with another reply_to, and a start that is ignored, also across a takeover (rule I3)."""
    engine = await make_engine(app)
    first = await engine.orchestrator()
    broker = engine.place.broker("outsider")
    await broker.open()
    replies: list[Delivery] = []
    queues = [f"{engine.place.namespace}-reply-{number}" for number in range(3)]
    for queue in queues:
        await broker.declare([QueueSpec(name=queue, type="classic")])
        await broker.subscribe(queue, replies.append, prefetch=10, on_lost=lambda _reason: None)
    start = {"workflow": "waits", "instance_id": "live"}
    await _publish(engine, start, message_id="m", reply_to=queues[0])
    await engine.status("live", Status.RUNNING)
    await _publish(engine, start, message_id="m", reply_to=queues[1])
    ignoring = start | {"reuse": {"action": "IGNORE", "statuses": ["RUNNING"]}}
    await _publish(engine, ignoring, reply_to=queues[2])
    number = (await engine.record("live")).partition

    async def both_are_kept() -> bool:
        inbox = (await engine.store.recovery(number, inbox=10, timers=10)).inbox
        return [row.held for row in inbox] == [True, True]

    await until(both_are_kept)
    await first.stop()
    await engine.orchestrator()
    await engine.client.get("live").raise_event("go", "done")

    async def all_told() -> bool:
        return len(replies) == 3

    await until(all_told)
    assert [json.loads(reply.body)["output"] for reply in replies] == ["done"] * 3
    assert not (await engine.store.recovery(number, inbox=10, timers=10)).inbox
    await broker.close()


async def test_an_id_that_no_database_takes_does_not_disturb_its_partition(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    with pytest.raises(UsageError):
        engine.client.get("a\0b")
    number = partition_of("a\0b", 4)
    broker = engine.place.broker("vandal")
    await broker.open()
    body = encode(Watch(instance="a\0b", queue="q"))
    await broker.publish([Outgoing(queue=Names(engine.place.namespace).turns(number), body=body)])
    good = next(name for name in map(str, range(1000)) if partition_of(name, 4) == number)
    handle = await engine.client.start(adds, 1, instance_id=good)
    assert await handle.result(timeout=20) == 2
    await broker.close()


@pytest.mark.semantics("A pool")
async def test_a_lost_task_of_a_pool_that_only_a_call_names_is_found(make_engine: MakeEngine) -> None:
    """Rule B2, by an owner that has never sent anything to that pool."""
    engine = await make_engine(app, resend_after=0.5, beat_life=0.5)
    first = await engine.orchestrator()
    handle = await engine.client.start(names_a_pool, "special")
    broker = engine.place.broker("vandal")
    await broker.open()
    queue = Names(engine.place.namespace).activities("special")

    async def purged() -> bool:
        info = await broker.inspect(queue)
        if info is None or info.messages == 0:
            return False
        await broker.purge(queue)
        return True

    await until(purged)
    await first.stop()
    await engine.orchestrator()
    await engine.worker("special")
    assert await handle.result(timeout=20) == 2
    await broker.close()


async def test_a_start_queue_that_is_there_is_used_as_found(make_engine: MakeEngine) -> None:
    """Rule B3."""
    engine = await make_engine(app)
    broker = engine.place.broker("early bird")
    await broker.open()
    await broker.declare([QueueSpec(name=Names(engine.place.namespace).start, type="classic")])
    await broker.close()
    await engine.orchestrator()
    await _publish(engine, {"workflow": "waits", "instance_id": "i"})
    await engine.status("i", Status.RUNNING)


async def test_a_recovery_that_fails_half_way_leaves_nothing_in_memory(make_engine: MakeEngine) -> None:
    """A turn taken in memory, and never committed, must not be built upon under the next epoch (rule O2)."""
    engine = await make_engine(app, partitions=1)
    orchestrator = await engine.orchestrator()
    handle = await engine.client.start(collects, 2)
    recoverer: Any = orchestrator.service._running.parts.ownership._recoverer  # type: ignore[union-attr]
    subscribe, failures = recoverer._subscribe, 0

    async def fails_once(partition: Any) -> Any:
        nonlocal failures
        if failures:
            return await subscribe(partition)
        failures += 1
        await asyncio.sleep(0.3)  # the pipeline takes what was read from the inbox
        raise BrokerUnavailableError("the broker is away")

    recoverer._subscribe = fails_once
    owned = orchestrator.service._running.parts.ownership._env.owned  # type: ignore[union-attr]
    event = asyncio.create_task(handle.raise_event("go", 1))
    owned[0].give_up("test")
    await event
    await handle.raise_event("go", 2)
    assert await handle.result(timeout=20) == [1, 2]
    raised = [one for one in await handle.history() if isinstance(one, EventRaised)]
    assert [bytes(one.payload) for one in raised] == [b"1", b"2"]
    assert failures == 1
