"""Every test of this folder runs on the embedded set-up and on RabbitMQ with PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tenuto import App
from tenuto.broker.memory import MemoryServer
from tests.support.engine import Engine, Place, engine_at

MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture(params=["embedded", "servers"])
def place(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Place:
    if request.param == "embedded":
        return Place(
            database_url=f"sqlite+aiosqlite:///{tmp_path / 'engine.db'}",
            broker_url="memory://",
            namespace=namespace,
            server=MemoryServer(),
        )
    return Place(
        database_url=request.getfixturevalue("postgres_url"),
        broker_url=request.getfixturevalue("rabbitmq_url"),
        namespace=namespace,
    )


@pytest.fixture
async def make_engine(place: Place) -> AsyncIterator[MakeEngine]:
    async with AsyncExitStack() as stack:

        async def make(app: App, **settings: Any) -> Engine:
            return await engine_at(place, app, stack, **settings)

        yield make
