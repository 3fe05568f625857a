"""The manifests of k8s/: rendered, validated strictly, and compared with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tenuto.metrics.probes import _PATIENCE
from tenuto.settings import GatewaySettings, OrchestratorSettings, WorkerSettings
from tenuto_gateway.http.server import _GRACE
from tenuto_worker.worker import _FAREWELL, _LAST_WORDS
from tests.acceptance.deployment.manifests import (
    K8S,
    OLDEST,
    OVERLAYS,
    SCHEMAS,
    containers,
    pods,
    render,
    schema_of,
)
from tests.support.containers import ROOT, check_command, check_environment, image, load, settings_of

SECRETS = {
    "tenuto_database_url": "postgresql://user:password@host/tenuto",
    "tenuto_broker_url": "amqp://user:password@host/",
    "tenuto_http_tokens": f"prometheus:read:{64 * '0'}",
}
FROM_OPERATORS = {"tenuto-postgres-app", "tenuto-rabbitmq-default-user"}
FROM_USERS = {"tenuto-gateway"}
EVERY = [path.parent for path in sorted(K8S.rglob("kustomization.yaml"))]
SERVERS_GRACE = {"orchestrator": 10.0, "gateway": float(_GRACE)}
"""Seconds that a service may take to stop: an orchestrator has no limit of its own, it ends a batch and hands over."""

needs_schemas = pytest.mark.skipif(
    not SCHEMAS.exists(), reason=f"the schemas of Kubernetes are not beside this checkout ({SCHEMAS})"
)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> tuple[dict[str, Any], ...]:
    return render(f"overlays/{request.param}")


@pytest.mark.parametrize("folder", EVERY, ids=lambda path: str(path.relative_to(K8S)))
def test_every_kustomization_renders(folder: Path) -> None:
    if load(folder / "kustomization.yaml")["kind"] != "Component":  # those render with what they are part of
        assert render(str(folder.relative_to(K8S)))


@needs_schemas
@pytest.mark.parametrize("folder", EVERY, ids=lambda path: str(path.relative_to(K8S)))
def test_kustomizations_are_as_their_schema_says(folder: Path) -> None:
    schema = json.loads((SCHEMAS / "schemastore/kustomization.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(load(folder / "kustomization.yaml"))


@needs_schemas
def test_manifests_are_strictly_as_their_schemas_say(overlay: tuple[dict[str, Any], ...]) -> None:
    for manifest in overlay:
        schema = json.loads(schema_of(manifest).read_text())
        validator = jsonschema.validators.validator_for(schema)(schema)
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
        assert errors == [], (manifest["kind"], manifest["metadata"]["name"])


@needs_schemas
def test_triggers_have_the_parameters_that_their_scalers_take() -> None:
    scalers = json.loads((SCHEMAS / "keda/scalers-schema.json").read_text())["scalers"]
    for manifest in render("overlays/production"):
        for trigger in manifest["spec"]["triggers"] if manifest["kind"] == "ScaledObject" else ():
            scaler = next(one for one in scalers if one["type"] == trigger["type"])
            known = {parameter["name"]: parameter for parameter in scaler["parameters"]}
            assert trigger["metadata"].keys() <= known.keys()
            needed = {name for name, one in known.items() if not one.get("optional") and "default" not in one}
            assert needed <= trigger["metadata"].keys()
            assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_containers_are_what_the_code_takes(
    overlay: tuple[dict[str, Any], ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = containers(overlay, secrets=SECRETS)
    assert {one.command for one in ours.values()} == {"orchestrator", "worker", "gateway", "db"}
    for container in ours.values():
        check_command(container.args)
        check_environment(container)
        with monkeypatch.context() as patch:
            settings = settings_of(container, patch)
        needs_database = container.command != "worker"
        assert ("tenuto_database_url" in container.secrets) == needs_database
        ports = {
            port["name"]: port["containerPort"] for port in container.source["container"].get("ports", ())
        }
        match settings:
            case GatewaySettings():
                assert ports == {"http": settings.http_port}
                grace = SERVERS_GRACE["gateway"]
            case OrchestratorSettings():
                assert ports == {"metrics": settings.metrics_port}
                grace = SERVERS_GRACE["orchestrator"]
            case WorkerSettings():
                assert ports == {"metrics": settings.metrics_port}
                assert f"--pool={container.name.removeprefix('worker-')}" in container.args
                grace = settings.grace + _LAST_WORDS + _FAREWELL
            case _:
                continue
        assert container.source["pod"]["terminationGracePeriodSeconds"] > grace + 10
        check_probes(container.source["container"], ports, connect=settings.connect_timeout)


def check_probes(container: dict[str, Any], ports: dict[str, int], *, connect: float) -> None:
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for kind, path in paths.items():
        probe = container[kind]
        assert probe["httpGet"]["path"] == path
        assert probe["httpGet"]["port"] in ports
        assert probe["timeoutSeconds"] > _PATIENCE
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    # A server that is still starting is waited for, the database's and then the broker's.
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 2 * connect
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def test_containers_can_do_no_harm(overlay: tuple[dict[str, Any], ...]) -> None:
    user = int(image().user.split(":")[0])
    for container in containers(overlay, secrets=SECRETS).values():
        pod, one = container.source["pod"], container.source["container"]
        assert pod["securityContext"]["runAsUser"] == user
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["enableServiceLinks"] is False
        mounts = {mount["name"]: mount for mount in one["volumeMounts"]}
        assert mounts["secrets"]["mountPath"] == container.environment["TENUTO_SECRETS_DIR"]
    for _, template in pods(overlay):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in pod["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= one["resources"].keys()


def labels_match(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


def test_selectors_select(overlay: tuple[dict[str, Any], ...]) -> None:
    templates = [(workload, template["metadata"]["labels"]) for workload, template in pods(overlay)]
    operators = [{"app.kubernetes.io/name": "tenuto-rabbitmq"}, {"cnpg.io/cluster": "tenuto-postgres"}]
    labels = [*(one for _, one in templates), *operators]
    for workload, own in templates:
        if workload["kind"] != "Job":
            selector = workload["spec"]["selector"]
            assert [other for _, other in templates if labels_match(selector, other)] == [own]
        for constraint in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert labels_match(constraint["labelSelector"], own)
    for manifest in overlay:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "Service":
                selectors = [{"matchLabels": spec["selector"]}]
            case "PodDisruptionBudget" | "PodMonitor":
                selectors = [spec["selector"]]
            case "NetworkPolicy":
                peers = [peer for rule in spec.get("egress", ()) for peer in rule.get("to", ())]
                selectors = [
                    spec["podSelector"],
                    *(peer["podSelector"] for peer in peers if "podSelector" in peer),
                ]
            case _:
                selectors = []
        for selector in selectors:
            assert any(labels_match(selector, one) for one in labels), (manifest["kind"], selector)


def test_every_workload_of_ours_has_a_disruption_budget(overlay: tuple[dict[str, Any], ...]) -> None:
    budgets = [one["spec"]["selector"] for one in overlay if one["kind"] == "PodDisruptionBudget"]
    for workload, template in pods(overlay):
        if workload["kind"] == "Deployment":
            assert sum(labels_match(budget, template["metadata"]["labels"]) for budget in budgets) == 1


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_are_references_to_what_there_is(name: str) -> None:
    overlay = render(f"overlays/{name}")
    made = {one["metadata"]["name"]: one["data"] for one in overlay if one["kind"] == "Secret"}
    for _, template in pods(overlay):
        for volume in template["spec"].get("volumes", ()):
            for source in volume.get("projected", {}).get("sources", ()):
                secret = source["secret"]
                if name == "dev" and not secret.get("optional"):
                    assert {item["key"] for item in secret["items"]} <= made[secret["name"]].keys()
                elif name == "production":
                    assert secret["name"] in FROM_OPERATORS | FROM_USERS
    if name == "production":
        assert not made
        clusters = {
            one["metadata"]["name"] for one in overlay if one["kind"] in ("Cluster", "RabbitmqCluster")
        }
        assert clusters == {"tenuto-postgres", "tenuto-rabbitmq"}
        guide = (ROOT / "docs/operating.md").read_text()
        assert all(secret in guide for secret in FROM_USERS)
        assert "tenuto-backups" in guide


def test_pools_and_orchestrators_are_scaled() -> None:
    overlay = render("overlays/production")
    ours = containers(overlay, secrets=SECRETS)
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in overlay if one["kind"] == "ScaledObject"
    }
    assert scaled.keys() == {name for name, one in ours.items() if one.command in ("worker", "orchestrator")}
    for name, spec in scaled.items():
        assert "replicas" not in ours[name].source["workload"]["spec"]
        query = spec["triggers"][0]["metadata"]["query"]
        if name == "orchestrator":
            assert spec["maxReplicaCount"] <= int(ours[name].environment["TENUTO_PARTITIONS"])
            assert spec["minReplicaCount"] >= 2
        else:
            assert query == f'sum(tenuto_pool_tasks{{pool="{name.removeprefix("worker-")}"}})'
            assert spec["minReplicaCount"] == 0
            assert int(spec["triggers"][0]["metadata"]["threshold"]) == WorkerSettings().concurrency
        assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


def test_what_is_scaled_by_is_told() -> None:
    catalogue = pytest.importorskip("tenuto.metrics.catalogue")
    told = {metric.told: metric for metric in catalogue.ALL}
    scaled = [one["spec"] for one in render("overlays/production") if one["kind"] == "ScaledObject"]
    for query in (spec["triggers"][0]["metadata"]["query"] for spec in scaled):
        for name, labels in re.findall(r"(tenuto_\w+)(?:{([^}]*)})?", query):
            assert set(re.findall(r"(\w+)=", labels)) <= set(told[name].labels)
            # Each orchestrator tells its own part of some, which add up, and the same of others.
            assert query.startswith("max(" if told[name] in catalogue.DEPLOYMENT else "sum(")


@pytest.mark.parametrize("page", ["docs/operating.md", "k8s/README.md"])
def test_pages_name_what_there_is(page: str) -> None:
    text = (ROOT / page).read_text()
    assert f"1.{OLDEST} or later" in text
    for path in re.findall(r"(?:-k |`)((?:k8s|overlays|tests)/[\w./-]+)", text):
        base = K8S if path.startswith("overlays") else ROOT
        assert (base / path).exists(), path


def test_dev_needs_no_operator() -> None:
    groups = {one["apiVersion"].rpartition("/")[0] for one in render("overlays/dev")}
    assert groups == {"", "apps", "batch", "policy", "networking.k8s.io"}


def test_scraped_ports_are_there() -> None:
    overlay = render("overlays/production")
    names = {
        port["name"]
        for _, template in pods(overlay)
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    }
    told = {"prometheus"} | names  # that of RabbitMQ's operator
    for one in overlay:
        if one["kind"] == "PodMonitor":
            assert {endpoint["port"] for endpoint in one["spec"]["podMetricsEndpoints"]} <= told


def test_apps_are_in_the_image() -> None:
    for name in OVERLAYS:
        for container in containers(render(f"overlays/{name}"), secrets=SECRETS).values():
            assert (ROOT / "examples" / container.environment["APP"]).is_file()
