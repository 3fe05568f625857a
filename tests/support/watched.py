"""A system of real processes that a Prometheus watches: an orchestrator, workers, a gateway, and a load on them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import httpx
import pika
from opentelemetry import trace

from tenuto import Client
from tenuto.naming import Names
from tenuto.settings import ClientSettings
from tests.support.cluster import Cluster
from tests.support.processes import OwnedProcess, free_port
from tests.support.prometheus import Prometheus
from tests.support.reaper import Reaper
from tests.support.watched_app import GATE_VARIABLE, GATED_POOL, QUICK_POOL, failing, gated, impure, mixed

__all__ = ["DEPLOYMENT", "TRACE_ID", "WatchedSystem"]

DEPLOYMENT = "shop"
"""What the label `namespace` says, as Kubernetes would set it."""
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
"""The trace, sampled, that what is started belongs to."""

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "k8s/alerts"


class WatchedSystem(Cluster):
    """The processes; made with `begin`, ended with `close`."""

    prometheus: Prometheus

    def __init__(
        self, database_url: str, broker_url: str, namespace: str, *, folder: Path, reaper: Reaper
    ) -> None:
        self.gate = folder / "gate"
        super().__init__(
            database_url,
            broker_url,
            namespace,
            "tests.support.watched_app:app",
            folder=folder,
            reaper=reaper,
            show_log=lambda _log: None,
            settings={GATE_VARIABLE: str(self.gate), "TENUTO_BEAT_INTERVAL": "0.5"},
        )
        self.pool_port, self._gateway_port = free_port(), free_port()
        self._settings = ClientSettings(database_url=database_url, broker_url=broker_url, namespace=namespace)

    async def begin(self, program: str) -> None:
        """Start everything but the worker of the gated pool, and the Prometheus, which looks for that one too."""
        await self.upgrade()
        orchestrator, worker = free_port(), free_port()
        self.prometheus = Prometheus(
            program,
            jobs={
                "orchestrator": [orchestrator],
                "worker": [worker, self.pool_port],
                "gateway": [self._gateway_port],
            },
            labels={"namespace": DEPLOYMENT},
            rules=[ALERTS / "liveness.yaml", ALERTS / "work.yaml"],
            folder=self._folder,
            reaper=self._reaper,
        )
        gateway = self._tenuto("gateway", f"--port={self._gateway_port}")
        await asyncio.gather(
            self._until_up(self._watched(orchestrator, "orchestrator", self._target)),
            self._until_up(self._watched(worker, "worker", self._target, f"--pool={QUICK_POOL}")),
            asyncio.to_thread(gateway.until_ready, lambda: "serves at" in gateway.output(), timeout=60),
        )
        async with self._client() as client:
            await client.start(impure)
        self._put_apart()

    async def pool_worker(self) -> OwnedProcess:
        """Start the worker of the gated pool, with two slots."""
        process = self._watched(
            self.pool_port, "worker", self._target, f"--pool={GATED_POOL}", "--concurrency=2"
        )
        await self._until_up(process)
        return process

    async def load(self) -> None:
        """A few instances of each kind, from start to end, and requests to the gateway."""
        async with self._client() as client, httpx.AsyncClient(timeout=20) as http:
            span = trace.NonRecordingSpan(
                trace.SpanContext(
                    TRACE_ID, 1, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
                )
            )
            with trace.use_span(span):
                handles = [await client.start(mixed, width) for width in (1, 5)]
            doomed = await client.start(failing, 1)
            for handle in handles:
                await handle.raise_event("go", {"by": "hand"})
            for handle in handles:
                await handle.result(timeout=30)
            await doomed.ended(timeout=30)
            (await http.get(f"http://127.0.0.1:{self._gateway_port}/api/v1/instances")).raise_for_status()

    async def start_gated(self, width: int) -> None:
        """Start a workflow with so many activities that wait for the gate."""
        async with self._client() as client:
            await client.start(gated, width)

    def close(self) -> None:
        """End everything."""
        self.gate.touch()
        self.kill()
        with suppress(AttributeError):  # it had not begun
            self.prometheus.process.kill()

    def _client(self) -> Client:
        return Client(self._settings)

    def _watched(self, port: int, *arguments: str) -> OwnedProcess:
        return self._tenuto(*arguments, settings={"TENUTO_METRICS_PORT": str(port)})

    def _put_apart(self) -> None:
        """Send the public queue what nobody can understand: a dead letter."""
        with pika.BlockingConnection(pika.URLParameters(self._settings.broker_url)) as connection:
            queue = Names(self._settings.namespace, self._settings.layout).start
            connection.channel().basic_publish(exchange="", routing_key=queue, body=b"?")
