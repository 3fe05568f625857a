"""A store is chosen by its URL; whatever cannot be used is said in one line, without the password."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy.dialects.postgresql.asyncpg

from tenuto.errors import SchemaError, SettingsError, StoreUnavailableError
from tenuto.store import make_store
from tenuto.store.postgres import PostgresStore
from tenuto.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite+aiosqlite:///tenuto.db", SqliteStore),
        ("sqlite:///:memory:", SqliteStore),
        ("sqlite+aiosqlite://", SqliteStore),
        ("postgresql+asyncpg://user:secret@host/db", PostgresStore),
        ("postgresql://user:secret@host:1/db?sslmode=require", PostgresStore),
    ],
)
async def test_the_scheme_names_the_store(url: str, kind: type) -> None:
    store = make_store(url)
    assert type(store) is kind
    assert "secret" not in repr(store)
    await store.close()
    await store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "malformed"),
        ("postgresql+asyncpg://user:secret@host:port/db", "malformed"),
        ("oracle://user:secret@host/db", "known: .*postgresql.*sqlite"),
        ("postgres://user:secret@host/db", "spell it postgresql"),
        ("postgresql+psycopg2://user:secret@host/db", r"postgresql\+asyncpg://"),
        ("postgresql+asyncpg://user:secret@host/db?pool=3", "pool.*known: ssl"),
        ("sqlite+pysqlite:///tenuto.db", r"sqlite\+aiosqlite://"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        make_store(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_schemas() -> None:
    with pytest.raises(SettingsError, match="no schemas"):
        make_store("sqlite:///:memory:", schema="orders")
    for name in ("Orders", 'a"b', "", "1st", "x" * 64):
        with pytest.raises(SettingsError, match="schema"):
            make_store("postgresql://host/db", schema=name)


def test_a_missing_driver_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_dialect: object) -> None:
        raise ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg")

    dialect = sqlalchemy.dialects.postgresql.asyncpg.PGDialect_asyncpg
    monkeypatch.setattr(dialect, "import_dbapi", classmethod(missing))
    with pytest.raises(SettingsError, match=r'asyncpg.*pip install "tenuto\[postgres\]"'):
        make_store("postgresql://host/db")


async def test_a_sqlite_file_is_made_by_upgrade_alone(tmp_path: Path) -> None:
    file = tmp_path / "tenuto.db"
    store = make_store(f"sqlite:///{file}")
    with pytest.raises(SchemaError, match=r"does not exist.*tenuto db upgrade"):
        await store.open()
    assert not file.exists()
    await store.upgrade()
    await store.open()
    await store.close()
    assert file.exists()


async def test_a_sqlite_file_in_a_folder_that_is_missing(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path / 'missing' / 'tenuto.db'}")
    with pytest.raises(SettingsError, match=f"no folder {tmp_path / 'missing'}"):
        await store.upgrade()
    await store.close()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are notes, and no database at all. " * 50)
    store = make_store(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailableError, match=r"notes\.txt.*not a database"):
        await store.open()
    await store.close()


async def test_a_server_that_does_not_answer(unused_tcp_port: int) -> None:
    store = make_store(
        f"postgresql://user:secret@127.0.0.1:{unused_tcp_port}/orders",
        connect_timeout=0.2,
        lease=timedelta(seconds=5),
    )
    for verb in (store.open, store.upgrade):
        with pytest.raises(StoreUnavailableError, match=f"'orders' at 127.0.0.1:{unused_tcp_port}") as caught:
            await verb()
        assert "secret" not in str(caught.value)
    await store.close()
