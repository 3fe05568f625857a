"""What recorders make of numbers, and that the documentation names exactly what is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenuto.metrics import catalogue
from tenuto.metrics.recorder import NO_RECORDER, Recorders, sampled_trace
from tests.unit.doctor.scene import look

pytest.importorskip("prometheus_client", reason="needs the extra tenuto[metrics]")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from tenuto.doctor import Patience
from tenuto.metrics.liveness import LivenessCollector
from tenuto.metrics.prometheus import PrometheusRecorder

PAGE = Path(__file__).resolve().parents[3] / "docs/metrics.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def registry() -> tuple[CollectorRegistry, PrometheusRecorder]:
    made = CollectorRegistry()
    recorder = PrometheusRecorder((*catalogue.ORCHESTRATOR, *catalogue.WORKER))
    made.register(recorder)
    return made, recorder


def test_numbers_are_told_as_they_were_given() -> None:
    made, recorder = registry()
    recorder.count(catalogue.TURNS, amount=3)
    recorder.count(catalogue.ACTIVITIES_SCHEDULED, "charge", "payments", amount=2)
    recorder.observe(catalogue.COMMIT_SECONDS, 0.004)
    recorder.put(catalogue.WORKER_SLOTS, 64, "default")
    recorder.put(catalogue.WORKER_SLOTS, 8, "payments")
    told = made.get_sample_value
    assert told("tenuto_turns_total") == 3
    assert told("tenuto_activities_scheduled_total", {"activity": "charge", "pool": "payments"}) == 2
    assert told("tenuto_commit_seconds_bucket", {"le": "0.005"}) == 1
    assert told("tenuto_commit_seconds_bucket", {"le": "0.0025"}) == 0
    assert told("tenuto_worker_slots", {"pool": "default"}) == 64
    assert told("tenuto_worker_slots", {"pool": "payments"}) == 8


def test_what_a_gauge_does_not_show_any_more_is_gone() -> None:
    made, recorder = registry()
    recorder.show(catalogue.STALLED_INSTANCES, {("NonDeterminismError",): 2, ("StalledError",): 1})
    recorder.show(catalogue.STALLED_INSTANCES, {("StalledError",): 1})
    assert made.get_sample_value("tenuto_stalled_instances", {"reason": "StalledError"}) == 1
    assert made.get_sample_value("tenuto_stalled_instances", {"reason": "NonDeterminismError"}) is None


def test_exemplars_are_in_openmetrics_alone() -> None:
    made, recorder = registry()
    recorder.observe(catalogue.ACTIVITY_SCHEDULING_SECONDS, 0.2, "charge", "payments", trace_id=TRACE)
    assert f'# {{trace_id="{TRACE}"}} 0.2' in openmetrics(made).decode()
    assert TRACE not in generate_latest(made).decode()


def test_several_are_told_the_same() -> None:
    (one, first), (other, second) = registry(), registry()
    both = Recorders([first, second])
    both.count(catalogue.TURNS)
    both.observe(catalogue.BATCH_TURNS, 1)
    both.put(catalogue.OWNED_PARTITIONS, 4)
    both.show(catalogue.POOL_TASKS, {("default", "queued"): 5})
    assert generate_latest(one).decode().count("_created") > 0
    for made in (one, other):
        assert made.get_sample_value("tenuto_turns_total") == 1
        assert made.get_sample_value("tenuto_batch_turns_count") == 1
        assert made.get_sample_value("tenuto_owned_partitions") == 4
        assert made.get_sample_value("tenuto_pool_tasks", {"pool": "default", "state": "queued"}) == 5


def test_nobody_takes_everything() -> None:
    assert not NO_RECORDER.on
    NO_RECORDER.count(catalogue.TURNS)
    NO_RECORDER.observe(catalogue.COMMIT_SECONDS, 1.0)
    NO_RECORDER.put(catalogue.OWNED_PARTITIONS, 1)
    NO_RECORDER.show(catalogue.POOL_TASKS, {})


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-03", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00", None),
        (f"00-{TRACE}-00f067aa0ba902b7-zz", None),
        ("nonsense", None),
    ],
)
def test_only_sampled_traces_are_examples(traceparent: str, expected: str | None) -> None:
    assert sampled_trace({"traceparent": traceparent}) == expected
    assert sampled_trace({}) is None


def test_names_that_are_not_the_codes_are_one_label() -> None:
    assert catalogue.bounded("charge", {"charge"}) == "charge"
    assert catalogue.bounded("made up by somebody", {"charge"}) == catalogue.OTHER


def test_names_follow_the_conventions() -> None:
    names = [metric.name for metric in catalogue.ALL]
    assert len(names) == len(set(names))
    for metric in catalogue.ALL:
        assert re.fullmatch(r"tenuto_[a-z_]+[a-z]", metric.name)
        assert not metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(metric.buckets)


def test_the_documentation_has_a_row_for_each_metric_and_no_other() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `tenuto_")
    ]
    assert rows == [
        (
            f"`{metric.told}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in catalogue.ALL
    ]


def test_a_scrape_has_every_metric_and_no_other() -> None:
    made, _ = registry()
    collector = LivenessCollector(Patience())
    collector.look = look()
    made.register(collector)
    told = {family.name: family.type for family in made.collect()}
    assert told == {metric.name: metric.kind for metric in catalogue.ALL}
