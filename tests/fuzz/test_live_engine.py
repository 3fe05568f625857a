"""A live engine under a rain of garbage, at every door at once. It goes on with its work, and afterwards nothing of it
is left: no message unacknowledged, no queue blocked, no memory kept, no instance disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tenuto import App, WorkflowContext, when_all
from tenuto.broker.memory import MemoryServer
from tenuto.broker.protocol import Broker, Outgoing
from tenuto.core.letters import Purge, Start, Suspend, Terminate, decode_letter
from tenuto.core.status import ReuseAction, Status
from tenuto.naming import Names, partition_of
from tenuto.store.protocol import InboxRow
from tests.fuzz.strategies import messages, soup
from tests.support.engine import Engine, Place, engine_at, until

PARTITIONS = 4
_ROUNDS = 6
_PER_ROUND = 40

app = App("rain")


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.workflow
async def busy(ctx: WorkflowContext, number: int) -> int:
    return sum(await when_all([ctx.call_activity(double, n) for n in range(number)]))


@app.workflow
async def calm(ctx: WorkflowContext, number: int) -> int:
    """Waits for an event that only the test knows."""
    await ctx.wait_for_external_event("the secret word")
    return await ctx.call_activity(double, number)


@pytest.fixture(params=["embedded", "servers"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> AsyncIterator[Engine]:
    if request.param == "embedded":
        url, broker, server = f"sqlite+aiosqlite:///{tmp_path / 'rain.db'}", "memory://", MemoryServer()
        place = Place(database_url=url, broker_url=broker, namespace=namespace, server=server)
    else:
        url, broker = request.getfixturevalue("postgres_url"), request.getfixturevalue("rabbitmq_url")
        place = Place(database_url=url, broker_url=broker, namespace=namespace)
    async with AsyncExitStack() as stack:
        yield await engine_at(place, app, stack, replay_check="never", lease=10.0)


def drawn(count: int, strategy: st.SearchStrategy[Any], number: int) -> list[Any]:
    """So many examples of a strategy, the same for the same seed."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def forged(number: int) -> list[InboxRow]:
    """Rows for the inbox: of all partitions, for all kinds of targets, with letters and what is none."""
    random = Random(number)
    rows = []
    for index, body in enumerate(drawn(60, st.one_of(soup, well_formed_letters()), number)):
        target = random.choice(["live", "nobody", "known", f"new {index}"])
        home = partition_of(target, PARTITIONS)
        partition = home if random.random() < 0.8 else random.randrange(PARTITIONS)
        rows.append(InboxRow(id=f"forged {number} {index}", partition=partition, target=target, body=body))
    return rows


def well_formed_letters() -> st.SearchStrategy[bytes]:
    """Letters that are right in form. None ends or purges what the test waits for: that would be no fault."""
    raw = st.sampled_from([msgspec.Raw(b"null"), msgspec.Raw(b"[1]"), msgspec.Raw(b'"text"')])
    small = st.integers(-2, 5)
    documents = st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("Start"), "workflow": st.sampled_from(["busy", "?"]), "input": raw}
            | {"run": st.text(max_size=5), "seed": st.text(max_size=5)}
        ),
        st.fixed_dictionaries({"type": st.just("Raise"), "name": st.text(max_size=5), "payload": raw}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["ChildEnded", "Answered"]), "generation": small, "command": small}
            | {"attempt": small, "result": raw}
        ),
        st.fixed_dictionaries({"type": st.just("Continue"), "generation": small}),
        st.fixed_dictionaries({"type": st.just("Repeat"), "reply": st.just({"queue": "nowhere"})}),
    )
    return documents.map(msgspec.json.encode)


