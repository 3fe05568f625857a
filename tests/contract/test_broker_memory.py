"""The in-process broker: against the suite, and what tests can do to its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenuto.broker import Broker, BrokerOptions, Outcome, QueueSpec
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.errors import BrokerUnavailableError, QueueMissingError
from tenuto.testing.broker_contract import BrokerContract, BrokerFactory, Consumer, bodies, numbered

AT_ONCE = BrokerOptions(connect_timeout=0.0, publish_timeout=0.0, operation_timeout=0.0)


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    def make(self) -> BrokerFactory:
        server = MemoryServer()
        return lambda options: MemoryBroker(server, options=options)


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
async def broker(server: MemoryServer) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(server)
    await broker.open()
    await broker.declare([QueueSpec(name="work")])
    yield broker
    await broker.close()


async def test_a_wipe_takes_queues_and_cancels_consumers_once(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    await broker.publish(numbered("work", 2))
    consumer = await Consumer.start(broker, "work")
    await consumer.take(2)
    server.wipe()
    await consumer.lost()
    consumer.subscription.ack(1)
    assert await broker.inspect("work") is None
    assert list(await broker.publish(numbered("work", 1))) == [Outcome.RETURNED]
    with pytest.raises(QueueMissingError):
        await Consumer.start(broker, "work")
    assert len(consumer.losses) == 1


async def test_a_dropped_connection_loses_its_subscriptions_and_comes_back(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    other = MemoryBroker(server)
    await other.open()
    await broker.declare([QueueSpec(name="mine", exclusive=True)])
    await broker.publish(numbered("work", 3))
    first, second = await Consumer.start(broker, "work"), await Consumer.start(broker, "mine")
    await first.take(3)
    first.subscription.ack(2)
    server.drop_connection(broker)
    await first.lost()
    await second.lost()
    third = await Consumer.start(other, "work")
    again = await third.take(2)
    assert bodies(again) == [b"0", b"2"]
    assert all(delivery.redelivered for delivery in again)
    assert await other.inspect("mine") is None
    assert list(await broker.publish(numbered("work", 1))) == [Outcome.CONFIRMED]
    assert len(first.losses) == len(second.losses) == 1
    await other.close()


async def test_what_is_given_back_goes_to_its_old_place(broker: MemoryBroker) -> None:
    await broker.publish(numbered("work", 5))
    first = await Consumer.start(broker, "work", prefetch=5)
    await first.take(5)
    await first.subscription.cancel()
    for tag in (4, 2, 5):
        first.subscription.nack(tag, requeue=True)
    await first.subscription.close()
    second = await Consumer.start(broker, "work")
    assert bodies(await second.take(5)) == [b"0", b"1", b"2", b"3", b"4"]


async def test_consumers_take_turns(broker: MemoryBroker) -> None:
    first, second = await Consumer.start(broker, "work"), await Consumer.start(broker, "work")
    await broker.publish(numbered("work", 6))
    assert bodies(await first.take(3)) == [b"0", b"2", b"4"]
    assert bodies(await second.take(3)) == [b"1", b"3", b"5"]


async def test_more_than_a_batch_is_delivered(broker: MemoryBroker) -> None:
    await broker.publish(numbered("work", 2000))
    consumer = await Consumer.start(broker, "work", prefetch=2000)
    assert bodies(await consumer.take(2000)) == [b"%d" % number for number in range(2000)]


async def test_publishing_waits_while_the_server_is_away(server: MemoryServer, broker: MemoryBroker) -> None:
    server.stop()
    publishing = asyncio.ensure_future(broker.publish(numbered("work", 1)))
    await asyncio.sleep(0)
    assert not publishing.done()
    server.start()
    assert list(await publishing) == [Outcome.CONFIRMED]


async def test_a_server_that_stays_away(server: MemoryServer) -> None:
    broker = MemoryBroker(server, options=AT_ONCE)
    await broker.open()
    consumer_queue = QueueSpec(name="work")
    await broker.declare([consumer_queue])
    consumer = await Consumer.start(broker, "work")
    server.stop()
    await consumer.lost()
    assert list(await broker.publish(numbered("work", 2))) == [Outcome.UNKNOWN] * 2
    with pytest.raises(BrokerUnavailableError):
        await broker.inspect("work")
    with pytest.raises(BrokerUnavailableError):
        await MemoryBroker(server, options=AT_ONCE).open()


async def test_blocked_publishers_go_on(server: MemoryServer, broker: MemoryBroker) -> None:
    server.block_publishers()
    assert broker.blocked
    publishing = asyncio.ensure_future(broker.publish(numbered("work", 2)))
    consumer = await Consumer.start(broker, "work")
    await asyncio.sleep(0)
    assert not publishing.done()
    assert consumer.deliveries.empty()
    server.unblock_publishers()
    assert list(await publishing) == [Outcome.CONFIRMED] * 2
    assert not broker.blocked
    await consumer.take(2)


async def test_a_connection_lost_while_publishers_are_blocked(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.block_publishers()
    publishing = asyncio.ensure_future(broker.publish(numbered("work", 2)))
    await asyncio.sleep(0)
    server.drop_connection(broker)
    server.unblock_publishers()
    assert list(await publishing) == [Outcome.UNKNOWN] * 2


async def test_dropping_a_connection_that_is_not_there(server: MemoryServer) -> None:
    broker: Broker = MemoryBroker(server)
    assert isinstance(broker, MemoryBroker)
    server.drop_connection(broker)
    with pytest.raises(BrokerUnavailableError, match="open"):
        await broker.inspect("work")
