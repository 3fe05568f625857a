"""What compose.yaml, the Containerfile and Kubernetes manifests say of containers, so that they can be started by hand.

There is no container engine in a test: a container's command is run as it stands, in a folder with the files of its
image and with its environment, and only what its network would provide (addresses, ports) is replaced.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import ValidationError

from tenuto.errors import SettingsError
from tenuto.settings import (
    ClientSettings,
    GatewaySettings,
    OrchestratorSettings,
    Settings,
    WorkerSettings,
)
from tenuto_gateway.cli.entry import build

__all__ = [
    "ROOT",
    "Container",
    "argv",
    "check_command",
    "check_environment",
    "compose_containers",
    "image",
    "load",
    "settings_of",
    "unpack",
]

ROOT = Path(__file__).resolve().parents[2]
_OWN_IMAGE = "tenuto-example"
_SETTINGS: Mapping[str, type[Settings]] = {
    "orchestrator": OrchestratorSettings,
    "worker": WorkerSettings,
    "gateway": GatewaySettings,
    "publish": Settings,
    "db": Settings,
    "workflow": ClientSettings,
}
_EXAMPLE = "WORLD_"
_STANDARD = "OTEL_"


@dataclass(frozen=True, kw_only=True)
class Container:
    """One of ours: its arguments are those of the `tenuto` command, which is its image's entry point."""

    name: str
    args: Sequence[str]
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Names of the files in its secrets directory."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """The service, or the container, as it is written."""

    @property
    def command(self) -> str:
        """The first word, such as `worker`."""
        return self.args[0]


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the Containerfile says of the last of its images."""

    entrypoint: Sequence[str]
    user: str
    workdir: str
    copied: Sequence[tuple[str, str]]
    stages: Sequence[str]
    layers: int
    """Layers of the image without its base."""


def load(path: Path) -> Any:
    """The only document of a YAML file, aliases and merges resolved."""
    return yaml.safe_load(path.read_text())


def image() -> Image:
    """The image of the last stage of the Containerfile."""
    text = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    stages: dict[str, list[tuple[str, str]]] = {}
    bases: dict[str, str] = {}
    stage = ""
    for keyword, rest in lines:
        if keyword == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages[stage], bases[stage] = [], base
        elif stage:
            stages[stage].append((keyword, rest))
    steps = list(stages[stage])
    while (base := bases[stage]) in stages:
        stage = base
        steps = stages[stage] + steps
    one = dict(steps)
    copies = [rest for keyword, rest in steps if keyword == "COPY" and not rest.startswith("--from")]
    return Image(
        entrypoint=json.loads(one["ENTRYPOINT"]),
        user=one["USER"],
        workdir=one["WORKDIR"],
        copied=[(source, target) for source, target in (copy.split() for copy in copies)],
        stages=list(stages),
        layers=sum(keyword in ("COPY", "RUN", "ADD") for keyword, _ in steps),
    )


def unpack(folder: Path) -> Path:
    """The image's working folder, with what is copied to it; the folder to run commands in."""
    found = image()
    for source, target in found.copied:
        if target == found.workdir:
            shutil.copytree(ROOT / source, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "app"


def compose_containers() -> dict[str, Container]:
    """The services of compose.yaml that are of our image, by name."""
    services = load(ROOT / "compose.yaml")["services"]
    return {
        name: Container(
            name=name, args=service["command"], environment=service.get("environment", {}), source=service
        )
        for name, service in services.items()
        if service["image"] == _OWN_IMAGE
    }


def check_command(args: Sequence[str]) -> None:
    """Raises what the command line would say of arguments that it does not take."""
    command: Any = typer.main.get_command(build())
    rest = list(args)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context(command.name, rest)


def settings_of(container: Container, monkeypatch: Any) -> Settings:
    """The settings that a container reads from its environment and its secrets.

    Raises:
        SettingsError: it would not take them.
    """
    for name, value in container.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TENUTO_SECRETS_DIR", raising=False)
    for name in container.secrets:
        monkeypatch.setenv(name.upper(), {"tenuto_http_tokens": "a:read:" + 64 * "0"}.get(name, "x://y"))
    try:
        return _SETTINGS[container.command]()
    except ValidationError as error:  # pragma: no cover  an unexpected one
        raise SettingsError(str(error)) from error


def check_environment(container: Container) -> None:
    """Variables that are not settings are those of OpenTelemetry, and the example's own."""
    example = (ROOT / "examples/outside_world.py").read_text()
    for name in container.environment:
        if name == "APP":
            continue  # it is in the arguments of some
        if name.startswith(_EXAMPLE):
            assert f'"{name}"' in example, f"{container.name}: the example does not read {name}"
        else:
            assert name.startswith(("TENUTO_", _STANDARD)), f"{container.name}: {name}"


def argv(container: Container) -> list[str]:
    """Its command as a process of the tests' own."""
    assert image().entrypoint == ["tenuto"]
    return [sys.executable, "-m", "tenuto_gateway.cli", *container.args]
