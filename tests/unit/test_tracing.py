"""Tracing apart from the engine: how it is switched on, what it costs when off, which ids are derived."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from tenuto import App, WorkflowContext
from tenuto.errors import SettingsError
from tenuto.settings import Settings
from tenuto.testing import Cluster
from tenuto.tracing import NO_TRACING, Fact, Tracing, carrier, own_context, producing, read_context, trace_id
from tenuto.tracing.instrumentor import TenutoInstrumentor
from tenuto.tracing.lineage import own_span, own_trace
from tenuto.tracing.setup import exporting
from tests.support.spans import STARTER, Recorded, from_starter, parent

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

app = App("steps")


@app.activity
async def step(number: int) -> int:
    return number


@app.workflow
async def steps(ctx: WorkflowContext, count: int) -> int:
    for number in range(count):
        await ctx.call_activity(step, number)
    return count


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENDPOINT, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was made the process's tracer provider, which cannot be taken back."""
    made: list[Any] = []
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", made.append)
    return made


@pytest.mark.parametrize(
    ("tracing", "variables", "exports"),
    [
        ("auto", {}, False),
        ("auto", {ENDPOINT: "http://127.0.0.1:1"}, True),
        ("auto", {ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ("otlp", {}, True),
        ("otlp", {"OTEL_SDK_DISABLED": "true"}, False),
        ("off", {ENDPOINT: "http://127.0.0.1:1"}, False),
    ],
)
def test_what_switches_it_on(
    monkeypatch: pytest.MonkeyPatch,
    providers: list[Any],
    *,
    tracing: Any,
    variables: dict[str, str],
    exports: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with exporting(Settings(tracing=tracing), service="tenuto-worker"):
        assert len(providers) == exports
    if exports:
        assert providers[0].resource.attributes["service.name"] == "tenuto-worker"


def test_the_services_name_may_be_chosen(monkeypatch: pytest.MonkeyPatch, providers: list[Any]) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with exporting(Settings(tracing="otlp"), service="tenuto-worker"):
        assert providers[0].resource.attributes["service.name"] == "mine"


@pytest.mark.parametrize("fault", ["not installed", "grpc"])
def test_what_cannot_be_had_is_an_error_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, providers: list[Any], caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    if fault == "grpc":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    else:
        monkeypatch.setitem(sys.modules, EXPORTER, None)
    words = "opentelemetry-instrument" if fault == "grpc" else r'pip install "tenuto\[tracing\]"'
    with (
        pytest.raises(SettingsError, match=words),
        exporting(Settings(tracing="otlp"), service="tenuto-worker"),
    ):
        pass
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    with caplog.at_level(logging.WARNING), exporting(Settings(), service="tenuto-worker"):
        assert "nothing is traced" in caplog.text
    assert providers == []


def test_the_instrumentor_brings_a_provider_of_ones_own() -> None:
    recorded, instrumentor = Recorded(), TenutoInstrumentor()
    assert not Tracing.of_process().on
    instrumentor.instrument(tracer_provider=recorded.provider)
    try:
        assert Tracing.of_process().on
        assert not Tracing.of_settings(Settings(tracing="off")).on
        with from_starter(), producing("create_orchestration", "w", {"a": None, "b": 1}) as headers:
            pass
    finally:
        instrumentor.uninstrument()
    assert not Tracing.of_process().on
    span = recorded.one("create_orchestration||w")
    assert (parent(span), span.kind) == (STARTER.span_id, SpanKind.PRODUCER)
    assert dict(span.attributes or {}) == {"b": 1}
    assert headers == carrier(span.context)


def test_without_a_provider_the_callers_context_goes_along() -> None:
    with from_starter(), producing("create_orchestration", "w", {}) as headers:
        assert headers == carrier(STARTER)
    with producing("create_orchestration", "w", {}) as headers:
        assert headers == {}


def test_generations_have_spans_and_traces_of_their_own() -> None:
    row = carrier(STARTER)
    first, second, third = (own_context(row, "run", generation) for generation in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.trace_id == STARTER.trace_id
    assert len({first.trace_id, second.trace_id, third.trace_id}) == 3
    assert len({first.span_id, second.span_id, third.span_id, STARTER.span_id}) == 4
    assert trace_id(row, "run", 2) == f"{third.trace_id:032x}"
    assert own_context(row, "other run", 1) != second


@pytest.mark.parametrize("row", [{}, {"traceparent": "00-1-2-01"}, {"traceparent": "\0"}, {"x": "y"}])
def test_what_is_no_trace_is_none(row: dict[str, str]) -> None:
    assert own_context(row, "run", 0) is None
    assert trace_id(row, "run", 0) is None


class _Coin(Sampler):
    """Says yes the first time only."""

    def __init__(self) -> None:
        self.asked = 0

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        self.asked += 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.asked == 1 else Decision.DROP)

    def get_description(self) -> str:
        return "coin"


def test_the_sampler_is_asked_once_about_an_instance() -> None:
    coin = _Coin()
    recorded = Recorded(coin)
    row = recorded.tracing.admit({}, run="run", name="orchestration||w", attributes={})
    context = own_context(row, "run", 0)
    assert context == read_context(row)  # it is the root of its trace
    assert context is not None
    assert (context.trace_id, context.span_id) == (own_trace("run", 0), own_span("run", 0))
    fact = _fact(context=context, decided=True)
    recorded.tracing.emit(fact)
    assert coin.asked == 1
    assert recorded.one("orchestration||w").context.span_id == context.span_id


def test_one_that_is_not_sampled_says_so_to_all_that_come_after() -> None:
    row = Recorded(ALWAYS_OFF).tracing.admit(
        carrier(STARTER), run="run", name="orchestration||w", attributes={}
    )
    assert row["traceparent"] == carrier(STARTER)["traceparent"].removesuffix("01") + "00"
    assert own_context(row, "run", 0) is None


def _fact(**more: Any) -> Fact:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    return Fact(name="orchestration||w", start=at, end=at, parent=None, **more)


def test_off_it_makes_nothing() -> None:
    NO_TRACING.emit(_fact())
    assert NO_TRACING.admit({"a": "b"}, run="run", name="w", attributes={}) == {"a": "b"}


async def test_off_turns_and_activities_cost_no_call_of_opentelemetrys() -> None:
    """Counted and not measured: a workflow of four times the turns makes not one call more."""
    async with Cluster(app) as cluster:
        few = await _calls(cluster, 5)
        many = await _calls(cluster, 20)
    assert few == many


async def _calls(cluster: Cluster, count: int) -> Counter[str]:
    with _counted("/opentelemetry/") as calls:
        handle = await cluster.client.start(steps, count)
        assert await handle.result(timeout=30) == count
    return calls


@contextmanager
def _counted(path: str) -> Iterator[Counter[str]]:
    """The calls of this thread's, meanwhile, of functions in files with this in their path."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and path in frame.f_code.co_filename:
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)
