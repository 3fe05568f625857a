"""What a service's process tells of itself and of its deployment, on a port of its own."""

from __future__ import annotations

from tenuto.broker.protocol import Broker
from tenuto.doctor import Onlooker, Patience
from tenuto.errors import SettingsError
from tenuto.metrics.server import MetricsServer
from tenuto.settings import Settings
from tenuto.store.protocol import Store
from tenuto_gateway.ensemble import Service
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker

__all__ = ["probed", "watched"]


def watched(service: Orchestrator, store: Store, broker: Broker, settings: Settings) -> list[Service]:
    """The orchestrator and, where the settings have a port for it, what serves its metrics and probes.

    The port is there before the orchestrator and after it, so that its probes are answered while it starts and stops.

    Raises:
        SettingsError: what they need is not installed.
    """
    port = settings.metrics_port
    if port is None:
        return [service]
    try:
        from tenuto.metrics.liveness import LivenessCollector, LivenessWatch  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            'TENUTO_METRICS_PORT is set, and metrics are not installed; run: pip install "tenuto[metrics]"'
        ) from error
    collector = LivenessCollector(Patience())
    onlooker = Onlooker(store, broker, namespace=settings.namespace)
    server = MetricsServer([collector], port=port, unready=service.unready)
    return [server, service, LivenessWatch(onlooker, collector)]


def probed(worker: Worker, settings: Settings) -> list[Service]:
    """The worker and, where the settings have a port for it, what serves its probes, before it and after it."""
    port = settings.metrics_port
    return [worker] if port is None else [MetricsServer([], port=port, unready=worker.unready), worker]
