"""Letters in a user's own transaction: a workflow starts if and only if that commits (rule I2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, scoped_session

from tenuto.errors import UsageError
from tenuto.store.errors import translated
from tenuto.store.protocol import InboxRow
from tenuto.store.rows import INBOX_COLUMNS, inbox_values
from tenuto.store.schema import inbox

__all__ = ["UsersConnection", "insert_letters"]

UsersConnection: TypeAlias = Connection | Session | scoped_session[Session]
"""A user's own connection or session, synchronous, of whatever driver."""


def insert_letters(
    connection: UsersConnection, rows: Sequence[InboxRow], *, schema: str | None = None
) -> None:
    """Insert letters in the transaction that a user's own synchronous connection or session is in (rule I2).

    Letters whose id is there are ignored. Nothing is committed.

    Args:
        connection: the user's own, on the database that holds Tenuto's tables.
        rows: the letters.
        schema: the schema that holds Tenuto's tables, where it is not on the connection's search path.

    Raises:
        UsageError: this is no SQLAlchemy connection or session, or one of a database that Tenuto does not run on.
        DataRefusedError: the database refuses a value; on PostgreSQL the user's transaction is then to be rolled back.
        StoreUnavailableError: the database cannot be reached.
    """
    if not isinstance(connection, Connection | Session | scoped_session):
        raise UsageError(
            "connection= takes an SQLAlchemy Connection, Session, AsyncConnection or AsyncSession, "
            f"not {type(connection).__name__}"
        )
    if not rows:
        return
    with translated("the database of the given connection"):
        inner = connection if isinstance(connection, Connection) else connection.connection()
        values: list[dict[str, Any]] = [
            dict(zip(INBOX_COLUMNS, inbox_values(row), strict=True)) for row in rows
        ]
        options: dict[str, Any] = {"schema_translate_map": {None: schema}} if schema else {}
        inner.execute(_insert(inner.dialect.name), values, execution_options=options)


def _insert(dialect: str) -> Insert:
    match dialect:
        case "postgresql":
            return postgresql.insert(inbox).on_conflict_do_nothing()
        case "sqlite":
            return sqlite.insert(inbox).on_conflict_do_nothing()
        case _:
            raise UsageError(f"connection= is on {dialect}; letters go into Tenuto's own database")
