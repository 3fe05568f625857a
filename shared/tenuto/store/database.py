"""A database: its connections, and the little in which its SQL differs from another's.

The verbs of the store are written once, over this; `sqlite.py` and `postgres.py` bring one each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column, ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.errors import ConflictError, DataRefusedError, SchemaError, StoreError
from tenuto.store.bulk import BulkStyle, Rows
from tenuto.store.errors import translated
from tenuto.store.migrate import check_revision
from tenuto.store.schema import VERSION_TABLE

if TYPE_CHECKING:
    from tenuto.store.commits import Step

__all__ = ["ENGINE_OPTIONS", "AtOnce", "Database", "Work"]

ENGINE_OPTIONS: Mapping[str, Any] = {"hide_parameters": True}
"""Users' payloads do not show up in logs and tracebacks."""

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
AtOnce = Callable[[Sequence[tuple[int, int]], Sequence[Rows], timedelta], Awaitable[bool]]
"""Commits, given the partitions with their epochs, the rows of each step, and the lease. False: nothing is stored, and
the transaction must be tried, or must find out what is the matter."""

_DEFINITE = (ConflictError, DataRefusedError, SchemaError)


class Database(ABC):
    """Connections to one database."""

    where: str
    """Names it in messages, without any password."""
    style: BulkStyle
    schema: str | None = None
    """The schema that holds the tables, where it is not the database's default."""

    # Connections -------------------------------------------------------------------------------------

    @abstractmethod
    async def reach(self) -> None:
        """Wait until it answers."""

    @abstractmethod
    async def upgrade(self) -> None:
        """Run the migrations, one process at a time."""

    @abstractmethod
    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        """A lock over the whole deployment."""

    @abstractmethod
    async def close(self) -> None:
        """Release every connection; tolerates repeats."""

    @abstractmethod
    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for reading, on which each statement stands alone."""

    @abstractmethod
    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for writing, not yet in a transaction; what is not committed on leaving is rolled back."""

    @abstractmethod
    async def _abandon(self, connection: AsyncConnection) -> None:
        """Undo what a connection was doing when it was interrupted at an unknown point."""

    async def read(self, work: Work[T]) -> T:
        """Run queries."""
        with translated(self.where):
            async with self._reading() as connection:
                return await work(connection)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction and commit it.

        An error or a cancellation anywhere rolls back, unless it strikes during COMMIT, whose outcome is unknown then.
        """
        with translated(self.where):
            async with self._writing() as connection:
                try:
                    with translated(self.where):
                        result = await work(connection)
                except _DEFINITE:
                    raise
                except BaseException:
                    await self._abandon(connection)
                    raise
                try:
                    with translated(self.where, committing=True):
                        await connection.commit()
                except BaseException:
                    await self._abandon(connection)
                    raise
                return result

    async def end_stopped_owners(self, lease: timedelta, error: StoreError) -> bool:
        """After a claim that failed with `error`: end the sessions of orchestrators that stopped in the middle of a
        transaction, if that was the reason (rule O3). Whether there were any."""
        del lease, error
        return False

    async def check_schema(self) -> None:
        """Raises `SchemaError` unless the schema is this program's."""
        await self.reach()
        try:
            revision = await self.read(_revision)
        except SchemaError as error:
            raise SchemaError(
                f"{self.where} holds no Tenuto schema yet; run `tenuto db upgrade` to create it"
            ) from error
        check_revision(revision, self.where)

    def at_once(self, steps: Sequence[Step]) -> AtOnce | None:
        """A quicker way to commit the rows of these steps than by their statements, one after the other."""
        del steps
        return None

    # SQL -----------------------------------------------------------------------------------------------

    @abstractmethod
    def now(self) -> ColumnElement[datetime]:
        """The database's clock, as it goes on during a transaction."""

    @abstractmethod
    def after(self, delay: timedelta) -> ColumnElement[datetime]:
        """The database's clock and so much."""

    @abstractmethod
    def among(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """Whether the column's value is one of these, however many they are."""

    @abstractmethod
    def among_given(self, column: Column[Any]) -> ColumnElement[bool]:
        """As `among`, for a statement that is made once: the values come with each run, as `given` makes them."""

    @abstractmethod
    def given(self, values: Sequence[Any]) -> dict[str, Any]:
        """Values as the parameter of `among_given`."""


async def _revision(connection: AsyncConnection) -> str | None:
    # The name is ours and constant.
    result = await connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return result.scalar_one_or_none()
