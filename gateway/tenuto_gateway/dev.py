"""The embedded default: orchestrator, workers and broker in one process, over one database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tenuto.app import App
from tenuto.broker import Broker, make_broker
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.client import Client
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.doctor import Onlooker
from tenuto.faults import NO_FAULTS, Faults
from tenuto.metrics import catalogue
from tenuto.naming import Names
from tenuto.settings import ClientSettings, GatewaySettings, OrchestratorSettings, WorkerSettings
from tenuto.store import make_store
from tenuto.store.protocol import Store
from tenuto_gateway.ensemble import Ensemble, Resource, Service
from tenuto_gateway.front import gateway_of
from tenuto_gateway.pools import PoolWatch, PoolWorkers
from tenuto_gateway.watching import Measured, measure
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker

if TYPE_CHECKING:
    from tenuto_gateway.http.server import Gateway

__all__ = ["DevServer"]


class DevServer:
    """All that an app needs to run, in one process: an orchestrator, and a worker for each of its pools, those
    included that only a call names.

    The broker is in-process for `memory://` (each service has a connection of its own) and a real one
    otherwise. The database's schema is created or migrated at the start. Unless the settings say otherwise,
    every turn is checked by a replay from nothing (`replay_check`), so that nondeterministic workflow code
    shows at once.
    """

    def __init__(
        self,
        app: App,
        settings: OrchestratorSettings | None = None,
        worker_settings: WorkerSettings | None = None,
        client_settings: ClientSettings | None = None,
        *,
        gateway_settings: GatewaySettings | None = None,
        measured: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Settings left out are read from the environment. Database, broker and namespace are `settings`'s. The HTTP
        gateway is served where it has settings, and metrics, if it is `measured`, where `settings` name a port.

        Raises:
            SettingsError: a URL is malformed, or nothing is installed for its scheme.
        """
        settings = settings or OrchestratorSettings()
        if "replay_check" not in settings.model_fields_set:
            settings = settings.model_copy(update={"replay_check": "always"})
        place = settings.model_dump(
            include={"database_url", "broker_url", "namespace", "database_schema", "layout"}
        )
        self.app = app
        self.settings = settings
        self.pools = tuple(sorted({activity.pool for activity in app.activities.values()}))
        self.store: Store = make_store(
            settings.database_url,
            schema=settings.database_schema,
            lease=timedelta(seconds=settings.lease),
            connect_timeout=settings.connect_timeout,
        )
        self._client_settings = (client_settings or ClientSettings()).model_copy(update=place)
        self._memory = MemoryServer() if settings.broker_url.lower() == "memory://" else None
        self._client_broker = self._broker("client")
        template = (worker_settings or WorkerSettings()).model_copy(update=place)

        measures = self._measures() if measured else Measured()

        def make_worker(pool: str) -> tuple[Worker, Broker]:
            broker = self._broker(f"worker {pool}")
            return Worker(
                app, broker, template, pool=pool, clock=clock, faults=faults, recorder=measures.recorder
            ), broker

        workers = PoolWorkers(self.pools, make_worker)
        names = Names(settings.namespace, settings.layout)
        broker = PoolWatch(self._broker("orchestrator"), prefix=names.activities(""), notice=workers.notice)
        resources: list[Resource] = [_Upgraded(self.store), self._client_broker, broker]
        orchestrator = Orchestrator(
            app, self.store, broker, settings, clock=clock, faults=faults, recorder=measures.recorder
        )
        services: list[Service] = [*measures.around(orchestrator), workers]
        self.gateway: Gateway | None = None
        if gateway_settings is not None:
            client = self.client()
            self.gateway = gateway_of(
                client,
                gateway_settings.model_copy(update=place),
                any_port="http_port" not in gateway_settings.model_fields_set,
            )
            resources.append(client)
            services.append(self.gateway)
        self._ensemble = Ensemble(resources, services)

    async def start(self) -> None:
        """Upgrade the schema and start every service; ready when it returns.

        Raises:
            StoreError: the database cannot be used.
            BrokerError: the broker cannot be used.
        """
        await self._ensemble.start()

    async def stop(self) -> None:
        """Stop gracefully: running activities get their grace period. Tolerates repeats."""
        await self._ensemble.stop()

    async def wait(self) -> None:
        """Return when it has been stopped; raise what killed it."""
        await self._ensemble.wait()

    def client(self) -> Client:
        """A client of this server, to be used with `async with` while the server runs."""
        return Client(
            settings=self._client_settings, store=self.store, broker=self._client_broker, app=self.app
        )

    def _measures(self) -> Measured:
        onlooker = Onlooker(self.store, self._client_broker, namespace=self.settings.namespace)
        return measure(self.settings, (*catalogue.ORCHESTRATOR, *catalogue.WORKER), onlooker=onlooker)

    def _broker(self, name: str) -> Broker:
        if self._memory is not None:
            return MemoryBroker(self._memory)
        return make_broker(
            self.settings.broker_url,
            name=f"{self.settings.namespace} dev {name}",
            connect_timeout=self.settings.connect_timeout,
            max_message_bytes=self.settings.max_message_bytes,
        )


class _Upgraded:
    """A store whose schema is brought up to date before it is opened."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        await self._store.upgrade()
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()
