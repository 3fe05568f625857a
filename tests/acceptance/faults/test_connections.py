"""Connections that fail in ways in which a broker that is merely down does not."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from tenuto.broker import Outcome, Outgoing, QueueSpec, make_broker
from tests.support.proxy import Proxy
from tests.support.servers import PrivateRabbitMQ

pytestmark = pytest.mark.timeout(120)

_AMQP_HEADER = 8


async def test_a_client_comes_back_though_somebody_accepts_and_hangs_up(
    private_rabbitmq: PrivateRabbitMQ, namespace: str
) -> None:
    """As load balancers do while no broker is behind them."""
    port = URL(private_rabbitmq.url).port
    assert port is not None
    proxy = Proxy(port)
    await proxy.start()
    broker = make_broker(proxy.url(private_rabbitmq.url))
    await broker.open()
    hung_up: asyncio.Queue[None] = asyncio.Queue()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_AMQP_HEADER)
        writer.close()
        hung_up.put_nowait(None)

    try:
        proxy.refuse()
        balancer = await asyncio.start_server(hang_up, "127.0.0.1", proxy.port)
        proxy.cut()
        for _ in range(
            4
        ):  # each of its two connections tries at least once more after its first disappointment
            await hung_up.get()
        balancer.close()
        await proxy.start()

        queue = f"{namespace}.comeback"
        await broker.declare([QueueSpec(name=queue, exclusive=True)])
        assert await broker.publish([Outgoing(queue=queue, body=b"x")]) == [Outcome.CONFIRMED]
    finally:
        await broker.close()
        proxy.stop()
