"""Rule B3: what the broker does with the engine's queues, by the arguments with which they were declared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tenuto.broker import Broker, Delivery, Outcome, Outgoing, Subscription, make_broker
from tenuto.naming import Names
from tests.acceptance.faults.campaign import Surroundings
from tests.acceptance.faults.conftest import MakeCluster
from tests.acceptance.faults.mutated import DELIVERIES
from tests.support.sample_app import EVEN_POOL
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)


async def declare(make_cluster: MakeCluster, *mutations: str) -> None:
    """Have an orchestrator declare the queues, and leave."""
    cluster = make_cluster()
    await cluster.upgrade()
    await cluster.mutant(*mutations)
    await cluster.stop()


@asynccontextmanager
async def connected(around: Surroundings) -> AsyncIterator[Broker]:
    broker = make_broker(around.rabbitmq.url)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


class GivesBack:
    """A consumer that gives every delivery back until it has had `times`, and then rejects it."""

    def __init__(self, times: int) -> None:
        self._left = times
        self.subscription: Subscription | None = None
        self.over = asyncio.Event()

    def take(self, delivery: Delivery) -> None:
        assert self.subscription is not None
        self._left -= 1
        self.subscription.nack(delivery.tag, requeue=self._left > 0)
        if self._left == 0:
            self.over.set()

    async def begin(self, broker: Broker, queue: str) -> None:
        self.subscription = await broker.subscribe(queue, self.take, prefetch=1, on_lost=lambda _: None)


# Arguments -------------------------------------------------------------------------------------------------------


async def check_arguments(around: Surroundings) -> None:
    """Every engine queue is a quorum queue with a large limit and a dead-letter queue that is there."""
    names = Names(around.namespace)
    listed = await around.rabbitmq.control("list_queues", "--formatter", "json", "name", "type", "arguments")
    queues = {row["name"]: row for row in msgspec.json.decode(listed)}
    last_resorts = {names.dead, names.start_dead}
    engine = {name for name in queues if name.startswith(f"{names.namespace}.")}
    marker = names.marker("")
    work = {name for name in engine - last_resorts if not name.startswith(marker)}
    assert {names.turns(0), names.activities(EVEN_POOL), names.start} <= work
    assert {str(queues[name]["type"]).rpartition(".")[2] for name in engine} <= {
        "quorum",
        "rabbit_quorum_queue",
    }
    for name in work:
        arguments = {key: value for key, _, value in queues[name]["arguments"]}
        assert arguments.get("x-delivery-limit", 0) >= 100 * DELIVERIES, name
        assert arguments.get("x-dead-letter-exchange") == "", name
        assert arguments.get("x-dead-letter-routing-key") in last_resorts & queues.keys(), name


async def test_the_broker_has_the_queues_as_the_protocol_wants_them(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await declare(make_mutable_cluster)
    await check_arguments(around)


@pytest.mark.parametrize("mutation", ["no-delivery-limit", "delivers-like-4.x", "no-dead-letters"])
async def test_other_arguments_are_noticed(
    mutation: str, around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await declare(make_mutable_cluster, mutation)
    with pytest.raises(AssertionError):
        await check_arguments(around)


# What comes of them ------------------------------------------------------------------------------------------------


async def check_survival(around: Surroundings) -> None:
    """A message survives more returns than 4.x would allow; rejected, it goes to the dead-letter queue.

    Raises:
        TimeoutError: it is gone.
    """
    names = Names(around.namespace)
    queue = names.activities(EVEN_POOL)
    consumer = GivesBack(times=2 * DELIVERIES)
    async with connected(around) as broker:
        assert await broker.publish([Outgoing(queue=queue, body=b"{}")]) == [Outcome.CONFIRMED]
        await consumer.begin(broker, queue)
        async with asyncio.timeout(15):
            await consumer.over.wait()

        async def kept() -> bool:
            found = await broker.inspect(names.dead)
            return found is not None and found.messages == 1

        await until(kept, "it is on the dead-letter queue", timeout=15)


async def test_a_message_outlives_the_crashes_of_others_and_is_kept_at_last(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await declare(make_mutable_cluster)
    await check_survival(around)


@pytest.mark.parametrize("mutation", ["delivers-like-4.x", "no-dead-letters"])
async def test_a_message_that_is_dropped_is_noticed(
    mutation: str, around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await declare(make_mutable_cluster, mutation)
    with pytest.raises(TimeoutError):
        await check_survival(around)
