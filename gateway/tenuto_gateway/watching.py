"""What an orchestrator's process tells of its deployment, on a port of its own."""

from __future__ import annotations

from tenuto.broker.protocol import Broker
from tenuto.doctor import Onlooker, Patience
from tenuto.errors import SettingsError
from tenuto.metrics.server import MetricsServer
from tenuto.settings import Settings
from tenuto.store.protocol import Store
from tenuto_gateway.ensemble import Service

__all__ = ["metrics_of"]


def metrics_of(store: Store, broker: Broker, settings: Settings, *, port: int) -> list[Service]:
    """The services that serve metrics at this port.

    Raises:
        SettingsError: what they need is not installed.
    """
    try:
        from tenuto.metrics.liveness import LivenessCollector, LivenessWatch  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            'TENUTO_METRICS_PORT is set, and metrics are not installed; run: pip install "tenuto[metrics]"'
        ) from error
    collector = LivenessCollector(Patience())
    onlooker = Onlooker(store, broker, namespace=settings.namespace)
    return [LivenessWatch(onlooker, collector), MetricsServer([collector], port=port)]
