"""Column types that behave alike on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Dialect, FunctionElement, LargeBinary, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["AnyText", "AnyType", "InsertedAt", "Key", "UtcTime"]

AnyType: TypeAlias = TypeEngine[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def Key() -> TypeEngine[str]:  # noqa: N802 - a column type, spelt like its neighbours
    """Text that is compared and sorted by code point, on every database and in every locale.

    Listings page by `(created_at, id)` and search by prefix; both need one order, and an index in that order.
    """
    return Text().with_variant(Text(collation="C"), "postgresql")


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC, to the microsecond: `timestamptz`, or microseconds since 1970 where there is none."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> AnyType:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone cannot be stored: {value!r}")
        return value if dialect.name == "postgresql" else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return _EPOCH + timedelta(microseconds=value)


class InsertedAt(FunctionElement[datetime]):
    """The default of a `UtcTime` column that says when its row was inserted, by the database's clock."""

    type = UtcTime()
    inherit_cache = True


@compiles(InsertedAt, "postgresql")
def _inserted_at_postgresql(_element: InsertedAt, _compiler: SQLCompiler, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(InsertedAt, "sqlite")
def _inserted_at_sqlite(_element: InsertedAt, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))"


class AnyText(TypeDecorator[str]):
    """Text of which a database may refuse no character: NUL and lone surrogates too, which exceptions' texts can hold.

    Kept as bytes (UTF-8, surrogates passed), because PostgreSQL takes neither in `text`.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else bytes(value).decode("utf-8", "surrogatepass")
