"""Statements over many rows at once, without a limit on their number.

Each is written once, in terms of the rows that it is given (`Given`): their columns are an `unnest` of one array per
column on PostgreSQL, so the whole is a single statement in a single round trip, and parameters of an `executemany` on
SQLite. Ten thousand rows are as welcome as one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Delete,
    FromClause,
    Table,
    Update,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.store.column_types import AnyType

__all__ = ["ArrayStyle", "Bulk", "BulkStyle", "Given", "Insertion", "ManyStyle", "Rows"]

Rows: TypeAlias = Sequence[tuple[Any, ...]]
Given: TypeAlias = Mapping[str, ColumnElement[Any]]
_Insert: TypeAlias = postgresql.Insert | sqlite.Insert


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """A statement that is run with any number of rows."""

    style: BulkStyle
    statement: _Insert | Update | Delete
    names: tuple[str, ...]
    """The fields of a row, in order."""

    async def run(self, connection: AsyncConnection, rows: Rows) -> int:
        """Run it with these rows and tell how many of the table's were touched. Without rows nothing is sent."""
        if not rows:
            return 0
        result = await connection.execute(self.statement, self.style.parameters(self.names, rows))
        return result.rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """What to insert. Rows whose key is there are left out, and out of the count."""

    table: Table
    names: tuple[str, ...]
    update: tuple[str, ...] = ()
    """Instead of being left out, rows whose key is there get these columns anew."""
    constants: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    """Columns that have the same value in every row, such as the time by the database's clock."""

    def settle(self, insert: _Insert) -> _Insert:
        """The statement with its rule for rows whose key is there."""
        if not self.update:
            return insert.on_conflict_do_nothing()
        return insert.on_conflict_do_update(
            index_elements=list(self.table.primary_key),
            set_={name: insert.excluded[name] for name in self.update},
        )


class BulkStyle(ABC):
    """How a database takes many rows in one go."""

    def change(self, fields: Mapping[str, AnyType], build: Callable[[Given], Update | Delete]) -> Bulk:
        """A bulk update or delete: `build` writes the statement in terms of the given rows' fields."""
        return Bulk(style=self, statement=build(self._given(fields)), names=tuple(fields))

    @abstractmethod
    def insert(self, insertion: Insertion) -> Bulk:
        """A bulk insert."""

    @abstractmethod
    async def insert_new(
        self, bulk: Bulk, connection: AsyncConnection, rows: Rows, key: Table
    ) -> frozenset[Any]:
        """Run an insert, and tell the primary keys, as tuples, of the rows that were not left out."""

    @abstractmethod
    def parameters(self, names: tuple[str, ...], rows: Rows) -> Any:
        """The rows as the statement's parameters."""

    @abstractmethod
    def _given(self, fields: Mapping[str, AnyType]) -> Given: ...


class ArrayStyle(BulkStyle):
    """PostgreSQL: an array per column, unnested."""

    def insert(self, insertion: Insertion) -> Bulk:
        table, names = insertion.table, insertion.names
        rows = _unnest({name: table.c[name].type for name in names})
        insert = postgresql.insert(table).from_select(
            [*names, *insertion.constants], select(*rows.c, *insertion.constants.values())
        )
        return Bulk(style=self, statement=insertion.settle(insert), names=names)

    async def insert_new(
        self, bulk: Bulk, connection: AsyncConnection, rows: Rows, key: Table
    ) -> frozenset[Any]:
        if not rows:
            return frozenset()
        statement = bulk.statement.returning(*key.primary_key)
        result = await connection.execute(statement, self.parameters(bulk.names, rows))
        return frozenset(tuple(row) for row in result)

    def parameters(self, names: tuple[str, ...], rows: Rows) -> Any:
        columns = zip(*rows, strict=True)
        return {f"given_{name}": list(values) for name, values in zip(names, columns, strict=True)}

    def _given(self, fields: Mapping[str, AnyType]) -> Given:
        return dict(_unnest(fields).c.items())


class ManyStyle(BulkStyle):
    """SQLite: the statement prepared once and run once per row, by the driver's `executemany`."""

    def insert(self, insertion: Insertion) -> Bulk:
        table, names = insertion.table, insertion.names
        given = self._given({name: table.c[name].type for name in names})
        insert = sqlite.insert(table).values({**given, **insertion.constants})
        return Bulk(style=self, statement=insertion.settle(insert), names=names)

    async def insert_new(
        self, bulk: Bulk, connection: AsyncConnection, rows: Rows, key: Table
    ) -> frozenset[Any]:
        names = [one.name for one in key.primary_key]
        places = [bulk.names.index(name) for name in names]
        # `executemany` cannot tell which; there is no network in between that would make single statements dear.
        return frozenset(
            [tuple(row[place] for place in places) for row in rows if await bulk.run(connection, [row])]
        )

    def parameters(self, names: tuple[str, ...], rows: Rows) -> Any:
        given = [f"given_{name}" for name in names]
        return [dict(zip(given, row, strict=True)) for row in rows]

    def _given(self, fields: Mapping[str, AnyType]) -> Given:
        return {name: bindparam(f"given_{name}", type_=type_) for name, type_ in fields.items()}


def _unnest(fields: Mapping[str, AnyType]) -> FromClause:
    arrays = [bindparam(f"given_{name}", type_=ARRAY(type_)) for name, type_ in fields.items()]
    columns = [column(name, type_) for name, type_ in fields.items()]
    return func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
