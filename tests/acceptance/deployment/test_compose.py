"""compose.yaml and the Containerfile, compared with the code and the Compose specification."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from tenuto.settings import GatewaySettings, OrchestratorSettings, WorkerSettings
from tests.support.containers import (
    ROOT,
    Container,
    check_command,
    check_environment,
    compose_containers,
    image,
    load,
    settings_of,
)

SCHEMAS = ROOT.parent / "shared" / "schemas"
COMPOSE: dict[str, Any] = load(ROOT / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = compose_containers()
CONFIGURATION = ROOT / "k8s/observability/compose"
KNOWN_PORTS = {
    "rabbitmq": {5672, 15672, 15692},
    "postgres": {5432},
    "jaeger": {16686, 4318},
    "prometheus": {9090},
    "grafana": {3000},
    "collector": {4318},
}
"""Of what is not ours: the ports that its image listens on, of those that are used here."""


def ports(service: str) -> set[int]:
    """What a service listens on."""
    if service not in OURS:
        return KNOWN_PORTS[service]
    if OURS[service].command == "gateway":
        return {GatewaySettings.model_fields["http_port"].default}
    return {int(OURS[service].environment["TENUTO_METRICS_PORT"])}


def address_exists(host: str, port: int | None) -> None:
    assert host in SERVICES, host
    assert port in ports(host), (host, port)


def test_it_is_as_the_specification_says() -> None:
    schema = SCHEMAS / "compose" / "compose-spec.json"
    if not schema.exists():
        pytest.skip(f"the schema of Compose is not beside this checkout ({schema})")
    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))


def test_all_that_belongs_to_it_is_there() -> None:
    commands = [container.command for container in OURS.values()]
    assert commands.count("worker") == 2
    assert SERVICES["orchestrator"]["deploy"]["replicas"] == 2
    assert set(KNOWN_PORTS) | set(OURS) == set(SERVICES)
    assert {"gateway", "db", "orchestrator"} <= set(commands)


@pytest.mark.parametrize("container", OURS.values(), ids=OURS)
def test_commands_and_variables_are_the_codes(
    container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    check_command(container.args)
    check_environment(container)
    settings = settings_of(container, monkeypatch)
    needs_database = container.command in ("orchestrator", "gateway", "db")
    assert ("TENUTO_DATABASE_URL" in container.environment) == needs_database
    for variable, service in (("TENUTO_BROKER_URL", "rabbitmq"), ("TENUTO_DATABASE_URL", "postgres")):
        if variable in container.environment:
            url = urlsplit(container.environment[variable])
            assert url.hostname == service
            address_exists(service, url.port)
    collector = urlsplit(container.environment["OTEL_EXPORTER_OTLP_ENDPOINT"])
    address_exists(str(collector.hostname), collector.port)
    if isinstance(settings, OrchestratorSettings | WorkerSettings | GatewaySettings):
        stop = SERVICES[container.name]["stop_grace_period"]
        grace = settings.grace if isinstance(settings, WorkerSettings) else 5.0
        assert float(stop.removesuffix("s")) >= grace + 10


@pytest.mark.parametrize("container", OURS.values(), ids=OURS)
def test_ours_can_do_no_harm(container: Container) -> None:
    assert container.source["read_only"] is True
    assert container.source["cap_drop"] == ["ALL"]
    assert container.source["security_opt"] == ["no-new-privileges:true"]
    build = container.source["build"]
    assert build["target"] in image().stages
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    books = container.environment["WORLD_BOOKS"]
    assert Path(books).parent.as_posix() in container.source["tmpfs"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_paths_and_dependencies_exist(name: str) -> None:
    service = SERVICES[name]
    for published in service.get("ports", ()):
        address, outside, inside = published.split(":")
        assert address == "127.0.0.1"  # nothing has a password
        assert outside == inside
        assert int(inside) in ports(name)
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
    for config in service.get("configs", ()):
        assert config["source"] in COMPOSE["configs"]
    for other, how in service.get("depends_on", {}).items():
        match how["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[other]
            case "service_completed_successfully":
                assert OURS[other].command == "db"
            case _:
                assert other in SERVICES
    for url in re.findall(r"https?://[^\s'\"]+", " ".join(service.get("healthcheck", {}).get("test", ()))):
        assert urlsplit(url).port in ports(name)


def test_health_checks_ask_our_readiness() -> None:
    for name, container in OURS.items():
        if container.command in ("orchestrator", "worker", "gateway"):
            assert "/readyz" in SERVICES[name]["healthcheck"]["test"][-1]


def test_the_servers_alone_are_what_tests_and_documents_name() -> None:
    command = "docker compose up --detach --wait rabbitmq postgres"
    assert command in (ROOT / "CONTRIBUTING.md").read_text()
    assert "127.0.0.1:5672:5672" in SERVICES["rabbitmq"]["ports"]
    assert "127.0.0.1:5432:5432" in SERVICES["postgres"]["ports"]
    assert not any("depends_on" in SERVICES[name] for name in ("rabbitmq", "postgres"))


def test_prometheus_scrapes_what_listens(promtool: str) -> None:
    file = CONFIGURATION / "prometheus.yaml"
    subprocess.run([promtool, "check", "config", "--syntax-only", file], check=True, capture_output=True)
    config = load(file)
    scraped = set()
    for job in config["scrape_configs"]:
        for discovery in job["dns_sd_configs"]:
            for name in discovery["names"]:
                address_exists(name, discovery["port"])
                scraped.add(name)
    assert scraped >= {
        name for name, one in OURS.items() if one.command in ("orchestrator", "worker", "gateway")
    }
    mounts = dict(volume.split(":")[:2][::-1] for volume in SERVICES["prometheus"]["volumes"])
    told = {argument.partition("=")[2] for argument in SERVICES["prometheus"]["command"]}
    for rules in config["rule_files"]:
        folder, _, rule_file = rules.rpartition("/")
        assert (ROOT / mounts[folder] / rule_file).is_file()
    alerts = {path.name for path in (ROOT / "k8s/alerts").glob("*.yaml") if "_test" not in path.name}
    assert {rules.rpartition("/")[2] for rules in config["rule_files"]} == alerts
    assert mounts.keys() & told == {"/etc/prometheus/prometheus.yaml"}


def test_grafana_finds_its_boards_and_their_data() -> None:
    mounts = dict(volume.split(":")[:2][::-1] for volume in SERVICES["grafana"]["volumes"])
    provisioning = ROOT / mounts["/etc/grafana/provisioning"]
    for provider in load(provisioning / "dashboards/tenuto.yaml")["providers"]:
        assert list((ROOT / mounts[provider["options"]["path"]]).glob("*.json"))
    for source in load(provisioning / "datasources/tenuto.yaml")["datasources"]:
        url = urlsplit(source["url"])
        address_exists(str(url.hostname), url.port)


def test_the_collector_takes_what_services_send() -> None:
    config = load(CONFIGURATION / "collector.yaml")
    receiver = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert int(receiver.rpartition(":")[2]) in ports("collector")
    exporter = urlsplit(config["exporters"]["otlphttp"]["endpoint"])
    address_exists(str(exporter.hostname), exporter.port)
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= set(config[kind])


def test_the_image_is_small_and_not_roots() -> None:
    found = image()
    user, group = map(int, found.user.split(":"))
    assert user >= 1000
    assert group >= 1000
    assert found.layers <= 2
    assert found.stages == ["build", "tenuto", "example"]
    for source, _ in found.copied:
        assert (ROOT / source).exists()
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / path).exists() for path in allowed)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.partition("/")[0] for package in packages} | {source for source, _ in found.copied}
    assert set(allowed) == needed
