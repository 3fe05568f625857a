"""PostgreSQL keeps the contract of a store, in its default schema and in another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from tenuto.store import Store, make_store
from tenuto.store.schema import metadata
from tenuto.testing.store_contract import OpenStore, StoreContract
from tenuto.testing.store_contract.letters import LetterContract
from tests.support.postgres import create_database, drop_database


@pytest.fixture(scope="module")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One database for all these tests, for making one takes much longer than emptying it."""
    url = create_database(request.getfixturevalue("_postgres").url)
    yield url
    drop_database(url)


def empty(url: str, schema: str) -> bool:
    """Delete what an earlier test left in the tables; False if they are not there yet."""
    with psycopg.connect(url.replace("+asyncpg", ""), autocommit=True) as connection:
        there = connection.execute("SELECT to_regclass(%s)", [f"{schema}.tenuto_instances"]).fetchone()
        if there == (None,):
            return False
        tables = sql.SQL(", ").join(sql.Identifier(schema, name) for name in metadata.tables)
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(tables))
        return True


class Fixtures:
    @pytest.fixture
    def schema(self) -> str | None:
        return None

    @pytest_asyncio.fixture
    async def open_store(self, database_url: str, schema: str | None) -> AsyncIterator[OpenStore]:
        if not empty(database_url, schema or "public"):
            first = make_store(database_url, schema=schema)
            await first.upgrade()
            await first.close()
        async with AsyncExitStack() as stack:

            async def open_store() -> Store:
                store = make_store(database_url, schema=schema, lease=timedelta(seconds=60))
                stack.push_async_callback(store.close)
                await store.open()
                return store

            yield open_store


class TestPostgres(Fixtures, StoreContract):
    pass


class TestSchema(Fixtures, LetterContract):
    """In a schema of its own, one group of verbs will do: all go by the same search path."""

    @pytest.fixture
    def schema(self) -> str | None:
        return "orders"
