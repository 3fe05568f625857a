"""Starting workflows with the broker alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tenuto.app import App
from tenuto.broker import BrokerOptions
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.protocol import Delivery, Outcome, Outgoing, QueueSpec
from tenuto.core.status import ReuseAction, ReusePolicy
from tenuto.errors import BrokerUnavailableError, PayloadError, QueueMissingError, UsageError
from tenuto.messages import decode_start
from tenuto.naming import derived_instance_id
from tenuto.publisher import Publisher
from tenuto.settings import Settings

app = App("orders")


@app.workflow(name="fulfil-order")
async def fulfil(ctx: Any, order: str) -> None:
    raise NotImplementedError


class Noon:
    def now(self) -> datetime:
        return datetime(2030, 1, 1, 12, tzinfo=UTC)


class Flaky(MemoryBroker):
    """A broker whose first publishes come to nothing certain."""

    def __init__(self, server: MemoryServer, unknown: int) -> None:
        super().__init__(server)
        self.unknown = unknown
        self.published: list[Outgoing] = []

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        self.published += messages
        self.unknown -= 1
        return [Outcome.UNKNOWN] if self.unknown >= 0 else await super().publish(messages)


class Door:
    """Takes what is published to the public door."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.broker = MemoryBroker(server, options=BrokerOptions(max_message_bytes=1000))
        self.deliveries: asyncio.Queue[Delivery] = asyncio.Queue()

    async def open(self, queue: str = "tenuto.start") -> None:
        await self.broker.open()
        await self.broker.declare([QueueSpec(name=queue)])
        await self.broker.subscribe(queue, self.deliveries.put_nowait, prefetch=10, on_lost=self.lost)

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def publisher(self, **options: Any) -> Publisher:
        given: dict[str, Any] = {"settings": Settings(), "broker": self.broker}
        return Publisher(**given | options)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door(MemoryServer())
    await made.open()
    yield made
    await made.broker.close()


async def test_the_message_says_what_was_asked(door: Door) -> None:
    reuse = ReusePolicy(action=ReuseAction.IGNORE)
    context = SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    async with door.publisher(clock=Noon()) as publisher:
        with use_span(NonRecordingSpan(context)):
            instance = await publisher.start(
                fulfil,
                {"order": 17},
                instance_id="order-17",
                message_id="m-1",
                version="2",
                tags={"team": "red"},
                reuse=reuse,
                reply_to="mine",
                correlation_id="c-1",
            )
    delivery = await door.deliveries.get()
    message = decode_start(delivery.body)
    assert instance == message.instance_id == "order-17"
    assert (message.workflow, message.version, message.tags, message.reuse) == (
        "fulfil-order",
        "2",
        {"team": "red"},
        reuse,
    )
    assert message.input is not None
    assert bytes(message.input) == b'{"order":17}'
    assert (delivery.message_id, delivery.reply_to, delivery.correlation_id) == ("m-1", "mine", "c-1")
    assert delivery.timestamp == Noon().now().timestamp()
    assert f"{0xABC:032x}" in delivery.headers["traceparent"]


async def test_without_an_instance_id_the_message_id_gives_it(door: Door) -> None:
    async with door.publisher() as publisher:
        assert await publisher.start("w", message_id="m-1") == derived_instance_id("m-1")
        first, second = await publisher.start("w"), await publisher.start("w")
        assert first != second
    deliveries = [await door.deliveries.get() for _ in range(3)]
    assert [decode_start(delivery.body).instance_id for delivery in deliveries] == [None, None, None]
    assert [derived_instance_id(delivery.message_id or "") for delivery in deliveries[1:]] == [first, second]


def test_the_derived_id_is_the_same_for_ever() -> None:
    """Other languages derive it too, and redeliveries may come after an upgrade."""
    assert derived_instance_id("m-1") == "a461b472cb41a9ec3dee5c90cf8e4a78"  # printf m-1 | sha256sum


async def test_nobody_has_declared_the_door() -> None:
    door = Door(MemoryServer())
    await door.open("another.start")
    async with door.publisher() as publisher:
        with pytest.raises(
            QueueMissingError, match=r"no queue tenuto\.start.*tenuto orchestrator module:app"
        ):
            await publisher.start("w")
    async with door.publisher(settings=Settings(namespace="another")) as publisher:
        await publisher.start("w")
    await door.broker.close()


async def test_a_message_that_is_too_large_is_refused(door: Door) -> None:
    async with door.publisher() as publisher:
        with pytest.raises(PayloadError, match="more than the broker takes"):
            await publisher.start("w", "x" * 2000)


async def test_a_message_that_may_not_have_arrived_is_sent_again_with_its_id(door: Door) -> None:
    broker = Flaky(door.server, unknown=2)
    await broker.open()
    async with door.publisher(broker=broker) as publisher:
        await publisher.start("w")
    assert len({message.message_id for message in broker.published}) == 1
    broker.unknown = 99
    async with door.publisher(broker=broker) as publisher:
        with pytest.raises(BrokerUnavailableError, match=r"m-7.*may have arrived"):
            await publisher.start("w", message_id="m-7")
    await broker.close()


@pytest.mark.parametrize(("reply_to", "refused"), [("tenuto.start", True), ("tenutonic", False)])
async def test_replies_cannot_go_to_queues_of_the_engine(door: Door, reply_to: str, *, refused: bool) -> None:
    async with door.publisher() as publisher:
        if refused:
            with pytest.raises(UsageError, match="one of the engine's"):
                await publisher.start("w", reply_to=reply_to)
        else:
            await publisher.start("w", reply_to=reply_to)


async def test_an_id_that_cannot_be_one_is_refused(door: Door) -> None:
    async with door.publisher() as publisher:
        with pytest.raises(UsageError, match="instance id"):
            await publisher.start("w", instance_id="a\nb")


async def test_a_publisher_of_its_own_settings_opens_and_closes_the_broker() -> None:
    async with Publisher(Settings(broker_url="memory://")) as publisher:
        with pytest.raises(QueueMissingError):
            await publisher.start("w")


@pytest.mark.semantics("a client")
async def test_an_input_over_the_limit_is_refused_at_the_door(door: Door) -> None:
    """SEMANTICS, Limits: payload size, with an error at the door."""
    async with door.publisher(settings=Settings(max_payload_bytes=100)) as publisher:
        with pytest.raises(PayloadError, match="input has 101 bytes, and a payload has 100 at most"):
            await publisher.start(fulfil, "x" * 99)
        await publisher.start(fulfil, "x" * 98)
    assert door.deliveries.qsize() == 1
