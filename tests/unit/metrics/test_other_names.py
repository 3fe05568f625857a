"""The same numbers elsewhere: under Dapr's names, and by OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tenuto.metrics import catalogue

pytest.importorskip("prometheus_client", reason="needs the extra tenuto[metrics]")
pytest.importorskip("opentelemetry.sdk", reason="needs the extra tenuto[tracing]")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from tenuto.metrics.dapr import DaprNames
from tenuto.metrics.otlp import Exporting, OtelRecorder, is_asked_for
from tenuto.metrics.prometheus import PrometheusRecorder


def test_dapr_finds_its_names_and_units() -> None:
    recorder = PrometheusRecorder((*catalogue.ORCHESTRATOR, *catalogue.WORKER))
    registry = CollectorRegistry()
    registry.register(DaprNames(recorder))
    recorder.count(catalogue.WORKFLOW_EXECUTIONS, "order", "completed", amount=2)
    recorder.observe(catalogue.WORKFLOW_EXECUTION_SECONDS, 0.25, "order", "failed")
    recorder.count(catalogue.ACTIVITY_EXECUTIONS, "charge", "payments", "failed")
    recorder.count(catalogue.TURNS)
    told = registry.get_sample_value
    workflow = {"workflow_name": "order", "status": "success"}
    assert told("dapr_runtime_workflow_execution_count", workflow) == 2
    failed = {"workflow_name": "order", "status": "failed"}
    assert told("dapr_runtime_workflow_execution_latency_sum", failed) == 250
    assert told("dapr_runtime_workflow_execution_latency_bucket", {**failed, "le": "500.0"}) == 1
    assert told("dapr_runtime_workflow_execution_latency_bucket", {**failed, "le": "100.0"}) == 0
    assert told("dapr_runtime_workflow_execution_latency_bucket", {**failed, "le": "+Inf"}) == 1
    activity = {"activity_name": "charge", "pool": "payments", "status": "failed"}
    assert told("dapr_runtime_workflow_activity_execution_count", activity) == 1
    assert all(family.name.startswith("dapr_") for family in registry.collect())


def points(reader: InMemoryMetricReader) -> dict[tuple[str, frozenset[tuple[str, object]]], object]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        (metric.name, frozenset((point.attributes or {}).items())): point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_opentelemetry_is_told_the_same() -> None:
    reader = InMemoryMetricReader()
    recorder = OtelRecorder(MeterProvider([reader]), catalogue.ALL)
    recorder.count(catalogue.TURNS, amount=3)
    recorder.observe(catalogue.COMMIT_SECONDS, 0.004)
    recorder.show(catalogue.POOL_TASKS, {("payments", "queued"): 5, ("mail", "queued"): 1})
    recorder.show(catalogue.POOL_TASKS, {("payments", "queued"): 4})
    told = points(reader)

    def point(name: str, **attributes: str) -> object:
        return told[name, frozenset(attributes.items())]

    assert getattr(point("tenuto_turns"), "value") == 3  # noqa: B009 - the points' classes have no common type
    histogram = point("tenuto_commit_seconds")
    assert getattr(histogram, "explicit_bounds") == catalogue.COMMIT_SECONDS.buckets  # noqa: B009
    assert getattr(histogram, "count") == 1  # noqa: B009
    assert getattr(point("tenuto_pool_tasks", pool="payments", state="queued"), "value") == 4  # noqa: B009
    assert getattr(point("tenuto_pool_tasks", pool="mail", state="queued"), "value") == 0  # noqa: B009


@pytest.mark.parametrize(
    ("environment", "exports"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}, True),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "none"},
            False,
        ),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_metrics_are_exported_if_the_variables_say_so(environment: Mapping[str, str], exports: bool) -> None:
    assert is_asked_for(environment) == exports


async def test_an_export_ends_once() -> None:
    reader = InMemoryMetricReader()
    exporting = Exporting(MeterProvider([reader], shutdown_on_exit=False))
    await exporting.start()
    await exporting.stop()
    await exporting.stop()
    await exporting.wait()
