"""Consuming: prefetch, acknowledgement, redelivery, dead letters."""
# ruff: noqa: S101, PLR2004 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import asyncio

import pytest

from tenuto.broker import (
    Broker,
    Delivery,
    Outgoing,
    QueueInfo,
    QueueSpec,
    Subscription,
)
from tenuto.testing.broker_contract.base import (
    PATIENCE,
    Consumer,
    Fixtures,
    bodies,
    numbered,
    until_inspected,
)

__all__ = ["ConsumingContract"]


class ConsumingContract(Fixtures):
    """Deliveries and acknowledgements."""

    async def test_tags_rise_by_one(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 5))
        consumer = await Consumer.start(broker, queue)
        assert [delivery.tag for delivery in await consumer.take(5)] == [1, 2, 3, 4, 5]

    async def test_prefetch_bounds_what_is_unacknowledged(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 10))
        consumer = await Consumer.start(broker, queue, prefetch=3)
        assert bodies(await consumer.take(3)) == [b"0", b"1", b"2"]
        assert await broker.inspect(queue) == QueueInfo(messages=7, consumers=1)
        consumer.subscription.ack(2)
        assert bodies(await consumer.take(1)) == [b"3"]
        consumer.subscription.ack(4, multiple=True)
        assert bodies(await consumer.take(3)) == [b"4", b"5", b"6"]
        assert await broker.inspect(queue) == QueueInfo(messages=3, consumers=1)
        assert consumer.deliveries.empty()

    @pytest.mark.parametrize("prefetch", [0, -1, 65_536])
    async def test_a_prefetch_that_bounds_nothing(self, broker: Broker, queue: str, prefetch: int) -> None:
        with pytest.raises(ValueError, match="prefetch"):
            await Consumer.start(broker, queue, prefetch=prefetch)

    async def test_acknowledged_messages_are_gone(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 4))
        first = await Consumer.start(broker, queue)
        await first.take(4)
        first.subscription.ack(1)
        first.subscription.ack(3)
        await first.subscription.close()
        second = await Consumer.start(broker, queue)
        assert bodies(await second.take(2)) == [b"1", b"3"]

    async def test_multiple_acknowledges_all_lower_tags(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 5))
        first = await Consumer.start(broker, queue)
        await first.take(5)
        first.subscription.ack(2)
        first.subscription.ack(4, multiple=True)
        await first.subscription.close()
        second = await Consumer.start(broker, queue)
        assert bodies(await second.take(1)) == [b"4"]
        info = await broker.inspect(queue)
        assert info is not None
        assert info.messages == 0

    async def test_acknowledging_within_the_callback(self, broker: Broker, queue: str) -> None:
        done = asyncio.Event()
        got: list[bytes] = []
        subscription: Subscription | None = None

        def take(delivery: Delivery) -> None:
            assert subscription is not None, "delivered before subscribe had returned"
            got.append(delivery.body)
            subscription.ack(delivery.tag)
            if len(got) == 20:
                done.set()

        await broker.publish(numbered(queue, 20))
        subscription = await broker.subscribe(queue, take, prefetch=2, on_lost=got.clear)  # type: ignore[arg-type] # never called
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        assert got == [b"%d" % number for number in range(20)]

    async def test_a_requeued_message_is_redelivered(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 1))
        consumer = await Consumer.start(broker, queue, prefetch=1)
        await consumer.take()
        consumer.subscription.nack(1, requeue=True)
        (again,) = await consumer.take()
        assert (again.tag, again.body, again.redelivered) == (2, b"0", True)

    async def test_a_rejected_message_goes_to_the_dead_letter_queue(
        self, broker: Broker, prefix: str
    ) -> None:
        work, dead = f"{prefix}.work", f"{prefix}.dead"
        await broker.declare(
            [
                QueueSpec(name=dead, type=self.queue_type),
                QueueSpec(name=work, type=self.queue_type, dead_letter=dead),
            ]
        )
        await broker.publish(
            [Outgoing(queue=work, body=b"bad", message_id="id-1"), Outgoing(queue=work, body=b"good")]
        )
        consumer = await Consumer.start(broker, work)
        await consumer.take(2)
        consumer.subscription.nack(1, requeue=False)
        undertaker = await Consumer.start(broker, dead)
        (delivery,) = await undertaker.take()
        assert (delivery.body, delivery.message_id) == (b"bad", "id-1")
        assert delivery.headers["x-first-death-queue"] == work
        assert delivery.headers["x-first-death-reason"] == "rejected"

    async def test_a_rejected_message_without_dead_letter_queue_is_dropped(
        self, broker: Broker, queue: str
    ) -> None:
        await broker.publish(numbered(queue, 2))
        first = await Consumer.start(broker, queue)
        await first.take(2)
        first.subscription.nack(1, requeue=False)
        await first.subscription.close()
        second = await Consumer.start(broker, queue)
        assert bodies(await second.take()) == [b"1"]

    async def test_two_subscriptions_share_a_queue(self, broker: Broker, other: Broker, queue: str) -> None:
        first = await Consumer.start(broker, queue, prefetch=1)
        second = await Consumer.start(other, queue, prefetch=1)
        await broker.publish(numbered(queue, 2))
        shared = bodies(await first.take() + await second.take())
        assert sorted(shared) == [b"0", b"1"]

    async def test_each_subscription_counts_its_own_tags(self, broker: Broker, queue: str) -> None:
        first = await Consumer.start(broker, queue, prefetch=1)
        second = await Consumer.start(broker, queue, prefetch=1)
        await broker.publish(numbered(queue, 2))
        assert [delivery.tag for delivery in await first.take() + await second.take()] == [1, 1]
        first.subscription.ack(1)
        second.subscription.ack(1)
        await first.subscription.close()
        await second.subscription.close()
        assert first.losses == second.losses == []
        await until_inspected(broker, queue, QueueInfo(messages=0, consumers=0))
