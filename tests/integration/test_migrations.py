"""The migrations make the schema that the program wants, however many processes run them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tenuto.errors import SchemaError
from tenuto.store import make_store
from tenuto.store.migrate import migrations
from tenuto.store.schema import HEAD, VERSION_TABLE, metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'tenuto.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest_asyncio.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


async def upgrade(url: str) -> None:
    store = make_store(url)
    await store.upgrade()
    await store.close()


async def set_revision(engine: AsyncEngine, revision: str | None) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"DELETE FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
        if revision is not None:
            insert = sa.text(f"INSERT INTO {VERSION_TABLE} VALUES (:revision)")  # noqa: S608 - a constant
            await connection.execute(insert, {"revision": revision})


def test_the_program_wants_the_last_migration() -> None:
    assert migrations().get_heads() == [HEAD]
    assert migrations().get_bases() == ["0001"]


async def test_the_upgraded_schema_is_that_of_the_tables(url: str, engine: AsyncEngine) -> None:
    await upgrade(url)

    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": VERSION_TABLE}
        )
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_upgraded_schema_sorts_ids_by_code_point(postgres_url: str) -> None:
    """Which `compare_metadata` does not look at."""
    await upgrade(postgres_url)
    engine = create_async_engine(postgres_url)
    query = (
        "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND collation_name IS NOT NULL"
    )
    async with engine.connect() as connection:
        found = [(row[0], row[1]) for row in await connection.execute(sa.text(query))]
    await engine.dispose()
    assert {name for name, collation in found if collation == "C"} == {
        "tenuto_instances.id",
        "tenuto_instances.workflow",
        "tenuto_instances.parent",
        "tenuto_tags.instance",
        "tenuto_history.instance",
        "tenuto_timers.instance",
        "tenuto_inbox.id",
        "tenuto_seen.instance",
        "tenuto_members.owner",
        "tenuto_payloads.key",
    }


async def test_upgrading_again_changes_nothing(url: str) -> None:
    for _ in range(2):
        await upgrade(url)
    store = make_store(url)
    await store.open()
    await store.close()


async def test_upgrades_at_once(url: str) -> None:
    await asyncio.gather(*(upgrade(url) for _ in range(4)))
    store = make_store(url)
    await store.open()
    await store.close()


async def test_upgrades_of_several_databases_at_once(tmp_path: Path, postgres_url: str) -> None:
    urls = [postgres_url, *(f"sqlite:///{tmp_path / f'{n}.db'}" for n in range(3))]
    await asyncio.gather(*map(upgrade, urls))
    for url in urls:
        store = make_store(url)
        await store.open()
        await store.close()


async def test_a_database_without_a_schema(url: str, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))  # makes the SQLite file
    store = make_store(url)
    with pytest.raises(SchemaError, match="run `tenuto db upgrade`"):
        await store.open()
    with pytest.raises(SchemaError, match="tenuto db upgrade"):
        await store.deployment()
    await store.close()


@pytest.mark.parametrize(
    ("revision", "said"), [(None, "older.*tenuto db upgrade"), ("9999", "newer.*release of Tenuto")]
)
async def test_a_schema_of_another_release(
    url: str, engine: AsyncEngine, revision: str | None, said: str
) -> None:
    await upgrade(url)
    await set_revision(engine, revision)
    store = make_store(url)
    with pytest.raises(SchemaError, match=said):
        await store.open()
    if revision is not None:
        with pytest.raises(SchemaError, match=said):
            await store.upgrade()
    await store.close()


async def test_every_migration_can_be_taken_back(url: str, engine: AsyncEngine) -> None:
    await upgrade(url)

    def take_back(connection: sa.Connection) -> set[str]:
        operations = Operations(MigrationContext.configure(connection))
        for script in migrations().walk_revisions():
            script.module.downgrade(operations)
        return set(sa.inspect(connection).get_table_names())

    async with engine.begin() as connection:
        assert await connection.run_sync(take_back) == {VERSION_TABLE}


async def test_a_failing_upgrade_leaves_nothing_behind(url: str, engine: AsyncEngine) -> None:
    """Another application's table is in the way of the last one."""
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE tenuto_deployment (id INTEGER)"))
    store = make_store(url)
    with pytest.raises(SchemaError, match=r"deployment.* already exists.*of its own"):
        await store.upgrade()
    await store.close()
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: set(sa.inspect(sync).get_table_names()))
    assert tables == {"tenuto_deployment"}


async def test_alembics_own_command_finds_nothing_to_add(url: str) -> None:
    await upgrade(url)
    ini = Path(migrations().dir) / "alembic.ini"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "-c", str(ini), "-x", f"url={url}", "check"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"No new upgrade operations detected" in said