@dataclass
class Rain:
    """Garbage for every queue of a deployment."""

    engine: Engine
    broker: Broker
    random: Random

    @property
    def names(self) -> Names:
        return Names(self.engine.place.namespace)

    def queues(self) -> list[str]:
        names = self.names
        return [names.start, names.activities("default"), *map(names.turns, range(PARTITIONS))]

    async def fall(self, number: int) -> None:
        bodies = drawn(_PER_ROUND, st.one_of(soup, messages), number)
        for queue in self.queues():
            await self.broker.publish(
                [Outgoing(queue=queue, body=body, **self._properties()) for body in bodies]
            )
        await self.engine.store.deliver([row for row in forged(number) if _harmless(row.body)])

    def _properties(self) -> dict[str, Any]:
        random = self.random
        return {
            "message_id": random.choice([None, "", "one", "x" * 200]),
            "reply_to": random.choice([None, "nowhere", "", self.names.start, self.names.turns(0)]),
            "correlation_id": random.choice([None, "c" * 200]),
            "timestamp": random.choice([None, 0.0, 4e9]),
            "headers": random.choice([{}, {"traceparent": "\0"}, {"x" * 100: "y" * 1000}]),
        }


def _harmless(body: bytes) -> bool:
    """Whether a letter is none that would rightly suspend, end or replace what the test waits for."""
    try:
        letter = decode_letter(body)
    except msgspec.DecodeError:
        return True
    match letter:
        case Terminate() | Purge() | Suspend():
            return False
        case Start(reuse=reuse):
            return reuse.action is not ReuseAction.TERMINATE
        case _:
            return True


async def drained(rain: Rain, unacknowledged: Callable[[], int]) -> None:
    """Wait until every queue is empty and everything delivered is acknowledged."""

    async def empty() -> bool:
        infos = [await rain.broker.inspect(queue) for queue in rain.queues()]
        assert None not in infos
        return not any(info.messages for info in infos if info is not None) and unacknowledged() == 0

    await until(empty, seconds=60)


def unacknowledged_of(engine: Engine) -> Callable[[], int]:
    """How many messages the in-process broker has delivered that are not acknowledged. RabbitMQ tells it otherwise."""
    server = engine.place.server
    if server is None:
        return lambda: 0
    return lambda: sum(
        len(consumer.unacked)
        for connection in server._connections.values()
        for consumer in connection.consumers
    )


async def test_an_engine_goes_on_under_a_rain_of_garbage(engine: Engine) -> None:
    orchestrator = await engine.orchestrator()
    worker = await engine.worker()
    broker = engine.place.broker("rain")
    await broker.open()
    rain = Rain(engine=engine, broker=broker, random=Random(7))
    live = await engine.client.start(calm, 21, instance_id="live")
    await engine.status("live", Status.RUNNING)
    for number in range(_ROUNDS):
        handle = await engine.client.start(busy, 5, instance_id=f"during {number}")
        await rain.fall(number)
        assert await handle.result(timeout=40) == 20
    await drained(rain, unacknowledged_of(engine))
    await live.raise_event("the secret word")
    assert await live.result(timeout=30) == 42
    await _nothing_is_kept(engine, orchestrator)
    # Both have lived through it: what stops now was running.
    for running in (orchestrator, worker):
        life = asyncio.create_task(running.service.wait())
        await asyncio.sleep(0)
        assert not life.done()
        await running.stop()
        await life
    infos = [await broker.inspect(queue) for queue in rain.queues()]
    assert [info.messages for info in infos if info is not None] == [0] * len(infos)
    await broker.close()


async def _nothing_is_kept(engine: Engine, orchestrator: Any) -> None:
    env = orchestrator.service._running.parts.ownership._env

    async def settled() -> bool:
        health = await engine.store.health()
        return health.inbox.count == 0 and health.outbox.count == 0 and len(env.intake) == 0

    await until(settled, seconds=30)
    assert sorted(env.owned) == list(range(PARTITIONS))
    assert len(env.durations._average) <= 10_000
    for partition in env.owned.values():
        assert partition.epoch == 1, "no partition was ever lost"
        assert not partition.unconfirmed
