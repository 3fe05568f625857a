"""The HTTP port that Prometheus reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from threading import Thread
from typing import TYPE_CHECKING, cast
from wsgiref.simple_server import WSGIServer

from tenuto.errors import SettingsError
from tenuto.metrics.probes import Unready, with_probes

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from prometheus_client.registry import Collector

__all__ = ["MetricsServer"]

_log = logging.getLogger("tenuto.metrics")


class MetricsServer:
    """A service that serves collectors at `/metrics`, with the probes, from threads of its own."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        *,
        port: int,
        address: str = "0.0.0.0",  # noqa: S104  whoever scrapes is on another machine
        unready: Unready = lambda: None,
    ) -> None:
        """`port` 0 takes a free one; see `port` when it has started. `unready` answers `/readyz`: why the service whose
        metrics these are cannot serve; None if it can."""
        self._unready = unready
        self._collectors = tuple(collectors)
        self._wanted = port
        self._address = address
        self._running: tuple[WSGIServer, Thread] | None = None
        self._over = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that it listens on; as wanted, until it has started."""
        return self._wanted if self._running is None else int(self._running[0].server_port)

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the port is taken, or the extra is not installed.
        """
        try:
            from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415  an extra
        except ModuleNotFoundError as error:
            raise SettingsError(
                'TENUTO_METRICS_PORT is set, and metrics are not installed; run: pip install "tenuto[metrics]"'
            ) from error
        registry = CollectorRegistry()
        for collector in self._collectors:
            registry.register(collector)
        try:
            self._running = start_http_server(self._wanted, addr=self._address, registry=registry)
        except OSError as error:
            raise SettingsError(
                f"the metrics port {self._wanted} cannot be had ({error.strerror}); set TENUTO_METRICS_PORT to another"
            ) from error
        server, _ = self._running
        metrics = cast("WSGIApplication", server.get_app())
        server.set_app(with_probes(metrics, self._unready, asyncio.get_running_loop()))
        _log.info("metrics are served on port %d", self.port)

    async def stop(self) -> None:
        """Listen no more. Tolerates repeats."""
        running, self._running = self._running, None
        if running is not None:
            server, thread = running
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(thread.join)
        self._over.set()

    async def wait(self) -> None:
        """Until it is stopped."""
        await self._over.wait()
