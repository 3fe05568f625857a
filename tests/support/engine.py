"""The whole engine in the test's own process, on the embedded set-up or on real servers.

Services here can be *killed*: their tasks are cancelled and their connections dropped, with nothing handed over. What a
real `kill -9` does to processes is tested in `tests/acceptance`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from tenuto import App, Client
from tenuto.broker import BrokerOptions, make_broker
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.protocol import Broker
from tenuto.core.status import Status
from tenuto.faults import NO_FAULTS, Faults
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.naming import Names
from tenuto.payload_store import PayloadStore
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto.store import make_store
from tenuto.store.protocol import InstanceRecord, Store
from tenuto.tracing import Tracing
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker

T = TypeVar("T")

FAST: dict[str, Any] = {
    "lease": 2.0,
    "inbox_interval": 0.2,
    "stall_grace": 0.2,
    "beat_life": 1.0,
    "partitions": 4,
    "replay_check": "always",
}
"""Settings that make time-outs short, for tests that wait for them."""


async def until(reached: Callable[[], Awaitable[T | bool | None]], *, seconds: float = 20.0) -> T:
    """Poll until something true comes back, and return it."""
    async with asyncio.timeout(seconds):
        while True:
            found = await reached()
            if found:
                return found  # type: ignore[return-value]
            await asyncio.sleep(0.01)


@dataclass
class Place:
    """Where an engine lives: its database, its broker, its names."""

    database_url: str
    broker_url: str
    namespace: str
    server: MemoryServer | None = None
    """The in-process broker, where it is one."""

    def broker(self, name: str, *, max_message_bytes: int = 16 * 1024 * 1024) -> Broker:
        if self.server is not None:
            return MemoryBroker(self.server, options=BrokerOptions(max_message_bytes=max_message_bytes))
        return make_broker(self.broker_url, name=name, max_message_bytes=max_message_bytes)


@dataclass
class Engine:
    """An app, and the services that run it."""

    app: App
    place: Place
    stack: AsyncExitStack
    store: Store
    client: Client
    settings: dict[str, Any] = field(default_factory=dict)

    async def orchestrator(
        self,
        app: App | None = None,
        *,
        store: Store | None = None,
        broker: Broker | None = None,
        faults: Faults = NO_FAULTS,
        objects: PayloadStore | None = None,
        tracing: Tracing | None = None,
        recorder: Recorder = NO_RECORDER,
        **settings: Any,
    ) -> Running:
        """Start another orchestrator, with a store and a broker connection of its own."""
        values = FAST | self.settings | settings | {"namespace": self.place.namespace}
        made = OrchestratorSettings(**values)
        own_store = store if store is not None else self._store(made.lease)
        own_broker = broker if broker is not None else self.place.broker("orchestrator")
        await own_store.open()
        await own_broker.open()
        service = Orchestrator(
            app or self.app,
            own_store,
            own_broker,
            made,
            faults=faults,
            payload_store=objects,
            tracing=tracing,
            recorder=recorder,
        )
        close = own_store.close if own_store is not self.store else _nothing
        return await self._start(service, own_broker, close)

    async def worker(
        self,
        pool: str = "default",
        *,
        app: App | None = None,
        broker: Broker | None = None,
        tracing: Tracing | None = None,
        recorder: Recorder = NO_RECORDER,
        **settings: Any,
    ) -> Running:
        own_broker = broker if broker is not None else self.place.broker("worker")
        await own_broker.open()
        values = {"beat_interval": 0.5, "grace": 5.0} | settings
        made = WorkerSettings(pool=pool, namespace=self.place.namespace, **values)
        return await self._start(
            Worker(app or self.app, own_broker, made, tracing=tracing, recorder=recorder),
            own_broker,
            _nothing,
        )

    async def record(self, instance: str) -> InstanceRecord:
        return (await self.store.instances([instance]))[instance]

    async def status(self, instance: str, *expected: Status, seconds: float = 20.0) -> InstanceRecord:
        """Wait until the instance has one of these statuses."""

        async def reached() -> InstanceRecord | None:
            record = (await self.store.instances([instance])).get(instance)
            return record if record is not None and record.status in expected else None

        return await until(reached, seconds=seconds)

    async def _start(
        self, service: Orchestrator | Worker, broker: Broker, close: Callable[[], Awaitable[None]]
    ) -> Running:
        running = Running(service=service, broker=broker, server=self.place.server, close=close)
        self.stack.push_async_callback(running.stop)
        await service.start()
        return running

    def _store(self, lease: float) -> Store:
        if ":memory:" in self.place.database_url:
            return self.store
        return make_store(self.place.database_url, lease=timedelta(seconds=lease))


@dataclass
class Running:
    """A service that was started."""

    service: Orchestrator | Worker
    broker: Broker
    server: MemoryServer | None
    close: Callable[[], Awaitable[None]]
    over: bool = False

    async def stop(self) -> None:
        """End it as SIGTERM would."""
        if not self.over:
            self.over = True
            await self.service.stop()
            await self.broker.close()
            await self.close()

    async def kill(self) -> None:
        """End an orchestrator as kill -9 would, as far as its own process can be told."""
        assert isinstance(self.service, Orchestrator)
        self.over = True
        await self.service.abandon()
        if self.server is not None and isinstance(self.broker, MemoryBroker):
            self.server.drop_connection(self.broker)
        await self.broker.close()
        await self.close()


async def _nothing() -> None:
    pass


async def engine_at(place: Place, app: App, stack: AsyncExitStack, **settings: Any) -> Engine:
    """An engine without services yet, on an empty database."""
    store = make_store(place.database_url)
    stack.push_async_callback(store.close)
    await store.upgrade()
    await store.open()
    broker = place.broker("client")
    stack.push_async_callback(broker.close)
    await broker.open()
    client_settings = ClientSettings(namespace=place.namespace, poll_interval=0.2)
    client = Client(client_settings, store=store, broker=broker, app=app)
    await stack.enter_async_context(client)
    return Engine(app=app, place=place, stack=stack, store=store, client=client, settings=dict(settings))


async def wipe(engine: Engine) -> None:
    """Let the broker lose its memory: every queue of the engine's, with all that is in it."""
    if engine.place.server is not None:
        engine.place.server.wipe()
        return
    deployment = await engine.store.deployment()
    assert deployment is not None
    names = Names(engine.place.namespace)
    broker = engine.place.broker("vandal")
    await broker.open()
    queues = [names.turns(number) for number in range(deployment.partitions)]
    queues += [names.activities("default"), names.start, names.start_dead, names.dead]
    for queue in [names.marker(deployment.broker_token), *queues]:
        await broker.delete(queue)
    await broker.close()
