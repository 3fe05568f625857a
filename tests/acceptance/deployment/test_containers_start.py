"""Every container of ours is started by hand: the same arguments and environment, its health check, real servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.deployment.manifests import containers, render
from tests.support.containers import Container, argv, compose_containers, unpack
from tests.support.processes import OwnedProcess, eventually, free_port
from tests.support.reaper import Reaper

PATIENCE = 60.0


class Machine:
    """Runs containers' commands in a folder like their image's, where the network's addresses are the tests'."""

    def __init__(
        self, folder: Path, servers: Mapping[str, str], reaper: Reaper, show_log: Callable[[Path], None]
    ) -> None:
        self.app = unpack(folder)
        self._folder = folder
        self._servers = servers
        self._reaper = reaper
        self._show_log = show_log
        self.ports: dict[str, int] = {}
        self.running: list[OwnedProcess] = []

    def environment(self, container: Container) -> dict[str, str]:
        """The container's own, but for addresses, ports and a namespace."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
        given = {name: value for name, value in container.environment.items() if "OTEL_EXPORTER" not in name}
        for name in self._servers.keys() & (given.keys() | {"TENUTO_NAMESPACE"}):
            given[name] = self._servers[name]
        port = self.ports.setdefault(container.name, free_port())
        if container.command == "gateway":
            given["TENUTO_HTTP_PORT"] = str(port)
        if "TENUTO_METRICS_PORT" in given:
            given["TENUTO_METRICS_PORT"] = str(port)
        given["WORLD_BOOKS"] = str(self._folder / "world.db")
        if container.secrets:
            given["TENUTO_SECRETS_DIR"] = str(self._mounted(container))
        return {**inherited, **given}

    def _mounted(self, container: Container) -> Path:
        folder = self._folder / f"{container.name}-secrets"
        folder.mkdir()
        for name in container.secrets:
            (folder / name).write_text(self._servers[name.upper()] + "\n")
        return folder

    def start(self, container: Container) -> OwnedProcess:
        log = self._folder / f"{container.name}.log"
        self._show_log(log)
        process = OwnedProcess(
            argv(container), log=log, reaper=self._reaper, env=self.environment(container), cwd=self.app
        )
        self.running.append(process)
        return process

    async def finish(self, container: Container) -> None:
        process = self.start(container)
        assert await process.wait(timeout=PATIENCE) == 0, process.output()

    async def stop(self) -> None:
        """As the engine does: SIGTERM, and a good end."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            assert await process.wait(timeout=PATIENCE) == 0, process.output()
            assert "Traceback" not in process.output()


@pytest.fixture
def servers(postgres_url: str, rabbitmq_url: str, namespace: str) -> dict[str, str]:
    return {
        "TENUTO_DATABASE_URL": postgres_url,
        "TENUTO_BROKER_URL": rabbitmq_url,
        "TENUTO_NAMESPACE": namespace,
    }


@pytest.fixture
def machine(
    tmp_path: Path, servers: dict[str, str], reaper: Reaper, show_log: Callable[[Path], None]
) -> Iterator[Machine]:
    with killed_at_the_end(Machine(tmp_path, servers, reaper, show_log)) as machine:
        yield machine


@contextmanager
def killed_at_the_end(machine: Machine) -> Iterator[Machine]:
    try:
        yield machine
    finally:
        for process in machine.running:
            process.kill()


async def until_healthy(container: Container, process: OwnedProcess, port: int) -> None:
    """Run the health check of a service, as the container engine would, until it succeeds."""
    kind, program, *arguments = container.source["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    command = [
        argument.replace(":9464/", f":{port}/").replace(":8420/", f":{port}/") for argument in arguments
    ]

    def healthy() -> bool:
        assert process.running, process.output()
        return subprocess.run([sys.executable, *command], capture_output=True, check=False).returncode == 0

    await eventually(healthy, f"{container.name} is healthy", timeout=PATIENCE)


async def until_probed(container: Container, process: OwnedProcess, port: int) -> None:
    """Ask what the kubelet asks, until each of the probes has succeeded."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container.source["container"][kind]["httpGet"]["path"]
            async with asyncio.timeout(PATIENCE):
                while not await answers(client, path):
                    assert process.running, process.output()
                    await asyncio.sleep(0.05)


async def answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).is_success
    except httpx.TransportError:  # nobody listens yet
        return False


async def test_compose_runs_the_order_flow(machine: Machine) -> None:
    containers = compose_containers()
    await machine.finish(containers.pop("migrate"))
    order = containers.pop("order")
    started = [(container, machine.start(container)) for container in containers.values()]
    for container, process in started:
        await until_healthy(container, process, machine.ports[container.name])
    await machine.finish(order)
    url = f"http://127.0.0.1:{machine.ports['gateway']}/api/v1/instances/order-1"
    async with httpx.AsyncClient() as client:
        status = ""
        async with asyncio.timeout(PATIENCE):
            while status not in ("COMPLETED", "FAILED", "TERMINATED"):
                shown = await client.get(url)
                status = shown.json()["status"] if shown.status_code == 200 else ""
    assert status == "COMPLETED"
    await machine.stop()


async def test_the_pods_of_dev_become_ready(machine: Machine) -> None:
    secrets = dict.fromkeys(("tenuto_database_url", "tenuto_broker_url"), "")
    found = containers(render("overlays/dev"), secrets=secrets)
    await machine.finish(found.pop("migrate"))
    started = [(container, machine.start(container)) for container in found.values()]
    assert len(started) == 4
    for container, process in started:
        await until_probed(container, process, machine.ports[container.name])
    await machine.stop()
