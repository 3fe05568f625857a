"""`RabbitBroker` when things go wrong: lost connections, restarts, wipes, alarms, foreign publishers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pika
import pytest
from yarl import URL

from tenuto.broker import BrokerOptions, Outcome, Outgoing, QueueInfo, QueueSpec
from tenuto.broker.rabbitmq import RabbitBroker
from tenuto.errors import BrokerUnavailableError
from tenuto.testing.broker_contract import Consumer, bodies, numbered, until_inspected
from tests.support.servers import PrivateRabbitMQ

PATIENCE = 60.0


class Proxy:
    """A TCP relay before a RabbitMQ, to lose connections on purpose."""

    def __init__(self, url: str) -> None:
        target = URL(url)
        assert target.host is not None
        self._host, self._port = target.host, target.port or 5672
        self._url = target
        self._server: asyncio.Server | None = None
        self._listens_on = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return str(self._url.with_host("127.0.0.1").with_port(self._listens_on))

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listens_on)
        self._listens_on = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Cut every connection and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    def freeze(self) -> None:
        """Keep the connections, and let nothing through."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, upstream_writer}
        pumps = {
            asyncio.create_task(self._pump(reader, upstream_writer)),
            asyncio.create_task(self._pump(upstream_reader, writer)),
        }
        self._tasks |= pumps
        await asyncio.wait(pumps)
        self._tasks -= pumps
        self._writers -= {writer, upstream_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # what this relay is for
        finally:
            writer.close()


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(rabbitmq_url)
    await proxy.listen()
    yield proxy
    proxy.thaw()
    await proxy.stop()


Opener = Callable[..., Awaitable[RabbitBroker]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens brokers, and closes them when the test ends."""
    brokers: list[RabbitBroker] = []

    async def open_broker(url: str, options: BrokerOptions | None = None) -> RabbitBroker:
        broker = RabbitBroker.from_url(url, options or BrokerOptions(name="test"))
        brokers.append(broker)
        await broker.open()
        return broker

    yield open_broker
    for broker in brokers:
        await broker.close()


async def with_patience(outcomes: Awaitable[object]) -> object:
    async with asyncio.timeout(PATIENCE):
        return await outcomes


# Lost connections ----------------------------------------------------------------------------------------


async def test_a_dropped_connection_is_told_once_and_comes_back(
    proxy: Proxy, opened: Opener, rabbitmq_url: str, namespace: str
) -> None:
    broker, other = await opened(proxy.url), await opened(rabbitmq_url)
    queue = f"{namespace}.work"
    await broker.declare([QueueSpec(name=queue)])
    await broker.publish(numbered(queue, 3))
    first, second = await Consumer.start(broker, queue), await Consumer.start(broker, queue)
    await first.take(3)
    first.subscription.ack(1)
    await until_inspected(other, queue, QueueInfo(messages=0, consumers=2))
    await proxy.drop()
    await first.lost()
    await second.lost()
    first.subscription.ack(2)
    await first.subscription.close()
    assert list(await broker.publish([Outgoing(queue=queue, body=b"3")])) == [Outcome.CONFIRMED]
    third = await Consumer.start(broker, queue)
    got = {delivery.body for delivery in await third.take(3)}
    assert got >= {b"1", b"2", b"3"}
    assert len(first.losses) == len(second.losses) == 1


async def test_publishing_waits_for_the_connection(
    proxy: Proxy, opened: Opener, rabbitmq_url: str, namespace: str
) -> None:
    broker, other = await opened(proxy.url), await opened(rabbitmq_url)
    queue = f"{namespace}.work"
    await other.declare([QueueSpec(name=queue)])
    consumer = await Consumer.start(broker, queue)
    await proxy.stop()
    await consumer.lost()
    publishing = asyncio.ensure_future(broker.publish(numbered(queue, 10)))
    await proxy.listen()
    assert await with_patience(publishing) == [Outcome.CONFIRMED] * 10


async def test_publishing_gives_up_when_the_connection_stays_away(
    proxy: Proxy, opened: Opener, namespace: str
) -> None:
    options = BrokerOptions(publish_timeout=0.1, operation_timeout=0.1)
    broker = await opened(proxy.url, options)
    await proxy.stop()
    outcomes = await broker.publish([Outgoing(queue=namespace, body=b"x", mandatory=False)] * 2000)
    assert set(outcomes) <= {Outcome.UNKNOWN}
    with pytest.raises(BrokerUnavailableError):
        await broker.inspect(namespace)


async def test_every_message_in_flight_has_an_outcome_and_no_confirm_is_a_lie(
    proxy: Proxy, opened: Opener, rabbitmq_url: str, namespace: str
) -> None:
    broker, other = await opened(proxy.url, BrokerOptions(publish_timeout=0.1)), await opened(rabbitmq_url)
    queue = f"{namespace}.work"
    await other.declare([QueueSpec(name=queue)])
    watcher = await Consumer.start(other, queue, prefetch=50)
    publishing = asyncio.ensure_future(broker.publish(numbered(queue, 3000)))
    arrived = set(bodies(await watcher.take(50)))
    await proxy.stop()
    outcomes = list(await publishing)
    assert set(outcomes) <= {Outcome.CONFIRMED, Outcome.UNKNOWN}
    assert len(outcomes) == 3000
    confirmed = {b"%d" % number for number, outcome in enumerate(outcomes) if outcome is Outcome.CONFIRMED}
    watcher.subscription.ack(50, multiple=True)
    while not arrived >= confirmed:
        (delivery,) = await watcher.take()
        arrived.add(delivery.body)
        watcher.subscription.ack(delivery.tag)


async def test_a_frozen_server_does_not_hold_an_operation_for_ever(
    proxy: Proxy, opened: Opener, namespace: str
) -> None:
    broker = await opened(proxy.url, BrokerOptions(operation_timeout=0.2))
    proxy.freeze()
    with pytest.raises(BrokerUnavailableError, match=r"0\.2 s"):
        await broker.inspect(namespace)
    proxy.thaw()

    async def answers() -> bool:
        try:
            return await broker.inspect(namespace) is None
        except BrokerUnavailableError:
            return False

    async with asyncio.timeout(PATIENCE):
        while not await answers():
            pass


async def test_closing_settles_those_who_wait(proxy: Proxy, opened: Opener, namespace: str) -> None:
    broker = await opened(proxy.url)
    consumer_queue = QueueSpec(name=f"{namespace}.work", exclusive=True)
    await broker.declare([consumer_queue])
    consumer = await Consumer.start(broker, consumer_queue.name)
    await proxy.stop()
    await consumer.lost()
    publishing = asyncio.ensure_future(broker.publish(numbered(namespace, 1)))
    inspecting = asyncio.ensure_future(broker.inspect(namespace))
    await asyncio.sleep(0)
    await broker.close()
    assert await with_patience(publishing) == [Outcome.UNKNOWN]
    with pytest.raises(BrokerUnavailableError):
        await inspecting


async def test_a_cancelled_publish_harms_no_other(opened: Opener, rabbitmq_url: str, namespace: str) -> None:
    broker = await opened(rabbitmq_url)
    queue = f"{namespace}.work"
    await broker.declare([QueueSpec(name=queue)])
    watcher = await Consumer.start(broker, queue)
    cancelled = asyncio.ensure_future(broker.publish(numbered(queue, 2000)))
    await watcher.take(1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    nowhere = Outgoing(queue=f"{namespace}.nowhere", body=b"x")
    outcomes = await broker.publish([*numbered(queue, 2), nowhere])
    assert list(outcomes) == [Outcome.CONFIRMED, Outcome.CONFIRMED, Outcome.RETURNED]


async def test_channels_are_given_back(opened: Opener, rabbitmq_url: str, namespace: str) -> None:
    broker = await opened(rabbitmq_url)
    await broker.declare([QueueSpec(name=f"{namespace}.work")])
    for _ in range(20):
        await broker.inspect(f"{namespace}.nowhere")
        subscription = (await Consumer.start(broker, f"{namespace}.work")).subscription
        await subscription.close()
    connection = broker._consuming.current
    assert connection is not None
    assert len(connection.channels) <= 1


# Opening -------------------------------------------------------------------------------------------------


async def test_opening_waits_for_a_server_that_is_starting(proxy: Proxy) -> None:
    await proxy.stop()
    broker = RabbitBroker.from_url(proxy.url, BrokerOptions(connect_timeout=PATIENCE))
    opening = asyncio.ensure_future(broker.open())
    await asyncio.sleep(0)
    await proxy.listen()
    await with_patience(opening)
    await broker.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda url: url.with_password("secret"), "refuses the user name or password"),
        (lambda url: url.with_path("/nosuch"), "refuses virtual host 'nosuch'"),
    ],
)
async def test_a_server_that_refuses_us_is_believed_at_once(
    rabbitmq_url: str, change: Callable[[URL], URL], complaint: str
) -> None:
    url = change(URL(rabbitmq_url))
    broker = RabbitBroker.from_url(str(url), BrokerOptions(connect_timeout=3600))
    with pytest.raises(BrokerUnavailableError, match=complaint) as caught:
        await with_patience(broker.open())
    assert f"{url.host}:{url.port}" in str(caught.value)
    assert "secret" not in str(caught.value)
    await broker.close()


# Foreign publishers --------------------------------------------------------------------------------------


async def test_what_foreign_publishers_write_does_no_harm(
    opened: Opener, rabbitmq_url: str, namespace: str
) -> None:
    broker = await opened(rabbitmq_url)
    queue = f"{namespace}.start"
    await broker.declare([QueueSpec(name=queue)])

    def publish() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
        channel = connection.channel()
        for properties in (
            pika.BasicProperties(timestamp=1_700_000_000_000_000, message_id="microseconds"),
            pika.BasicProperties(timestamp=1_700_000_000, headers={"n": 1, "t": {"a": ["b"]}, "v": None}),
            None,
        ):
            channel.basic_publish("", queue, b"foreign", properties)
        connection.close()

    await asyncio.to_thread(publish)
    consumer = await Consumer.start(broker, queue)
    first, second, third = await consumer.take(3)
    assert (first.message_id, first.timestamp) == ("microseconds", None)
    assert second.timestamp == 1_700_000_000.0
    assert second.headers == {"n": "1", "t": "{'a': ['b']}", "v": "None"}
    assert (third.body, third.message_id, dict(third.headers)) == (b"foreign", None, {})
    assert consumer.losses == []


# A server of our own -------------------------------------------------------------------------------------


async def test_a_restart(private_rabbitmq: PrivateRabbitMQ, opened: Opener, namespace: str) -> None:
    broker = await opened(private_rabbitmq.url)
    queue = f"{namespace}.work"
    await broker.declare([QueueSpec(name=queue)])
    await broker.publish(numbered(queue, 5))
    consumer = await Consumer.start(broker, queue)
    await consumer.take(5)
    consumer.subscription.ack(3, multiple=True)
    await consumer.subscription.close()
    consumer = await Consumer.start(broker, queue)
    await consumer.take(2)
    await private_rabbitmq.restart()
    await consumer.lost()
    assert await with_patience(broker.publish([Outgoing(queue=queue, body=b"5")])) == [Outcome.CONFIRMED]
    again = await Consumer.start(broker, queue)
    assert bodies(await again.take(3)) == [b"3", b"4", b"5"]
    assert len(consumer.losses) == 1


async def test_a_wipe(private_rabbitmq: PrivateRabbitMQ, opened: Opener, namespace: str) -> None:
    broker = await opened(private_rabbitmq.url)
    queue = f"{namespace}.work"
    await broker.declare([QueueSpec(name=queue)])
    consumer = await Consumer.start(broker, queue)
    await private_rabbitmq.wipe()
    await consumer.lost()
    assert await with_patience(broker.publish(numbered(queue, 1))) == [Outcome.RETURNED]
    assert await broker.inspect(queue) is None
    assert len(consumer.losses) == 1


async def test_an_alarm_holds_publishers_back_and_they_go_on(
    private_rabbitmq: PrivateRabbitMQ, opened: Opener, namespace: str
) -> None:
    broker = await opened(private_rabbitmq.url)
    queue = f"{namespace}.work"
    await broker.declare([QueueSpec(name=queue)])
    await broker.publish(numbered(queue, 1))
    await private_rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        publishing = asyncio.ensure_future(broker.publish(numbered(queue, 2)))
        async with asyncio.timeout(PATIENCE):
            while not broker.blocked:  # noqa: ASYNC110 - it comes with the next frame, which tells nobody
                await asyncio.sleep(0.01)
        held_back = asyncio.ensure_future(broker.publish(numbered(queue, 3)))
        assert await broker.inspect(queue) == QueueInfo(messages=1, consumers=0)
        assert not publishing.done()
        assert not held_back.done()
    finally:
        await private_rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    assert await with_patience(publishing) == [Outcome.CONFIRMED] * 2
    assert await with_patience(held_back) == [Outcome.CONFIRMED] * 3
    assert not broker.blocked


async def test_the_brokers_own_size_limit_is_learnt(
    private_rabbitmq: PrivateRabbitMQ, opened: Opener, namespace: str
) -> None:
    await private_rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 1000).")
    try:
        broker = await opened(private_rabbitmq.url)
        queue = f"{namespace}.work"
        await broker.declare([QueueSpec(name=queue)])
        large = Outgoing(queue=queue, body=b"x" * 1001)
        (outcome,) = await broker.publish([large])
        assert outcome is Outcome.REFUSED
        small = Outgoing(queue=queue, body=b"x" * 1000)
        assert list(await broker.publish([small, large, small])) == [
            Outcome.CONFIRMED,
            Outcome.REFUSED,
            Outcome.CONFIRMED,
        ]
    finally:
        await private_rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 134217728).")
