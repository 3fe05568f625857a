"""Drivers' errors become the store's: only what is definitely a refusal of data is called one (rules C3, C6)."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tenuto.errors import (
    ConflictError,
    DataRefusedError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from tenuto.store import insert_letters, make_store
from tenuto.store.errors import sqlstate_of, translated
from tenuto.store.protocol import InstanceFilter
from tenuto.testing.store_contract.base import letter


class ServerError(Exception):
    """What PostgreSQL's drivers raise: it has an SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("what the server said\nDETAIL: more")
        self.sqlstate = sqlstate


def wrapped(error: Exception) -> Exception:
    return DBAPIError("SELECT :secret", {"secret": "hunter2"}, error, hide_parameters=True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped(ServerError("22021")), DataRefusedError),
        (wrapped(ServerError("23505")), DataRefusedError),
        (wrapped(ServerError("54000")), DataRefusedError),
        (wrapped(ServerError("40P01")), StoreUnavailableError),
        (wrapped(ServerError("40001")), StoreUnavailableError),
        (wrapped(ServerError("55P03")), StoreUnavailableError),
        (wrapped(ServerError("57014")), StoreUnavailableError),
        (wrapped(ServerError("57P01")), StoreUnavailableError),
        (wrapped(ServerError("53300")), StoreUnavailableError),
        (wrapped(ServerError("42P01")), SchemaError),
        (wrapped(ServerError("42P07")), SchemaError),
        (wrapped(sqlite3.OperationalError("no such table: inbox")), SchemaError),
        (wrapped(sqlite3.OperationalError("database is locked")), StoreUnavailableError),
        (wrapped(sqlite3.OperationalError("database or disk is full")), StoreUnavailableError),
        (PoolTimeoutError("QueuePool limit reached"), StoreUnavailableError),
        (ConnectionRefusedError("nobody listens"), StoreUnavailableError),
        (TimeoutError(), StoreUnavailableError),
        (OverflowError("Python int too large"), DataRefusedError),
    ],
    ids=lambda value: sqlstate_of(value) if isinstance(value, Exception) else None,
)
def test_translation(error: Exception, kind: type[StoreError]) -> None:
    with pytest.raises(kind) as caught, translated("the database"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
    said = str(caught.value)
    assert "the database" in said
    assert "\n" not in said
    assert "hunter2" not in said
    assert "SELECT" not in said


@pytest.mark.parametrize("state", ["23505", "22021", "42P01", "40001", "57P01"])
def test_nothing_at_commit_is_a_refusal(state: str) -> None:
    with (
        pytest.raises(StoreUnavailableError, match="outcome of a commit is unknown"),
        translated("the database", committing=True),
    ):
        raise wrapped(ServerError(state))


@pytest.mark.parametrize("error", [KeyError("a bug"), ConflictError("ours"), UsageError("ours too")])
def test_what_is_no_drivers_error_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated("the database"):
        raise error
    assert caught.value is error


def test_errors_that_name_each_other_in_a_circle() -> None:
    one, other = OSError("one"), ServerError("57P01")
    one.__cause__, other.__cause__ = other, one
    assert sqlstate_of(one) == "57P01"


async def test_a_time_without_a_zone_is_refused() -> None:
    store = make_store("sqlite:///:memory:")
    await store.upgrade()
    naive = datetime(2026, 11, 20)  # noqa: DTZ001 - what is tested
    with pytest.raises(DataRefusedError, match="time zone"):
        await store.find(InstanceFilter(created_after=naive), limit=1)
    await store.close()


def test_a_users_connection_to_a_database_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine("sqlite://")
    monkeypatch.setattr(engine.dialect, "name", "oracle")
    with engine.connect() as connection, pytest.raises(UsageError, match="oracle"):
        insert_letters(connection, [letter("a")])
    engine.dispose()
