"""RabbitMQ's consumer timeout: it takes away what a consumer does not acknowledge in time, and closes its channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Broker, Delivery, Outgoing, QueueSpec
from tests.support.engine import Engine, Place, engine_at, until
from tests.support.servers import PrivateRabbitMQ

app = App("consumer timeout")
begun: list[str] = []
gates: list[asyncio.Event] = []


@app.activity
async def lasts(name: str) -> str:
    begun.append(name)
    await gates[0].wait()
    return name


@app.workflow
async def patient(ctx: WorkflowContext, name: str) -> str:
    return await ctx.call_activity(lasts, name)


@pytest.fixture
def impatient(private_rabbitmq: PrivateRabbitMQ) -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ that waits for acknowledgements for two seconds. Channels read the settings when they are opened."""
    set_env = "application:set_env(rabbit, {}, {})."
    control = private_rabbitmq.server.control
    control("eval", set_env.format("consumer_timeout", 2000))
    control("eval", set_env.format("channel_tick_interval", 300))
    yield private_rabbitmq
    control("eval", set_env.format("consumer_timeout", 1_800_000))
    control("eval", set_env.format("channel_tick_interval", 60_000))


@pytest.fixture
async def engine(impatient: PrivateRabbitMQ, tmp_path: Path, namespace: str) -> AsyncIterator[Engine]:
    begun.clear()
    gates[:] = [asyncio.Event()]
    place = Place(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'engine.db'}",
        broker_url=impatient.url,
        namespace=namespace,
    )
    async with AsyncExitStack() as stack:
        yield await engine_at(place, app, stack)


async def _timeout_passes(broker: Broker) -> None:
    """Return when the broker has lost its patience with a message that was delivered just now."""
    await broker.open()
    await broker.declare([QueueSpec(name="impatient.ignored", type="quorum")])
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    delivered: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
    await broker.publish([Outgoing(queue="impatient.ignored", body=b"never acknowledged")])
    await broker.subscribe("impatient.ignored", delivered.set_result, prefetch=1, on_lost=lost.set_result)
    await delivered
    assert "timeout" in (await lost).lower()
    await broker.delete("impatient.ignored")
    await broker.close()


@pytest.mark.semantics("Long activities")
@pytest.mark.parametrize(("hold_after", "times"), [(0.3, 1), (3600.0, 2)], ids=["held", "not held"])
async def test_a_long_activity_runs_once_though_the_brokers_consumer_timeout_passes(
    engine: Engine, hold_after: float, times: int
) -> None:
    """Rule W2; without it, the broker would deliver the task again."""
    await engine.orchestrator()
    await engine.worker(beat_interval=0.2, hold_after=hold_after)
    handle = await engine.client.start(patient, "it")

    async def running() -> bool:
        return bool(begun)

    await until(running)
    await _timeout_passes(engine.place.broker("impatient"))
    if times > 1:

        async def again() -> bool:
            return len(begun) == times

        await until(again)
    gates[0].set()
    assert await handle.result(timeout=20) == "it"
    assert begun == ["it"] * times
