"""The systems that an order touches: a warehouse, a payment provider, a carrier.

They are not part of the workflow. They keep their own books, in an SQLite file of their own, so what they did
stays done when one of our processes is killed. Like a real payment provider they take an idempotency key: a
request that comes a second time is answered as the first one was, and nothing is done again.
"""

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OutsideWorld", "Request"]

_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, order_id TEXT NOT NULL, what TEXT NOT NULL, key TEXT NOT NULL, process INTEGER
    NOT NULL
);
CREATE TABLE IF NOT EXISTS deeds (key TEXT PRIMARY KEY, reference TEXT NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the books have it."""

    what: str
    key: str
    process: int
    """The id of the process that asked."""


@dataclass(frozen=True, kw_only=True)
class OutsideWorld:
    """All the outside systems in one."""

    books: Path
    seconds: float = 0.2
    """How long an answer takes."""
    never_answers: str = ""
    """What it does without ever saying so, such as `charge`: the line goes dead."""

    @classmethod
    def from_environment(cls) -> "OutsideWorld":
        """The world that the variables `WORLD_BOOKS`, `WORLD_SECONDS` and `WORLD_NEVER_ANSWERS` describe."""
        return cls(
            books=Path(os.environ.get("WORLD_BOOKS", "outside_world.db")),
            seconds=float(os.environ.get("WORLD_SECONDS", "0.2")),
            never_answers=os.environ.get("WORLD_NEVER_ANSWERS", ""),
        )

    def ask(self, what: str, *, order_id: str, key: str) -> str:
        """Do something for an order, once per key, and answer with its reference."""
        with closing(self._open()) as books, books:
            books.execute(
                "INSERT INTO requests (order_id, what, key, process) VALUES (?, ?, ?, ?)",
                (order_id, what, key, os.getpid()),
            )
            count = books.execute("SELECT count(*) FROM deeds").fetchone()[0]
            books.execute(
                "INSERT OR IGNORE INTO deeds VALUES (?, ?)", (key, f"{what.split(maxsplit=1)[0]}-{count + 1}")
            )
            reference: str = books.execute("SELECT reference FROM deeds WHERE key = ?", (key,)).fetchone()[0]
        self._think(what)
        return reference

    def requests(self, order_id: str) -> list[Request]:
        """What was asked for an order, in order."""
        with closing(self._open()) as books:
            rows = books.execute(
                "SELECT what, key, process FROM requests WHERE order_id = ? ORDER BY number", (order_id,)
            ).fetchall()
        return [Request(what=what, key=key, process=process) for what, key, process in rows]

    def _open(self) -> sqlite3.Connection:
        books = sqlite3.connect(self.books, timeout=10)
        books.executescript(_TABLES)
        return books

    def _think(self, what: str) -> None:
        if self.never_answers and what.startswith(self.never_answers):
            while True:
                time.sleep(3600)
        time.sleep(self.seconds)
