"""What drivers raise, as what the store promises. This is the only place that looks into a driver's errors.

Only a definite refusal, raised by a statement before COMMIT was sent, becomes `DataRefusedError` (rule C6). Whatever
might have been stored after all is `StoreUnavailableError` (rule C3), deadlocks and timeouts included: nobody may take
them for a refusal of data.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tenuto.errors import DataRefusedError, SchemaError, StoreError, StoreUnavailableError

__all__ = ["sqlstate_of", "translated"]

_REFUSING_CLASSES = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE: data exception, integrity constraint violation, program limit exceeded."""

_SCHEMA_STATES = frozenset({"3F000", "42P01", "42703", "42804"})
"""SQLSTATEs: no such schema, table, column; another type than expected."""

_TAKEN_STATES = frozenset({"42P07"})
"""SQLSTATE: there is such a table already."""

_SQLITE_TAKEN_TEXTS = ("already exists",)
_SQLITE_SCHEMA_TEXTS = ("no such table", "no such column", "has no column named")

_FOREIGN = (SQLAlchemyError, OSError, sqlite3.Error, UnicodeError, OverflowError)
"""What a driver, or SQLAlchemy, raises of its own; asyncpg's are known by their module, for it may not be installed."""


@contextmanager
def translated(where: str, *, committing: bool = False) -> Iterator[None]:
    """Turn a driver's errors into the store's; others pass.

    Args:
        where: names the database, without any password.
        committing: COMMIT was sent, so that no error can be taken for a refusal.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if not _is_foreign(error):
            raise
        raise _translate(error, where, committing=committing) from error


def sqlstate_of(error: BaseException) -> str | None:
    """The five letters by which PostgreSQL names an error, if it was PostgreSQL's."""
    for cause in _causes(error):
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def _is_foreign(error: Exception) -> bool:
    return isinstance(error, _FOREIGN) or type(error).__module__.partition(".")[0] == "asyncpg"


def _translate(error: Exception, where: str, *, committing: bool) -> StoreError:
    said = _said(error)
    if committing:
        return StoreUnavailableError(f"{where}: the outcome of a commit is unknown: {said}")
    if _tells(error, _TAKEN_STATES, _SQLITE_TAKEN_TEXTS):
        return SchemaError(
            f"{where}: something that is not Tenuto's is in the way ({said}); give Tenuto a database, or on "
            "PostgreSQL a schema, of its own"
        )
    if _tells(error, _SCHEMA_STATES, _SQLITE_SCHEMA_TEXTS):
        return SchemaError(
            f"{where}: the schema does not fit this program ({said}); run `tenuto db upgrade` to create or migrate it"
        )
    if _is_refusal(error):
        return DataRefusedError(f"{where} refused the data: {said}")
    if isinstance(error, PoolTimeoutError):
        return StoreUnavailableError(f"{where}: no connection became free in time: {said}")
    return StoreUnavailableError(f"{where} is not available: {said}")


def _tells(error: Exception, states: frozenset[str], sqlite_texts: tuple[str, ...]) -> bool:
    """Whether the error has one of these SQLSTATEs or, SQLite having no such codes, says one of these texts."""
    state = sqlstate_of(error)
    if state is not None:
        return state in states
    return any(
        isinstance(cause, sqlite3.OperationalError) and any(text in str(cause) for text in sqlite_texts)
        for cause in _causes(error)
    )


def _is_refusal(error: Exception) -> bool:
    state = sqlstate_of(error)
    if state is not None:
        return state[:2] in _REFUSING_CLASSES
    if isinstance(error, IntegrityError | DataError):
        return True
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return True  # a value that could not even be bound
    # Values that cannot be encoded: asyncpg and sqlite3 raise these, or errors derived from them.
    return any(isinstance(cause, ValueError | OverflowError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what SQLAlchemy wrapped, and what they came from."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [
            other
            for other in (cause.__cause__, getattr(cause, "orig", None))
            if isinstance(other, BaseException)
        ]


def _said(error: BaseException) -> str:
    """What the driver said, on one line, without the statement and its parameters."""
    inner = getattr(error, "orig", None) or error
    text = " ".join(str(inner).split())
    return f"{type(inner).__name__}: {text}" if text else type(inner).__name__
