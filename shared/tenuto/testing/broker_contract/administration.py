"""Queues: declared, inspected, purged, deleted."""
# ruff: noqa: S101 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import pytest

from tenuto.broker import (
    Broker,
    BrokerOptions,
    Outcome,
    QueueInfo,
    QueueSpec,
)
from tenuto.errors import BrokerError, BrokerUnavailableError
from tenuto.testing.broker_contract.base import (
    BrokerFactory,
    Consumer,
    Fixtures,
    bodies,
    numbered,
    until_inspected,
)

__all__ = ["AdministrationContract"]


class AdministrationContract(Fixtures):
    """Queues, and the broker's own life."""

    async def test_inspecting(self, broker: Broker, queue: str, prefix: str) -> None:
        assert await broker.inspect(f"{prefix}.nowhere") is None
        assert await broker.inspect(queue) == QueueInfo(messages=0, consumers=0)
        await broker.publish(numbered(queue, 3))
        assert await broker.inspect(queue) == QueueInfo(messages=3, consumers=0)

    async def test_purging_drops_what_is_ready(self, broker: Broker, queue: str, prefix: str) -> None:
        await broker.publish(numbered(queue, 3))
        await broker.purge(queue)
        assert await broker.inspect(queue) == QueueInfo(messages=0, consumers=0)
        await broker.purge(f"{prefix}.nowhere")

    async def test_deleting(self, broker: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 3))
        await broker.delete(queue)
        assert await broker.inspect(queue) is None
        await broker.delete(queue)
        assert list(await broker.publish(numbered(queue, 1))) == [Outcome.RETURNED]

    async def test_declaring_again_changes_nothing(self, broker: Broker, other: Broker, queue: str) -> None:
        await broker.publish(numbered(queue, 3))
        await other.declare([QueueSpec(name=queue, type=self.queue_type)])
        assert await other.inspect(queue) == QueueInfo(messages=3, consumers=0)

    async def test_declaring_with_other_arguments(self, broker: Broker, queue: str, prefix: str) -> None:
        with pytest.raises(BrokerError, match=queue):
            await broker.declare(
                [QueueSpec(name=queue, type=self.queue_type, dead_letter=f"{prefix}.elsewhere")]
            )
        assert await broker.inspect(queue) == QueueInfo(messages=0, consumers=0)

    @pytest.mark.parametrize("name", ["", "zahlung ü", "x" * 256, "line\nbreak"])
    async def test_a_name_that_no_queue_can_have(self, broker: Broker, name: str) -> None:
        with pytest.raises(BrokerError, match="No queue can be called"):
            await broker.declare([QueueSpec(name=name, type=self.queue_type)])
        with pytest.raises(BrokerError, match="No queue can be called"):
            await broker.inspect(name)
        with pytest.raises(BrokerError, match="No queue can be called"):
            await Consumer.start(broker, name)

    async def test_an_exclusive_queue_is_its_owners_alone(
        self, broker: Broker, other: Broker, prefix: str
    ) -> None:
        name = f"{prefix}.exclusive"
        await broker.declare([QueueSpec(name=name, exclusive=True)])
        consumer = await Consumer.start(broker, name)
        assert list(await other.publish(numbered(name, 1))) == [Outcome.CONFIRMED]
        assert bodies(await consumer.take()) == [b"0"]
        with pytest.raises(BrokerError):
            await Consumer.start(other, name)

    async def test_an_exclusive_queue_ends_with_its_owner(
        self, make: BrokerFactory, other: Broker, prefix: str
    ) -> None:
        name = f"{prefix}.exclusive"
        owner = make(BrokerOptions())
        await owner.open()
        await owner.declare([QueueSpec(name=name, exclusive=True)])
        consumer = await Consumer.start(owner, name)
        await consumer.subscription.close()
        await until_inspected(owner, name, QueueInfo(messages=0, consumers=0))
        await owner.close()
        await until_inspected(other, name, None)

    async def test_opening_and_closing_tolerate_repeats(self, make: BrokerFactory) -> None:
        broker = make(BrokerOptions())
        await broker.close()
        await broker.open()
        await broker.open()
        await broker.close()
        await broker.close()

    async def test_a_closed_broker_says_so(self, make: BrokerFactory, queue: str) -> None:
        broker = make(BrokerOptions())
        await broker.open()
        await broker.close()
        assert list(await broker.publish(numbered(queue, 2))) == [Outcome.UNKNOWN] * 2
        with pytest.raises(BrokerUnavailableError, match="open"):
            await broker.inspect(queue)
        with pytest.raises(BrokerUnavailableError, match="open"):
            await broker.declare([QueueSpec(name=queue)])
        with pytest.raises(BrokerUnavailableError, match="open"):
            await Consumer.start(broker, queue)
