"""A start within the user's own transaction happens if and only if that transaction commits (rule I2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tenuto.client.sync import SyncClient
from tenuto.core.status import Status
from tenuto.errors import NotFoundError, UsageError
from tenuto.settings import ClientSettings
from tests.unit.client.engine import OFTEN, Engine, engine

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

SYNC_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/tenuto.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def running(database: str) -> AsyncIterator[Engine]:
    settings = ClientSettings(database_url=database, broker_url="memory://", poll_interval=OFTEN)
    async with engine(settings) as made:
        yield made


@pytest.fixture
async def users(database: str) -> AsyncIterator[AsyncEngine]:
    """The user's own engine on the same database."""
    made = create_async_engine(database)
    yield made
    await made.dispose()


@pytest.mark.parametrize("open_", [AsyncSession, AsyncEngine.connect], ids=["session", "connection"])
async def test_an_asynchronous_transaction(
    running: Engine, users: AsyncEngine, open_: Callable[[AsyncEngine], Any]
) -> None:
    async with running.client(poll=OFTEN) as client:
        async with open_(users) as transaction:
            dropped = await client.start("w", instance_id="dropped", connection=transaction)
            await transaction.rollback()
            handle = await client.start("w", [1], instance_id="kept", connection=transaction)
            await running.owner.work()
            assert not running.owner.letters  # not before the commit
            await transaction.commit()
        await handle.ring()
        await handle.started()
        assert (await handle.status()).input == [1]
        with pytest.raises(NotFoundError, match="has not been committed"):
            await dropped.result()
    assert len(running.owner.letters) == 1


async def test_a_synchronous_session_in_the_asynchronous_client(running: Engine, database: str) -> None:
    with _sync_engine(database) as users, Session(users) as session:
        async with running.client(poll=OFTEN) as client:
            handle = await client.start("w", instance_id="one", connection=session)
            session.commit()
            await handle.ring()
            await handle.started()


async def test_the_synchronous_client_uses_the_connection_in_the_calling_thread(
    running: Engine, database: str
) -> None:
    def use() -> Status:
        # The broker of its own is not the owner's: its bells and notifications go nowhere, and still it works.
        with (
            SyncClient(running.settings) as client,
            _sync_engine(database) as users,
            Session(users) as session,
        ):
            dropped = client.start("w", instance_id="dropped", connection=session)
            session.rollback()
            handle = client.start("w", instance_id="one", connection=session, tags={"a": "b"})
            session.commit()
            asyncio.run_coroutine_threadsafe(running.owner.work(), loop).result()
            handle.started()
            with pytest.raises(NotFoundError):
                dropped.started()
            return handle.status().status

    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(use) is Status.RUNNING


async def test_what_is_no_connection_is_refused(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match="connection= takes"):
            await client.start("w", connection=object())


class _sync_engine:  # noqa: N801 - reads as the function that it stands for
    """A synchronous engine on the database of an asynchronous URL."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._engine = create_engine(parsed.set(drivername=SYNC_DRIVERS[parsed.get_backend_name()]))

    def __enter__(self) -> Any:
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()
