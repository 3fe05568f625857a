"""A recorder that Prometheus can ask; needs the extra `tenuto[metrics]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from tenuto.metrics.catalogue import Metric, Values

__all__ = ["PrometheusRecorder"]


class PrometheusRecorder(Collector):
    """Counts in memory. Recorded from the event loop, asked from the thread of the port."""

    on: bool = True

    def __init__(self, metrics: Sequence[Metric]) -> None:
        """`metrics`: those that the process may tell; each is shown from the start, with or without values."""
        self._counters = {
            metric: Counter(metric.name, metric.help, metric.labels, registry=None)
            for metric in metrics
            if metric.kind == "counter"
        }
        self._histograms = {
            metric: Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=None)
            for metric in metrics
            if metric.kind == "histogram"
        }
        self._gauges: dict[Metric, Values] = {metric: {} for metric in metrics if metric.kind == "gauge"}

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        counter = self._counters[metric]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        histogram = self._histograms[metric]
        exemplar = None if trace_id is None else {"trace_id": trace_id}
        (histogram.labels(*labels) if labels else histogram).observe(value, exemplar)

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        # A new mapping, since another thread may be reading the old one.
        self._gauges[metric] = {**self._gauges[metric], labels: value}

    def show(self, metric: Metric, values: Values) -> None:
        self._gauges[metric] = dict(values)

    def collect(self) -> Iterator[Family]:
        """All of it."""
        for counted in (*self._counters.values(), *self._histograms.values()):
            yield from counted.collect()
        for metric, values in self._gauges.items():
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
