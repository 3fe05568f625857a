"""The dashboards: as generated, fit for Grafana, whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenuto.metrics import catalogue
from tests.support.schemas import complaints, schema

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "k8s/observability"
DASHBOARDS = sorted((HERE / "dashboards").glob("*.json"))


HTTP = {"tenuto_http_requests_total", "tenuto_http_request_seconds"}
"""What the gateway tells."""


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


each_dashboard = pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)


def test_what_is_kept_is_what_the_code_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "k8s.observability", tmp_path], cwd=ROOT, check=True)
    made = {file.relative_to(tmp_path): file.read_text() for file in tmp_path.rglob("*.*")}
    kept = {file.relative_to(HERE): file.read_text() for file in [*DASHBOARDS, HERE / "rules.yaml"]}
    assert made == kept, "run: python -m k8s.observability"


@each_dashboard
def test_grafana_takes_it(file: Path) -> None:
    assert complaints(load(file), schema("grafana/dashboard.jsonschema.json")) == []


def test_the_rules_are_a_resource_of_the_operator() -> None:
    rules = list(yaml.safe_load_all((HERE / "rules.yaml").read_text()))
    assert {rule["metadata"]["name"] for rule in rules} == {"tenuto-liveness", "tenuto-work"}
    for rule in rules:
        assert complaints(rule, schema("crds/monitoring.coreos.com/prometheusrule_v1.json")) == []


@each_dashboard
def test_panels_do_not_overlap_and_have_numbers_of_their_own(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    panels = load(file)["panels"]
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@each_dashboard
def test_every_variable_that_is_used_is_there(file: Path) -> None:
    names = {variable["name"] for variable in load(file)["templating"]["list"]}
    builtin = {"__rate_interval", "__range"}
    used = set(re.findall(r"\$\{?(\w+)", file.read_text()))
    assert used <= names | builtin
    assert names <= used | {"prometheus", "jaeger"}


@each_dashboard
def test_every_query_is_about_the_chosen_deployment(file: Path) -> None:
    for panel in load(file)["panels"]:
        for target in panel.get("targets", []):
            if "expr" in target:
                metrics = target["expr"].count("tenuto_")
                assert metrics, panel["title"]
                assert target["expr"].count('{namespace=~"$namespace"') == metrics, panel["title"]


def test_what_every_orchestrator_tells_alike_is_a_maximum_and_all_else_a_sum() -> None:
    alike = {metric.told for metric in catalogue.DEPLOYMENT}
    maxima = alike | {catalogue.LEASE_AGE_SECONDS.told}
    for metric, aggregators in aggregated().items():
        assert aggregators == {"max" if metric in maxima else "sum"}, metric


def aggregated() -> dict[str, set[str]]:
    """By which operators each metric is put together over processes, in dashboards and alerts."""
    alerts = [file.read_text() for file in (ROOT / "k8s/alerts").glob("*.yaml") if "_test" not in file.name]
    expressions = [
        target["expr"]
        for file in DASHBOARDS
        for panel in load(file)["panels"]
        for target in panel.get("targets", [])
        if "expr" in target
    ]
    found: dict[str, set[str]] = {}
    for text in [*alerts, *expressions]:
        for operator, metric in re.findall(
            r"(\w+)(?: by \([^)]*\))? ?\((?:(?:rate|increase)\()?(tenuto_\w+?)(?:_bucket|_sum|_count)?\b",
            text,
        ):
            if operator != "absent":
                found.setdefault(metric, set()).add(operator)
    assert set(found) <= {metric.told for metric in catalogue.ALL} | HTTP
    return found


def test_latencies_lead_to_traces() -> None:
    """Exemplars: the panels ask for them, and the data source knows where their label leads."""
    asking = [
        target["expr"]
        for file in DASHBOARDS
        for panel in load(file)["panels"]
        for target in panel.get("targets", [])
        if target.get("exemplar")
    ]
    for metric in ("workflow_execution", "workflow_scheduling", "activity_execution", "activity_scheduling"):
        assert any(f"tenuto_{metric}_seconds_bucket" in expression for expression in asking), metric
    sources = {source["uid"]: source for source in provisioned("datasources")["datasources"]}
    assert sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "jaeger"}
    ]
    assert sources["jaeger"]["type"] == "jaeger"


def test_the_component_has_every_dashboard() -> None:
    component = yaml.safe_load((HERE / "kustomization.yaml").read_text())
    files = [file for made in component["configMapGenerator"] for file in made["files"]]
    assert sorted(files) == [f"dashboards/{file.name}" for file in DASHBOARDS]


def provisioned(kind: str) -> dict[str, Any]:
    return yaml.safe_load((HERE / f"provisioning/{kind}/tenuto.yaml").read_text())
