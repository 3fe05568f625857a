"""Ends: of subscriptions, connections and queues."""
# ruff: noqa: S101 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import asyncio

import pytest

from tenuto.broker import (
    Broker,
    BrokerOptions,
    Delivery,
    Outgoing,
)
from tenuto.errors import QueueMissingError
from tenuto.testing.broker_contract.base import (
    PATIENCE,
    BrokerFactory,
    Consumer,
    Fixtures,
    bodies,
    numbered,
)

__all__ = ["EndingContract"]


class EndingContract(Fixtures):
    """How subscriptions end."""

    async def test_what_was_not_acknowledged_comes_again_in_order(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 4))
        first = await Consumer.start(broker, queue)
        await first.take(4)
        first.subscription.ack(2)
        await first.subscription.close()
        await broker.publish([Outgoing(queue=queue, body=b"4"), Outgoing(queue=queue, body=b"5")])
        second = await Consumer.start(broker, queue)
        again = await second.take(5)
        assert bodies(again) == [b"0", b"2", b"3", b"4", b"5"]
        assert [delivery.redelivered for delivery in again] == [True, True, True, False, False]
        assert first.losses == []

    async def test_closing_the_broker_returns_everything(
        self, make: BrokerFactory, other: Broker, queue: str
    ) -> None:
        broker = make(BrokerOptions())
        await broker.open()
        await other.publish(numbered(queue, 3))
        first = await Consumer.start(broker, queue)
        await first.take(3)
        await broker.close()
        second = await Consumer.start(other, queue)
        assert bodies(await second.take(3)) == [b"0", b"1", b"2"]
        assert first.losses == []

    async def test_closing_tolerates_repeats(self, broker: Broker, queue: str) -> None:
        consumer = await Consumer.start(broker, queue)
        await consumer.subscription.close()
        await consumer.subscription.close()
        consumer.subscription.ack(1)
        consumer.subscription.nack(1, requeue=True)
        await consumer.subscription.cancel()
        assert consumer.losses == []

    async def test_after_cancel_what_was_delivered_can_be_acknowledged(
        self, broker: Broker, queue: str
    ) -> None:
        await broker.publish(numbered(queue, 3))
        first = await Consumer.start(broker, queue, prefetch=2)
        await first.take(2)
        await first.subscription.cancel()
        await first.subscription.cancel()
        first.subscription.ack(1)
        await first.subscription.close()
        second = await Consumer.start(broker, queue)
        assert bodies(await second.take(2)) == [b"1", b"2"]
        assert first.deliveries.empty()
        assert first.losses == []

    async def test_a_missing_queue_cannot_be_consumed(self, broker: Broker, queue: str, prefix: str) -> None:
        with pytest.raises(QueueMissingError, match=f"{prefix}.nowhere"):
            await Consumer.start(broker, f"{prefix}.nowhere")
        await broker.publish(numbered(queue, 1))
        consumer = await Consumer.start(broker, queue)
        await consumer.take()

    async def test_deleting_the_queue_loses_the_subscription_once(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 2))
        consumer = await Consumer.start(broker, queue)
        await consumer.take(2)
        await broker.delete(queue)
        await consumer.lost()
        consumer.subscription.ack(1)
        consumer.subscription.nack(2, requeue=True)
        await consumer.subscription.close()
        assert await broker.inspect(queue) is None
        assert len(consumer.losses) == 1

    async def test_acknowledging_twice_loses_the_subscription_once(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 2))
        consumer = await Consumer.start(broker, queue)
        await consumer.take(2)
        consumer.subscription.ack(1)
        consumer.subscription.ack(1)
        await consumer.lost()
        again = await Consumer.start(broker, queue)
        assert bodies(await again.take()) == [b"1"]
        assert len(consumer.losses) == 1

    async def test_a_failing_callback_loses_the_subscription_once(self, broker: Broker, queue: str) -> None:
        lost: asyncio.Queue[str] = asyncio.Queue()

        def fail(delivery: Delivery) -> None:
            raise RuntimeError(delivery.body)

        await broker.publish(numbered(queue, 2))
        await broker.subscribe(queue, fail, prefetch=10, on_lost=lost.put_nowait)
        async with asyncio.timeout(PATIENCE):
            assert "on_delivery" in await lost.get()
        again = await Consumer.start(broker, queue)
        assert bodies(await again.take(2)) == [b"0", b"1"]
        assert lost.empty()
