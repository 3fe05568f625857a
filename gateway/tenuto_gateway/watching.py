"""What a process tells of itself, and an orchestrator's also of its deployment, on a port of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tenuto.doctor import Onlooker, Patience
from tenuto.errors import SettingsError
from tenuto.metrics.catalogue import DEPLOYMENT, Metric
from tenuto.metrics.otlp import OtelRecorder, meter_provider
from tenuto.metrics.recorder import NO_RECORDER, Recorder, Recorders
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
    """What gathers some of it, or sends it."""

    def around(self, service: _Probed) -> list[Service]:
        """The service with what tells of it, in the order of their start: the port is there before it and after it, so
        that its probes are answered while it starts and stops."""
        if self.port is None:
            return [service, *self.watches]
        server = MetricsServer(self.collectors, port=self.port, unready=service.unready)
        return [server, service, *self.watches]


def measure(settings: Settings, metrics: Sequence[Metric], *, onlooker: Onlooker | None = None) -> Measured:
    """Measure a process that may tell these metrics, if its settings or OpenTelemetry's variables ask for it; with an
    onlooker also what can be seen of the whole deployment.

    Raises:
        SettingsError: what it needs is not installed.
    """
    provided = meter_provider()
    if settings.metrics_port is None and provided is None:
        return Measured()
    try:
        from tenuto.metrics.dapr import DaprNames  # noqa: PLC0415  needs an extra
        from tenuto.metrics.liveness import LivenessCollector, LivenessWatch  # noqa: PLC0415  needs an extra
        from tenuto.metrics.prometheus import PrometheusRecorder  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            "metrics are asked for (TENUTO_METRICS_PORT, or OpenTelemetry's variables), and are not installed; run: "
            'pip install "tenuto[metrics]"'
        ) from error
    prometheus = PrometheusRecorder(metrics)
    recorder: Recorder = prometheus
    exported: Recorder = NO_RECORDER
    collectors: list[Collector] = [prometheus]
    watches: list[Service] = []
    if settings.metrics_dapr_names:
        collectors.append(DaprNames(prometheus))
    if provided is not None:
        provider, exporting = provided
        exported = OtelRecorder(provider, (*metrics, *(DEPLOYMENT if onlooker is not None else ())))
        recorder = Recorders([prometheus, exported])
        watches += [] if exporting is None else [exporting]
    if onlooker is not None:
        collector = LivenessCollector(Patience())
        collectors.append(collector)
        watches.append(LivenessWatch(onlooker, collector, recorder=exported))
    return Measured(recorder=recorder, port=settings.metrics_port, collectors=collectors, watches=watches)
