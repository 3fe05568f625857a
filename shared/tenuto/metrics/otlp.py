"""A recorder over OpenTelemetry's metrics, and its export over OTLP; needs the extra `tenuto[tracing]`.

Set up by OpenTelemetry's own variables. A program that has set up a meter provider itself keeps it, and so does
`opentelemetry-instrument`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import metrics

from tenuto.errors import SettingsError
from tenuto.metrics.catalogue import Metric, Values

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider

__all__ = ["Exporting", "OtelRecorder", "is_asked_for", "meter_provider"]


class OtelRecorder:
    """Records with the meters of a provider."""

    on: bool = True

    def __init__(self, provider: MeterProvider, metrics_told: Sequence[Metric]) -> None:
        """`metrics_told`: those that the process may tell."""
        meter = provider.get_meter("tenuto", version("tenuto"))
        told = metrics_told
        self._counters = {
            m: meter.create_counter(m.name, _unit(m), m.help) for m in told if m.kind == "counter"
        }
        self._gauges = {m: meter.create_gauge(m.name, _unit(m), m.help) for m in told if m.kind == "gauge"}
        self._histograms = {
            m: meter.create_histogram(m.name, _unit(m), m.help, explicit_bucket_boundaries_advisory=m.buckets)
            for m in told
            if m.kind == "histogram"
        }
        self._shown: dict[Metric, frozenset[tuple[str, ...]]] = {}

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        self._counters[metric].add(amount, _attributes(metric, labels))

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:  # noqa: ARG002 - exemplars are Prometheus' affair here
        self._histograms[metric].record(value, _attributes(metric, labels))

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        self._gauges[metric].set(value, _attributes(metric, labels))

    def show(self, metric: Metric, values: Values) -> None:
        for labels in self._shown.get(metric, frozenset()) - values.keys():
            self.put(metric, 0.0, *labels)  # what was told once is told for ever
        self._shown[metric] = frozenset(values)
        for labels, value in values.items():
            self.put(metric, value, *labels)


class Exporting:
    """A service that ends an export, with what is left."""

    def __init__(self, provider: SdkMeterProvider) -> None:
        self._provider = provider
        self._over = asyncio.Event()

    async def start(self) -> None:
        """It is under way."""

    async def stop(self) -> None:
        """Send what is left. Tolerates repeats."""
        if not self._over.is_set():
            self._over.set()
            await asyncio.to_thread(self._provider.shutdown)

    async def wait(self) -> None:
        """Until it is stopped."""
        await self._over.wait()


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables ask for metrics over OTLP. The endpoint of everything alone does not: what
    listens there often takes traces alone."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_METRICS_EXPORTER")
    return exporter == "otlp" or (
        not exporter and bool(environment.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"))
    )


def meter_provider() -> tuple[MeterProvider, Exporting | None] | None:
    """The process's own meter provider; or, where OpenTelemetry's variables ask for OTLP, a new one with what ends it;
    None: metrics go nowhere by this way.

    Raises:
        SettingsError: they ask for it, and it is not installed.
    """
    present = metrics.get_meter_provider()
    if not type(present).__module__.startswith("opentelemetry.metrics"):  # the API's own ones do nothing
        return present, None
    if not is_asked_for(os.environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  needs an extra
            OTLPMetricExporter,
        )
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            "OTEL_METRICS_EXPORTER asks for OTLP, and OpenTelemetry's SDK is not installed; run: "
            'pip install "tenuto[tracing]"'
        ) from error
    made = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], shutdown_on_exit=False)
    return made, Exporting(made)


def _unit(metric: Metric) -> str:
    if metric.name.endswith("_seconds"):
        return "s"
    return "By" if metric.name.endswith("_bytes") else "1"


def _attributes(metric: Metric, labels: Sequence[str]) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
