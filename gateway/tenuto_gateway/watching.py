"""What a process tells of itself, and an orchestrator's also of its deployment, on a port of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tenuto.doctor import Onlooker, Patience
from tenuto.errors import SettingsError
from tenuto.metrics.catalogue import Metric
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.metrics.server import MetricsServer
from tenuto.settings import Settings
from tenuto_gateway.ensemble import Service

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

__all__ = ["Measured", "measure"]


class _Probed(Service, Protocol):
    """A service that knows whether it can serve."""

    def unready(self) -> str | None:
        """Why it cannot; None: it can."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How a process is measured."""

    recorder: Recorder = NO_RECORDER
    """For its services."""
    port: int | None = None
    collectors: Sequence[Collector] = ()
    """What is served there."""
    watches: Sequence[Service] = ()
    """What gathers some of it."""

    def around(self, service: _Probed) -> list[Service]:
        """The service with what tells of it, in the order of their start: the port is there before it and after it, so
        that its probes are answered while it starts and stops."""
        if self.port is None:
            return [service]
        server = MetricsServer(self.collectors, port=self.port, unready=service.unready)
        return [server, service, *self.watches]


def measure(settings: Settings, metrics: Sequence[Metric], *, onlooker: Onlooker | None = None) -> Measured:
    """Measure a process that may tell these metrics, if its settings ask for it; with an onlooker also what can be seen
    of the whole deployment.

    Raises:
        SettingsError: what it needs is not installed.
    """
    port = settings.metrics_port
    if port is None:
        return Measured()
    try:
        from tenuto.metrics.liveness import LivenessCollector, LivenessWatch  # noqa: PLC0415  needs an extra
        from tenuto.metrics.prometheus import PrometheusRecorder  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            'TENUTO_METRICS_PORT is set, and metrics are not installed; run: pip install "tenuto[metrics]"'
        ) from error
    recorder = PrometheusRecorder(metrics)
    if onlooker is None:
        return Measured(recorder=recorder, port=port, collectors=[recorder])
    collector = LivenessCollector(Patience())
    watch = LivenessWatch(onlooker, collector)
    return Measured(recorder=recorder, port=port, collectors=[recorder, collector], watches=[watch])
