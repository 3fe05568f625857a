"""Rule O4: one channel per owned partition, closed on letting go; a frozen process keeps its messages for the heartbeat."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from tenuto.broker import Broker, Delivery, Outcome, Outgoing, QueueInfo, make_broker
from tenuto.messages import Bell, encode
from tenuto.naming import Names
from tests.acceptance.faults.campaign import Surroundings
from tests.acceptance.faults.conftest import MakeCluster
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(240)

PARTITIONS = 4
BELLS = 50


async def consumers(around: Surroundings) -> list[tuple[str, str]]:
    """(turn queue, channel) of each consumer of a turn queue."""
    listed = await around.rabbitmq.control(
        "list_consumers", "queue_name", "channel_pid", "--no-table-headers"
    )
    pairs = [(line.split()[0], line.split()[1]) for line in listed.splitlines()]
    prefix = Names(around.namespace).turns(0).removesuffix("0")
    return [(queue, channel) for queue, channel in pairs if queue.startswith(prefix)]


async def idle_channels(around: Surroundings) -> list[str]:
    """Channels on which somebody has consumed, and does no more; they may still hold messages."""
    listed = await around.rabbitmq.control(
        "list_channels", "name", "prefetch_count", "consumer_count", "--formatter", "json"
    )
    return [
        channel["name"]
        for channel in msgspec.json.decode(listed)
        if channel["prefetch_count"] and not channel["consumer_count"]
    ]


# Channels --------------------------------------------------------------------------------------------------------


async def check_channels(around: Surroundings, make_cluster: MakeCluster, *mutations: str) -> None:
    """Partitions move to a second orchestrator: then each queue has one consumer, on a channel of its own."""
    cluster = make_cluster(settings={"TENUTO_PARTITIONS": str(PARTITIONS)})
    await cluster.upgrade()
    await cluster.mutant(*mutations)
    await cluster.until_shared(1)
    await cluster.orchestrator()
    await cluster.until_shared(2)

    names = Names(around.namespace)
    expected = Counter(names.turns(number) for number in range(PARTITIONS))

    async def subscribed() -> bool:
        return not expected - Counter(queue for queue, _ in await consumers(around))

    await until(subscribed, "every turn queue is consumed")
    found = await consumers(around)
    assert Counter(queue for queue, _ in found) == expected
    assert max(Counter(channel for _, channel in found).values()) == 1
    assert await idle_channels(around) == []


async def test_each_partition_has_a_channel_that_ends_with_its_ownership(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await check_channels(around, make_mutable_cluster)


async def test_a_channel_that_outlives_its_ownership_is_noticed(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    with pytest.raises(AssertionError):
        await check_channels(around, make_mutable_cluster, "keeps-channels")


# The heartbeat ---------------------------------------------------------------------------------------------------


async def check_heartbeat(
    around: Surroundings, make_cluster: MakeCluster, *mutations: str, patience: float
) -> None:
    """Messages that a frozen orchestrator has been handed are ready again soon, without its help.

    Raises:
        TimeoutError: they are not, after `patience` seconds.
    """
    cluster = make_cluster(
        broker_url=f"{around.rabbitmq.url}?heartbeat=2", settings={"TENUTO_PARTITIONS": "1"}
    )
    await cluster.upgrade()
    frozen = await cluster.mutant(*mutations)
    await cluster.until_shared(1)
    frozen.pause()
    queue = Names(around.namespace).turns(0)
    broker = make_broker(around.rabbitmq.url)
    await broker.open()
    try:
        bells = [Outgoing(queue=queue, body=encode(Bell())) for _ in range(BELLS)]
        assert set(await broker.publish(bells)) == {Outcome.CONFIRMED}
        await until(lambda: _is_alone(broker, queue), "the frozen process is given up", timeout=patience)
        assert all(delivery.redelivered for delivery in await _take(broker, queue, BELLS))
    finally:
        await broker.close()


async def _is_alone(broker: Broker, queue: str) -> bool:
    """Whether nobody consumes it any more, and all messages are there again."""
    return await broker.inspect(queue) == QueueInfo(messages=BELLS, consumers=0)


async def _take(broker: Broker, queue: str, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    complete = asyncio.Event()

    def take(delivery: Delivery) -> None:
        taken.append(delivery)
        if len(taken) == count:
            complete.set()

    subscription = await broker.subscribe(queue, take, prefetch=count, on_lost=lambda _: None)
    async with asyncio.timeout(30):
        await complete.wait()
    await subscription.close()
    return taken


async def test_the_broker_takes_back_what_a_frozen_process_holds(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await check_heartbeat(around, make_mutable_cluster, patience=60.0)


async def test_without_a_heartbeat_it_holds_them_on(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    with pytest.raises(TimeoutError):
        await check_heartbeat(around, make_mutable_cluster, "no-heartbeat", patience=15.0)


async def test_heartbeats_are_asked_for_by_default(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    cluster = make_mutable_cluster()
    await cluster.upgrade()
    await cluster.orchestrator()
    listed = await around.rabbitmq.control("list_connections", "timeout", "--no-table-headers")
    heartbeats = {int(line) for line in listed.split()}
    assert heartbeats <= set(range(1, 11))
    assert heartbeats
