"""Where a benchmark runs: in this process, in processes of its own, or in a deployment that is there already."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url
from yarl import URL

from tenuto import Client
from tenuto.broker import make_broker
from tenuto.errors import UsageError
from tenuto.naming import Names
from tenuto.settings import ClientSettings, OrchestratorSettings, Settings, WorkerSettings
from tenuto.store import make_store
from tenuto_gateway.bench.program import app
from tenuto_gateway.bench.scratch import Scratch, scratch
from tenuto_gateway.dev import DevServer

__all__ = ["Place", "Processes", "attached", "embedded", "spawned"]

_TARGET: Final = "tenuto_gateway.bench.program:app"
_PATIENCE: Final = 60.0
"""Seconds that a process has to come up."""
_FAREWELL: Final = 15.0
"""Seconds that a process has to leave."""
_LOCAL: Final = frozenset({None, "", "localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How many of each kind are started."""

    orchestrators: int = 1
    workers: int = 1


async def _unknown() -> int | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A running deployment of the program."""

    kind: str
    client: Client
    processes: Mapping[str, int]
    """Process ids by name; only those that are known here."""
    servers: frozenset[str] = frozenset()
    """Which of `rabbitmq` and `postgresql` it uses on this machine."""
    disk: Callable[[], Awaitable[int | None]] = _unknown


@asynccontextmanager
async def embedded(orchestrator: OrchestratorSettings, worker: WorkerSettings) -> AsyncIterator[Place]:
    """All in this process, with the in-process broker."""
    async with scratch(orchestrator.database_url) as room:
        server = DevServer(app, _moved(orchestrator, room), worker, ClientSettings())
        try:
            await server.start()
            async with server.client() as client:
                yield Place(
                    kind="embedded",
                    client=client,
                    processes={"embedded": os.getpid()},
                    servers=_servers(orchestrator),
                    disk=room.size,
                )
        finally:
            await server.stop()


@asynccontextmanager
async def attached(settings: ClientSettings) -> AsyncIterator[Place]:
    """A deployment that serves the program already."""
    async with Client(settings) as client:
        yield Place(
            kind="attached",
            client=client,
            processes={"driver": os.getpid()},
            servers=_servers(settings),
        )


@asynccontextmanager
async def spawned(
    orchestrator: OrchestratorSettings, worker: WorkerSettings, processes: Processes
) -> AsyncIterator[Place]:
    """Orchestrators and workers in processes of their own, over a broker and a database that others may be using:
    queues and tables have names of their own, and are gone afterwards."""
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(scratch(orchestrator.database_url))
        namespace = f"bench-{uuid.uuid4().hex[:12]}"
        orchestrator = _moved(orchestrator, room).model_copy(update={"namespace": namespace})
        await _upgrade(orchestrator)
        stack.push_async_callback(_clear, orchestrator)
        log = stack.enter_context(tempfile.TemporaryDirectory(prefix="tenuto-bench-log-"))
        ids = {"driver": os.getpid()}
        kinds = [
            *_named("orchestrator", orchestrator, processes.orchestrators),
            *_named("worker", worker.model_copy(update=_place(orchestrator)), processes.workers),
        ]
        children = []
        for name, service, settings in kinds:
            child = _Child(name, service, settings, Path(log) / name)
            stack.push_async_callback(child.stop)
            await child.start()
            ids[name] = child.pid
            children.append(child)
        await asyncio.gather(*(child.up() for child in children))
        client = await stack.enter_async_context(Client(ClientSettings(**_place(orchestrator))))
        yield Place(
            kind="processes",
            client=client,
            processes=ids,
            servers=_servers(orchestrator),
            disk=room.size,
        )


class _Child:
    """A process of the benchmark's."""

    def __init__(self, name: str, service: str, settings: Settings, log: Path) -> None:
        self._name = name
        self._service = service
        self._settings = settings
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - asked after `start`
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tenuto_gateway.cli", self._service, _TARGET),
                stdout=log,
                stderr=log,
                env=_environment(self._settings),
            )

    async def up(self) -> None:
        """Wait until it says that it is up.

        Raises:
            UsageError: it ended, or did not come up in time.
        """
        assert self._process is not None  # noqa: S101 - called after `start`
        try:
            async with asyncio.timeout(_PATIENCE):
                while " is up" not in self._said():
                    if self._process.returncode is not None:
                        raise UsageError(
                            f"the {self._name} of the benchmark ended at once: {self._said()[-2000:]}"
                        )
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise UsageError(
                f"the {self._name} of the benchmark does not come up: {self._said()[-2000:]}"
            ) from None

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _FAREWELL)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def _named(service: str, settings: Settings, count: int) -> list[tuple[str, str, Settings]]:
    return [(service if count == 1 else f"{service}-{n}", service, settings) for n in range(1, count + 1)]


def _moved(settings: OrchestratorSettings, room: Scratch) -> OrchestratorSettings:
    return settings.model_copy(update={"database_url": room.url, "database_schema": room.schema})


def _place(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(
        include={"database_url", "database_schema", "broker_url", "namespace", "layout"}, exclude_none=True
    )


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as variables; those of this process are not inherited twice."""
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith("TENUTO_")}
    values = settings.model_dump(exclude_none=True)
    return others | {f"TENUTO_{name.upper()}": str(value) for name, value in values.items()}


async def _upgrade(settings: OrchestratorSettings) -> None:
    store = make_store(settings.database_url, schema=settings.database_schema)
    try:
        await store.upgrade()
    finally:
        await store.close()


async def _clear(settings: OrchestratorSettings) -> None:
    """Delete the queues."""
    store = make_store(settings.database_url, schema=settings.database_schema)
    try:
        await store.open()
        deployment = await store.deployment()
    finally:
        await store.close()
    names = Names(settings.namespace, settings.layout)
    queues = [names.start, names.start_dead, names.dead, names.activities("default")]
    if deployment is not None:
        queues += [*map(names.turns, range(deployment.partitions)), names.marker(deployment.broker_token)]
    broker = make_broker(settings.broker_url, name=f"{settings.namespace} bench")
    try:
        await broker.open()
        for queue in queues:
            await broker.delete(queue)
    finally:
        await broker.close()


def _servers(settings: Settings) -> frozenset[str]:
    """Which servers the settings name on this machine."""
    database, broker = make_url(settings.database_url), URL(settings.broker_url)
    found = {
        "postgresql": database.get_backend_name() == "postgresql" and database.host in _LOCAL,
        "rabbitmq": broker.scheme.startswith("amqp") and broker.host in _LOCAL,
    }
    return frozenset(name for name, is_here in found.items() if is_here)
