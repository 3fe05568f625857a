"""The store on any SQL database that brings a `Database`."""

from __future__ import annotations

from tenuto.store.commits import Commits
from tenuto.store.database import Database
from tenuto.store.looking import Looking
from tenuto.store.outside import Outside
from tenuto.store.ownership import Ownership
from tenuto.store.payloads import Payloads
from tenuto.store.reading import Reading

__all__ = ["SqlStore"]


class SqlStore(Ownership, Reading, Commits, Outside, Looking):
    """All verbs of `Store`, over one database, which can keep large payloads too."""

    def __init__(self, database: Database) -> None:
        self._database = database
        Ownership.__init__(self, database)
        Reading.__init__(self, database)
        Commits.__init__(self, database)
        Outside.__init__(self, database)
        Looking.__init__(self, database)
        self.payloads = Payloads(database)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database.where}>"

    async def open(self) -> None:
        await self._database.check_schema()

    async def close(self) -> None:
        await self._database.close()

    async def upgrade(self) -> None:
        await self._database.upgrade()
