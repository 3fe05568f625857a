"""What `/readyz` says of services whose servers go away and come back; they themselves live on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from tenuto import App, WorkflowContext
from tenuto.errors import StoreUnavailableError
from tests.support.engine import Engine, Place, engine_at, until
from tests.support.servers import PrivatePostgres, PrivateRabbitMQ

app = App("probes")


@app.activity
def double(number: int) -> int:
    return 2 * number


@app.workflow
async def doubled(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(double, number)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def ready(ask: Callable[[], str | None]) -> Callable[[], Awaitable[bool]]:
    async def is_ready() -> bool:
        return ask() is None

    return is_ready


def reason(ask: Callable[[], str | None]) -> Callable[[], Awaitable[str | None]]:
    async def why() -> str | None:
        return ask()

    return why


async def serves(engine: Engine) -> None:
    async def result() -> int | None:
        with suppress(StoreUnavailableError):  # the client's own connections may be dead ones
            handle = await engine.client.start(doubled, 4)
            return await handle.result(timeout=60)
        return None

    assert await until(result, seconds=60) == 8


async def test_an_orchestrator_without_its_database_is_not_ready_until_it_is_back(
    private_postgres: PrivatePostgres, rabbitmq_url: str, namespace: str, stack: AsyncExitStack
) -> None:
    place = Place(database_url=private_postgres.url, broker_url=rabbitmq_url, namespace=namespace)
    engine = await engine_at(place, app, stack)
    running = await engine.orchestrator()
    worker = await engine.worker()
    await until(ready(running.service.unready), seconds=60)
    await private_postgres.stop()
    assert "database" in await until(reason(running.service.unready), seconds=60)
    assert worker.service.unready() is None  # it needs no database
    await private_postgres.start()
    await until(ready(running.service.unready), seconds=60)
    await serves(engine)
    await running.stop()
    assert "stopped" in (running.service.unready() or "")


async def test_services_without_their_broker_are_not_ready_until_it_is_back(
    private_rabbitmq: PrivateRabbitMQ, postgres_url: str, namespace: str, stack: AsyncExitStack
) -> None:
    place = Place(database_url=postgres_url, broker_url=private_rabbitmq.url, namespace=namespace)
    engine = await engine_at(place, app, stack, partitions=1)
    running = [await engine.orchestrator(), await engine.orchestrator()]  # one of them has no partition
    worker = await engine.worker()
    services = [*(one.service for one in running), worker.service]
    for service in services:
        await until(ready(service.unready), seconds=60)
    await private_rabbitmq.stop()
    for service in services:
        await until(reason(service.unready), seconds=60)
    await private_rabbitmq.start()
    for service in services:
        await until(ready(service.unready), seconds=60)
    await serves(engine)
