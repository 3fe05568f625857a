"""A workflow starts if and only if the user's own transaction commits (rule I2), whatever SQLAlchemy object holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tenuto.errors import DataRefusedError, SchemaError, UsageError
from tenuto.store import Store, insert_letters, make_store
from tenuto.testing.store_contract.base import letter

ORDERS = sa.Table("users_orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
LETTERS = [letter("a"), letter("b", 2, body=b"\x00\xff", run="run-1", held=True)]
IDS = [one.id for one in LETTERS]

SYNC_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


@pytest.fixture(params=["sqlite", "postgresql", "schema"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    if kind == "sqlite":
        return sa.make_url(f"sqlite+aiosqlite:///{tmp_path / 'tenuto.db'}")
    return sa.make_url(request.getfixturevalue("postgres_url"))


@pytest.fixture
def schema(kind: str) -> str | None:
    return "tenuto" if kind == "schema" else None


@pytest_asyncio.fixture
async def store(url: sa.URL, schema: str | None) -> AsyncIterator[Store]:
    store = make_store(url.render_as_string(hide_password=False), schema=schema)
    await store.upgrade()
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def engine(url: sa.URL, store: Store) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(ORDERS.metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
def sync_engine(url: sa.URL, engine: AsyncEngine) -> Iterator[sa.Engine]:
    sync_engine = sa.create_engine(url.set(drivername=SYNC_DRIVERS[url.get_backend_name()]))
    yield sync_engine
    sync_engine.dispose()


async def orders(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return len((await connection.execute(sa.select(ORDERS))).all())


async def check(store: Store, engine: AsyncEngine, *, committed: bool) -> None:
    assert await store.waiting(IDS) == (frozenset(IDS) if committed else frozenset())
    assert await orders(engine) == int(committed)


@pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])
class TestTheUsersTransactionDecides:
    async def test_an_asynchronous_connection(
        self, store: Store, engine: AsyncEngine, *, commit: bool
    ) -> None:
        async with engine.connect() as connection:
            await connection.execute(ORDERS.insert())
            await store.deliver(LETTERS, connection=connection)
            await (connection.commit() if commit else connection.rollback())
        await check(store, engine, committed=commit)

    async def test_an_asynchronous_session(self, store: Store, engine: AsyncEngine, *, commit: bool) -> None:
        async with AsyncSession(engine) as session:
            await session.execute(ORDERS.insert())
            await store.deliver(LETTERS, connection=session)
            await (session.commit() if commit else session.rollback())
        await check(store, engine, committed=commit)

    async def test_a_scoped_asynchronous_session(
        self, store: Store, engine: AsyncEngine, *, commit: bool
    ) -> None:
        sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: "only")
        await sessions.execute(ORDERS.insert())
        await store.deliver(LETTERS, connection=sessions)
        await (sessions.commit() if commit else sessions.rollback())
        await sessions.remove()
        await check(store, engine, committed=commit)

    async def test_a_connection(
        self, store: Store, engine: AsyncEngine, sync_engine: sa.Engine, *, commit: bool
    ) -> None:
        with sync_engine.connect() as connection:
            connection.execute(ORDERS.insert())
            await store.deliver(LETTERS, connection=connection)
            (connection.commit if commit else connection.rollback)()
        await check(store, engine, committed=commit)

    async def test_a_session(
        self, store: Store, engine: AsyncEngine, sync_engine: sa.Engine, *, commit: bool
    ) -> None:
        with Session(sync_engine) as session:
            session.execute(ORDERS.insert())
            await store.deliver(LETTERS, connection=session)
            (session.commit if commit else session.rollback)()
        await check(store, engine, committed=commit)

    async def test_a_scoped_session_without_a_loop(
        self,
        store: Store,
        engine: AsyncEngine,
        sync_engine: sa.Engine,
        schema: str | None,
        *,
        commit: bool,
    ) -> None:
        sessions = scoped_session(sessionmaker(sync_engine))
        sessions.execute(ORDERS.insert())
        insert_letters(sessions, LETTERS, schema=schema)
        (sessions.commit if commit else sessions.rollback)()
        sessions.remove()
        await check(store, engine, committed=commit)


async def test_letters_arrive_as_they_were_and_once(store: Store, engine: AsyncEngine) -> None:
    for _ in range(2):
        async with engine.begin() as connection:
            await store.deliver(LETTERS, connection=connection)
    assert (await store.inbox([0], limit=10)) == LETTERS[:1]
    await store.deliver([letter("c", 2)])
    async with engine.begin() as connection:
        await store.deliver([letter("d", 2)], connection=connection)
        await store.deliver([], connection=connection)
    await store.deliver([letter("e", 2)])
    assert [one.id for one in await store.inbox([2], limit=10)] == ["c", "d", "e"]


async def test_a_value_that_is_refused(store: Store, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DataRefusedError):
            await store.deliver([letter("a", partition=2**70)], connection=connection)
        await connection.rollback()
        await store.deliver(LETTERS, connection=connection)
        await connection.commit()
    assert await store.waiting(IDS) == set(IDS)


def test_a_database_without_the_tables(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'another.db'}")
    with engine.connect() as connection, pytest.raises(SchemaError, match="inbox"):
        insert_letters(connection, LETTERS)
    engine.dispose()


def test_what_is_no_connection() -> None:
    with pytest.raises(UsageError, match="not int"):
        insert_letters(7, LETTERS)  # type: ignore[arg-type]  # what a careless caller passes
