"""Publishing: confirms, returns, refusals."""
# ruff: noqa: S101, PLR2004 - a suite asserts, with the numbers of its examples

from __future__ import annotations

import asyncio

import pytest

from tenuto.broker import (
    Broker,
    BrokerOptions,
    Delivery,
    Outcome,
    Outgoing,
)
from tenuto.testing.broker_contract.base import (
    BrokerFactory,
    Consumer,
    Fixtures,
    bodies,
    numbered,
)

__all__ = ["PublishingContract"]


class PublishingContract(Fixtures):
    """What becomes of published messages."""

    async def test_a_confirmed_message_arrives(self, broker: Broker, queue: str) -> None:
        assert list(await broker.publish([Outgoing(queue=queue, body=b"hello")])) == [Outcome.CONFIRMED]
        consumer = await Consumer.start(broker, queue)
        (delivery,) = await consumer.take()
        assert delivery.body == b"hello"
        assert delivery.redelivered is False

    async def test_nothing_to_publish(self, broker: Broker) -> None:
        assert list(await broker.publish([])) == []

    async def test_outcomes_are_in_the_order_of_the_messages(
        self, broker: Broker, queue: str, prefix: str
    ) -> None:
        nowhere = f"{prefix}.nowhere"
        outcomes = await broker.publish(
            [
                Outgoing(queue=queue, body=b"1"),
                Outgoing(queue=nowhere, body=b"2"),
                Outgoing(queue=nowhere, body=b"3", mandatory=False),
                Outgoing(queue=queue, body=b"4", mandatory=False),
                Outgoing(queue=nowhere, body=b"5"),
                Outgoing(queue=queue, body=b"6"),
            ]
        )
        assert list(outcomes) == [
            Outcome.CONFIRMED,
            Outcome.RETURNED,
            Outcome.CONFIRMED,
            Outcome.CONFIRMED,
            Outcome.RETURNED,
            Outcome.CONFIRMED,
        ]
        consumer = await Consumer.start(broker, queue)
        assert bodies(await consumer.take(3)) == [b"1", b"4", b"6"]

    async def test_a_returned_message_is_told_from_its_equals(
        self, broker: Broker, queue: str, prefix: str
    ) -> None:
        there = Outgoing(queue=queue, body=b"same", message_id="same")
        nowhere = Outgoing(queue=f"{prefix}.nowhere", body=b"same", message_id="same")
        outcomes = await broker.publish([there, nowhere] * 50)
        assert list(outcomes) == [Outcome.CONFIRMED, Outcome.RETURNED] * 50

    async def test_a_thousand_messages_arrive_in_order(self, broker: Broker, queue: str) -> None:
        outcomes = await broker.publish(numbered(queue, 1000))
        assert list(outcomes) == [Outcome.CONFIRMED] * 1000
        consumer = await Consumer.start(broker, queue, prefetch=1000)
        assert bodies(await consumer.take(1000)) == [b"%d" % number for number in range(1000)]

    async def test_publishers_do_not_mix_up_their_outcomes(
        self, broker: Broker, queue: str, prefix: str
    ) -> None:
        nowhere = f"{prefix}.nowhere"
        published = await asyncio.gather(
            *(broker.publish(numbered(queue if turn % 2 else nowhere, 40)) for turn in range(20))
        )
        for turn, outcomes in enumerate(published):
            assert set(outcomes) == {Outcome.CONFIRMED if turn % 2 else Outcome.RETURNED}
        info = await broker.inspect(queue)
        assert info is not None
        assert info.messages == 400

    async def test_properties_arrive_as_sent(self, broker: Broker, queue: str) -> None:
        sent = Outgoing(
            queue=queue,
            body=b"{}",
            message_id="id-1",
            correlation_id="correlation ü",
            reply_to="somewhere",
            timestamp=1_700_000_000.75,
            headers={"traceparent": "00-abc", "schlüssel": "wert"},
        )
        await broker.publish([sent])
        consumer = await Consumer.start(broker, queue)
        (delivery,) = await consumer.take()
        assert delivery == Delivery(
            tag=1,
            body=b"{}",
            message_id="id-1",
            correlation_id="correlation ü",
            reply_to="somewhere",
            timestamp=1_700_000_000.0,
            headers={"traceparent": "00-abc", "schlüssel": "wert"},
        )

    async def test_properties_that_were_not_sent_are_absent(self, broker: Broker, queue: str) -> None:
        await broker.publish([Outgoing(queue=queue, body=b"bare")])
        consumer = await Consumer.start(broker, queue)
        assert await consumer.take() == [Delivery(tag=1, body=b"bare")]

    @pytest.mark.parametrize("body", [b"", bytes(range(256)), b"\xce" * 3_000_000])
    async def test_bodies_of_any_kind_arrive(self, broker: Broker, queue: str, body: bytes) -> None:
        assert list(await broker.publish([Outgoing(queue=queue, body=body)] * 2)) == [Outcome.CONFIRMED] * 2
        consumer = await Consumer.start(broker, queue)
        assert bodies(await consumer.take(2)) == [body] * 2

    async def test_a_message_over_the_limit_is_refused(
        self, make: BrokerFactory, broker: Broker, queue: str
    ) -> None:
        del broker  # it declared the queue
        strict = make(BrokerOptions(max_message_bytes=1000))
        await strict.open()
        outcomes = await strict.publish(
            [
                Outgoing(queue=queue, body=b"x" * 1000),
                Outgoing(queue=queue, body=b"x" * 1001),
                Outgoing(queue=queue, body=b"x"),
            ]
        )
        await strict.close()
        assert list(outcomes) == [Outcome.CONFIRMED, Outcome.REFUSED, Outcome.CONFIRMED]
