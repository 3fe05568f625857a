"""The store: the database that holds the truth, behind the protocol of `tenuto.store.protocol`.

A store is chosen by the URL of its database, from the entry points of the group `tenuto.stores`:
`sqlite+aiosqlite:///orders.db`, `sqlite+aiosqlite:///:memory:`, `postgresql+asyncpg://user:password@host/database`.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import entry_points
from typing import Protocol

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tenuto.errors import SettingsError
from tenuto.store.letters import UsersConnection, insert_letters
from tenuto.store.protocol import Store

__all__ = ["Store", "StoreFactory", "UsersConnection", "insert_letters", "make_store"]

GROUP = "tenuto.stores"
"""The entry points by which stores are found: named after the database in the URL, loading a `StoreFactory`."""


class StoreFactory(Protocol):
    """What an entry point of the group `tenuto.stores` loads, such as a store's class."""

    def __call__(
        self, url: URL, *, schema: str | None, lease: timedelta | None, connect_timeout: float
    ) -> Store: ...


def make_store(
    url: str,
    *,
    schema: str | None = None,
    lease: timedelta | None = None,
    connect_timeout: float = 30.0,
) -> Store:
    """The store for a database URL; not opened yet, so nothing is connected.

    Args:
        url: SQLAlchemy's kind of URL; without a driver, the one that Tenuto uses.
        schema: the schema of the database that holds the tables; by default the database's own default.
        lease: given by orchestrators, whose sessions must not hold locks for longer than their lease (rule O3).
        connect_timeout: seconds that `open` and `upgrade` wait for a database that is still starting.

    Raises:
        SettingsError: the URL is malformed, nobody serves its scheme, or the driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL is not shown: a malformed one may hold a password where nobody expects it.
        raise SettingsError(
            "the database URL is malformed; it should look like "
            "sqlite+aiosqlite:///tenuto.db or postgresql+asyncpg://user:password@host:5432/database"
        ) from error
    return _factory(parsed)(parsed, schema=schema, lease=lease, connect_timeout=connect_timeout)


def _factory(url: URL) -> StoreFactory:
    backend = url.get_backend_name()
    found = entry_points(group=GROUP)
    for point in found.select(name=backend):
        factory: StoreFactory = point.load()
        return factory
    known = ", ".join(sorted(found.names)) or "none is installed"
    hint = "; spell it postgresql" if backend == "postgres" else ""
    raise SettingsError(f"no store is known for {backend!r} databases (known: {known}){hint}")
