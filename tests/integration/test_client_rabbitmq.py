"""The client over RabbitMQ and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenuto.broker import Delivery, QueueSpec, make_broker
from tenuto.client import Client
from tenuto.errors import QueueMissingError
from tenuto.messages import decode_start
from tenuto.publisher import Publisher
from tenuto.settings import ClientSettings
from tests.unit.client.engine import NEVER, OFTEN, Engine, engine, until


@pytest.fixture
async def running(postgres_url: str, rabbitmq_url: str, namespace: str) -> AsyncIterator[Engine]:
    settings = ClientSettings(
        database_url=postgres_url, broker_url=rabbitmq_url, namespace=namespace, poll_interval=NEVER
    )
    async with engine(settings) as made:
        yield made


async def test_a_hundred_instances_by_notifications_alone(running: Engine) -> None:
    async with Client(running.settings) as client:
        handles = await asyncio.gather(*(client.start("w", number) for number in range(100)))
        results = [asyncio.create_task(handle.result()) for handle in handles]
        for number, handle in enumerate(handles):
            await running.owner.end(handle.instance_id, output=str(number).encode())
        assert await asyncio.gather(*results) == list(range(100))


async def test_waits_survive_the_loss_of_the_notification_queue(running: Engine) -> None:
    ids = iter(f"{running.settings.namespace}-{number}" for number in range(100))
    async with running.client(new_id=ids.__next__) as client:
        handle = await client.start("w")
        result = asyncio.create_task(handle.result())
        queue = running.owner.names.notices(f"{running.settings.namespace}-0")
        await running.client_broker.delete(queue)  # only its own connection may

        async def declared_again() -> bool:
            return await running.client_broker.inspect(queue) is not None

        await until(declared_again)
        await running.owner.end(handle.instance_id, output=b"1")
        assert await result == 1


async def test_an_unreachable_broker_only_slows_the_client_down(running: Engine) -> None:
    settings = running.settings.model_copy(
        update={"broker_url": "amqp://nobody:nothing@127.0.0.1:1/", "poll_interval": OFTEN}
    )
    async with Client(settings) as client:
        handle = await client.start("w", wait=False)
        await running.owner.work()
        await handle.started()


async def test_the_publisher_at_the_public_door(rabbitmq_url: str, namespace: str) -> None:
    settings = ClientSettings(broker_url=rabbitmq_url, namespace=namespace)
    async with Publisher(settings) as publisher:
        with pytest.raises(QueueMissingError):
            await publisher.start("w")
        broker = make_broker(rabbitmq_url)
        await broker.open()
        await broker.declare([QueueSpec(name=f"{namespace}.start")])
        deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        await broker.subscribe(f"{namespace}.start", deliveries.put_nowait, prefetch=1, on_lost=pytest.fail)
        await publisher.start("w", {"a": 1}, message_id="m-1", reply_to="mine")
        delivery = await deliveries.get()
        assert decode_start(delivery.body).workflow == "w"
        assert (delivery.message_id, delivery.reply_to) == ("m-1", "mine")
        assert delivery.timestamp is not None
        await broker.close()
