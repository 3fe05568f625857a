"""Finds the servers that tests need, and tells in plain words what to do about those that it does not find.

For RabbitMQ and for PostgreSQL each, in this order: the environment variable (`TENUTO_TEST_RABBITMQ_URL`,
`TENUTO_TEST_POSTGRES_URL`), a server at the standard local port, installed programs (started for this session on a free
port), a Docker engine. Servers that tests may kill are always of installed programs, and ours alone.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.docker import docker_answers, run_container
from tests.support.postgres import PostgresServer, find_postgres_programs, postgres_answers
from tests.support.processes import ProcessFailedError
from tests.support.rabbitmq import RabbitMQServer, find_rabbitmq_programs, rabbitmq_answers
from tests.support.reaper import Reaper

__all__ = [
    "POSTGRES_VARIABLE",
    "RABBITMQ_VARIABLE",
    "Found",
    "MissingServerError",
    "PrivatePostgres",
    "PrivateRabbitMQ",
    "find_postgres",
    "find_rabbitmq",
    "new_postgres",
    "new_rabbitmq",
]

RABBITMQ_VARIABLE = "TENUTO_TEST_RABBITMQ_URL"
POSTGRES_VARIABLE = "TENUTO_TEST_POSTGRES_URL"


class MissingServerError(Exception):
    """No server of a kind is to be had. The message says how to provide one."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A server that tests share."""

    url: str
    server: RabbitMQServer | PostgresServer | None = None
    """Ours, started for this session; None: somebody else's."""

    def close(self) -> None:
        """End the server if it is ours."""
        if self.server is not None:
            self.server.close()


def find_rabbitmq(reaper: Reaper) -> Found:
    """A RabbitMQ that tests share.

    Raises:
        MissingServerError: there is none, with the advice how to provide one.
    """
    given = _given(RABBITMQ_VARIABLE, rabbitmq_answers)
    if given is not None:
        return Found(url=given)
    standard = "amqp://guest:guest@127.0.0.1:5672/"
    if rabbitmq_answers(standard) is None:
        return Found(url=standard)
    if find_rabbitmq_programs() is not None:
        server = new_rabbitmq(reaper)
        server.launch()
        return Found(url=server.url, server=server)
    if docker_answers():
        url = "amqp://guest:guest@127.0.0.1:{port}/"
        return Found(url=run_container("rabbitmq:3.13", 5672, url, rabbitmq_answers, reaper, env={}))
    raise _missing("RabbitMQ", RABBITMQ_VARIABLE, "5672 (guest/guest)", "rabbitmq-server")


def find_postgres(reaper: Reaper) -> Found:
    """A PostgreSQL that tests share, as a user who may create databases.

    Raises:
        MissingServerError: there is none, with the advice how to provide one.
    """
    given = _given(POSTGRES_VARIABLE, postgres_answers)
    if given is not None:
        return Found(url=given)
    for user in ("postgres", getpass.getuser()):
        standard = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if postgres_answers(standard) is None:
            return Found(url=standard)
    if find_postgres_programs() is not None:
        server = new_postgres(reaper)
        server.launch()
        return Found(url=server.url, server=server)
    if docker_answers():
        url = "postgresql://postgres@127.0.0.1:{port}/postgres"
        env = {"POSTGRES_HOST_AUTH_METHOD": "trust"}
        return Found(url=run_container("postgres:17", 5432, url, postgres_answers, reaper, env=env))
    raise _missing("PostgreSQL", POSTGRES_VARIABLE, "5432 (user postgres, no password)", "postgresql")


def new_rabbitmq(reaper: Reaper) -> RabbitMQServer:
    """A RabbitMQ of our own, not started yet.

    Raises:
        MissingServerError: its programs are not installed.
    """
    programs = find_rabbitmq_programs()
    if programs is None:
        raise MissingServerError(
            "needs RabbitMQ's programs, to kill a server of its own: install `rabbitmq-server`"
        )
    return RabbitMQServer(programs, _server_folder("rabbitmq", reaper), reaper)


def new_postgres(reaper: Reaper) -> PostgresServer:
    """A PostgreSQL of our own, not started yet.

    Raises:
        MissingServerError: its programs are not installed.
    """
    programs = find_postgres_programs()
    if programs is None:
        raise MissingServerError(
            "needs PostgreSQL's programs, to kill a server of its own: install `postgresql`"
        )
    return PostgresServer(programs, _server_folder("postgres", reaper), reaper)


@dataclass(frozen=True, kw_only=True)
class _Private:
    """A server of the tests' own, which a test may stop, start and kill as it likes."""

    url: str

    def _server(self) -> RabbitMQServer | PostgresServer:
        raise NotImplementedError

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        await asyncio.to_thread(self._server().launch)

    async def stop(self) -> None:
        """Stop it in good order."""
        await asyncio.to_thread(self._server().shut_down)

    async def restart(self) -> None:
        """Stop it in good order, then start it on the same port with the same data."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """Kill it (SIGKILL); `start` brings it back on the same port with the same data."""
        await asyncio.to_thread(self._server().kill)


@dataclass(frozen=True, kw_only=True)
class PrivateRabbitMQ(_Private):
    """A RabbitMQ of the tests' own. The test that leaves it wiped or stopped does no harm to the next."""

    server: RabbitMQServer

    def _server(self) -> RabbitMQServer:
        return self.server

    async def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` with these arguments against it; returns the output."""
        return await asyncio.to_thread(self.server.control, *arguments)

    async def wipe(self) -> None:
        """Delete everything that it holds, as if it were new: queues, messages, users' connections."""
        await self.control("stop_app")
        await self.control("reset")
        await self.control("start_app")


@dataclass(frozen=True, kw_only=True)
class PrivatePostgres(_Private):
    """A PostgreSQL of the tests' own; `url` is that of a database that is fresh for the test."""

    server: PostgresServer

    def _server(self) -> PostgresServer:
        return self.server


def _given(variable: str, answers: Callable[[str], str | None]) -> str | None:
    url = os.environ.get(variable)
    if url is None:
        return None
    why = answers(url)
    if why is not None:
        raise ProcessFailedError(f"{variable} is set, but its server does not serve us: {why}")
    return url


def _missing(name: str, variable: str, port: str, package: str) -> MissingServerError:
    return MissingServerError(
        f"needs {name}: set {variable}, or run one at 127.0.0.1:{port}, or install `{package}`, or start Docker"
    )


def _server_folder(name: str, reaper: Reaper) -> Path:
    """A folder for a server's data that another account can reach too."""
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 -- made by mkdtemp
        if all(folder.stat().st_mode & 0o001 for folder in (parent, *parent.parents)):
            folder = Path(tempfile.mkdtemp(prefix=f"tenuto-{name}-", dir=parent))
            reaper.folder(folder)
            return folder
    raise ProcessFailedError("no temporary folder is open to other accounts")
