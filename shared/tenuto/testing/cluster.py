"""The whole engine within a test: real orchestrators, workers and database, which can be crashed and started again.

    async def test_the_card_is_charged_once() -> None:
        async with Cluster(app) as cluster:
            handle = await cluster.client.start(fulfil, order)
            await cluster.crash(at="worker.executed")      # the work is done, and nobody has been told
            await cluster.restart()
            await handle.result(timeout=30)
        assert len(charges) == 1

Mistakes in replay and in idempotency show only when something dies at a bad moment. Here that costs no process and no
server: services are cut off where they stand, and what they had not committed is lost, as after `kill -9`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from tenuto.app import App
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.client import Client
from tenuto.errors import UsageError
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto.store import make_store
from tenuto.store.protocol import Store
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker

__all__ = ["CRASH_POINTS", "Cluster"]

CRASH_POINTS = frozenset(
    {
        "batch.advanced",
        "commit.before",
        "commit.after",
        "claim.after",
        "worker.received",
        "worker.executed",
        "worker.answered",
    }
)
"""What `Cluster.crash` can wait for: a turn is taken, is about to be committed, is committed; a partition is claimed;
an activity has arrived, is done, is answered."""

_FAST: dict[str, Any] = {"lease": 1.0, "inbox_interval": 0.2, "partitions": 4, "replay_check": "always"}


class Cluster:
    """An embedded engine for tests, to be used with `async with`, from one event loop.

    Args:
        app: its workflows and activities; every pool that its activities name gets a worker.
        orchestrators: how many.
        settings: of the orchestrators, over settings that make time-outs short.
    """

    client: Client
    """A client, which lives through crashes."""

    def __init__(self, app: App, *, orchestrators: int = 1, **settings: Any) -> None:
        self._app = app
        self._count = orchestrators
        self._values = _FAST | settings
        self._server = MemoryServer()
        self._faults = _Trap()
        self._services: list[_Running] = []
        self._stack = AsyncExitStack()
        self._url = ""

    async def __aenter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tenuto-"))
        self._url = f"sqlite+aiosqlite:///{Path(folder) / 'cluster.db'}"
        store = self._store()
        self._stack.push_async_callback(store.close)
        await store.upgrade()
        await store.open()
        broker = MemoryBroker(self._server)
        self._stack.push_async_callback(broker.close)
        await broker.open()
        self.client = Client(ClientSettings(poll_interval=0.1), store=store, broker=broker, app=self._app)
        await self._stack.enter_async_context(self.client)
        self._stack.push_async_callback(self._stop)
        await self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def crash(self, *, at: str | None = None) -> None:
        """Cut everything off that runs: now or, with `at`, when something next gets to that point (see `CRASH_POINTS`).
        Nothing runs when it returns. The database and the broker's queues stay.

        Raises:
            UsageError: there is no such point, or nothing runs.
        """
        if not self._services:
            raise UsageError("Nothing runs that could crash: restart it first.")
        if at is not None:
            await self._faults.sprung(at)
        running, self._services = self._services, []
        for each in running:
            await each.abandon(self._server)
        self._faults.release()

    async def restart(self) -> None:
        """Start the orchestrators and workers again after a crash. What was under way goes on within about a second,
        when the lease of the dead ones is over.

        Raises:
            UsageError: they run.
        """
        if self._services:
            raise UsageError("The cluster runs: crash it first.")
        settings = OrchestratorSettings(**self._values)
        for _ in range(self._count):
            store, broker = self._store(), MemoryBroker(self._server)
            await store.open()
            await broker.open()
            orchestrator = Orchestrator(self._app, store, broker, settings, faults=self._faults)
            self._services.append(_Running(service=orchestrator, broker=broker, store=store))
            await orchestrator.start()
        for pool in sorted({activity.pool for activity in self._app.activities.values()}):
            broker = MemoryBroker(self._server)
            worker = Worker(
                self._app, broker, WorkerSettings(beat_interval=0.5), pool=pool, faults=self._faults
            )
            self._services.append(_Running(service=worker, broker=broker))
            await worker.start()

    async def _stop(self) -> None:
        running, self._services = self._services, []
        await _stop_all(running)

    def _store(self) -> Store:
        return make_store(self._url, lease=timedelta(seconds=self._values["lease"]))


@dataclass(frozen=True, kw_only=True)
class _Running:
    service: Orchestrator | Worker
    broker: MemoryBroker
    store: Store | None = None

    async def abandon(self, server: MemoryServer) -> None:
        await self.service.abandon()
        server.drop_connection(self.broker)
        await self._close()

    async def stop(self) -> None:
        await self.service.stop()
        await self._close()

    async def _close(self) -> None:
        await self.broker.close()
        if self.store is not None:
            await self.store.close()


async def _stop_all(running: Sequence[_Running]) -> None:
    for each in reversed(running):
        await each.stop()


class _Trap:
    """Holds whoever gets to the point that is waited for, so that it can be cut off there."""

    def __init__(self) -> None:
        self._point: str | None = None
        self._sprung = asyncio.Event()

    async def reach(self, point: str) -> None:
        if point == self._point:
            self._sprung.set()
            await asyncio.Event().wait()  # until it is cancelled

    async def sprung(self, point: str) -> None:
        if point not in CRASH_POINTS:
            raise UsageError(
                f"There is no point {point!r} to crash at; there are: {', '.join(sorted(CRASH_POINTS))}."
            )
        self._point = point
        await self._sprung.wait()

    def release(self) -> None:
        self._point = None
        self._sprung.clear()
