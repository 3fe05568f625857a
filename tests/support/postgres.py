"""A PostgreSQL server of the tests' own, from installed programs, and databases for single tests."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from tests.support.processes import Account, OwnedProcess, ProcessFailedError, free_port
from tests.support.reaper import Reaper

__all__ = ["PostgresServer", "create_database", "drop_database", "find_postgres_programs", "postgres_answers"]

_START = 60.0
_GRACE = 30.0


def find_postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`; the newest of those that Debian installs outside of the PATH."""
    debian = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda folder: int(folder.parent.name) if folder.parent.name.isdecimal() else 0,
    )
    if debian:
        return debian[-1]
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def postgres_answers(url: str) -> str | None:
    """None when a server takes our connection and lets us create databases; else why not, in words."""
    try:
        with _connect(url) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        return str(error).strip()
    return None if row is not None and row[0] else "its user may not create databases"


def create_database(server_url: str) -> str:
    """Create an empty database; returns its URL for SQLAlchemy with asyncpg."""
    name = f"tenuto_test_{secrets.token_hex(6)}"
    with _connect(server_url) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return (
        make_url(server_url)
        .set(drivername="postgresql+asyncpg", database=name)
        .render_as_string(hide_password=False)
    )


def drop_database(url: str) -> None:
    """Drop a database that `create_database` made, whoever is still connected to it."""
    parsed = make_url(url)
    assert parsed.database is not None
    with _connect(str(parsed.set(database="postgres").render_as_string(hide_password=False))) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(parsed.database))
        )


def _connect(url: str) -> psycopg.Connection:
    plain: URL = make_url(url).set(drivername="postgresql")
    if plain.database is None:
        plain = plain.set(database="postgres")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True, connect_timeout=5)


class PostgresServer:
    """A server on a free port, with its own data folder. Commits are synchronous and flushed, as in production."""

    name = "PostgreSQL"

    def __init__(self, programs: Path, folder: Path, reaper: Reaper) -> None:
        self._programs = programs
        self._folder = folder
        self._reaper = reaper
        self._port = free_port()
        self._account = Account.unprivileged("postgres", "nobody")
        self._process: OwnedProcess | None = None
        self._initialise()

    @property
    def url(self) -> str:
        """The server's own database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def log(self) -> Path:
        return self._folder / "postgres.log"

    def launch(self) -> None:
        """Start the server and wait until it takes connections. Tolerates repeats."""
        if self.running:
            return
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
        }
        self._process = OwnedProcess(
            [
                str(self._programs / "postgres"),
                "-D",
                str(self._data),
                "-p",
                str(self._port),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self.log,
            env=_environment(),
            cwd=self._folder,
            account=self._account,
            reaper=self._reaper,
        )
        self._process.until_ready(lambda: postgres_answers(self.url) is None, timeout=_START)

    def shut_down(self) -> None:
        """Stop the server in good order, breaking the connections that it has. Tolerates repeats."""
        if self._process is not None and self._process.running:
            self._process.send(signal.SIGINT)
            self._process.end(grace=_GRACE)

    def kill(self) -> None:
        """Kill the server and all its backends at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End everything that belongs to the server."""
        self.kill()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        """Make the data folder. The server refuses to run as root, so there the folder belongs to another account."""
        if self._account is not None:
            os.chown(self._folder, self._account.user, self._account.group)
        command = [str(self._programs / "initdb"), "--pgdata", str(self._data), "--username", "postgres"]
        command += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        done = subprocess.run(
            command,
            env=_environment(),
            cwd=self._folder,
            check=False,
            capture_output=True,
            text=True,
            **(
                {}
                if self._account is None
                else {"user": self._account.user, "group": self._account.group, "extra_groups": []}
            ),
        )
        if done.returncode != 0:
            raise ProcessFailedError(f"initdb failed: {done.stderr or done.stdout}")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
