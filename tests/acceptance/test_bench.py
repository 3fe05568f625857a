"""`tenuto bench`: it runs every workload and verifies the results. How quick it is decides nothing here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.acceptance.command_line import CommandLine
from tests.support.processes import eventually
from tests.support.reaper import Reaper

SMALL = {
    "chain": ("--workflows=5", "--steps=3"),
    "local": ("--workflows=5", "--steps=3"),
    "fanout": ("--workflows=2", "--steps=5"),
    "history": ("--steps=210",),
    "noop": ("--workflows=5",),
    "latency": ("--workflows=3", "--steps=2"),
    "local-latency": ("--workflows=3", "--steps=2"),
    "waiting": ("--workflows=5",),
    "timers": ("--workflows=3",),
    "children": ("--workflows=2", "--steps=3"),
    "mixed": ("--workflows=3", "--steps=2"),
}
REPORTED = {
    "workload",
    "settings",
    "versions",
    "workflows",
    "seconds",
    "workflows_per_second",
    "activities_per_second",
    "latency_ms",
    "cpu_seconds",
    "peak_rss_bytes",
    "verified",
}


@pytest.fixture
def tenuto(tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]) -> Iterator[CommandLine]:
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log) as command_line:
        yield command_line


async def bench(tenuto: CommandLine, workload: str, *options: str) -> Any:
    finished = await tenuto.run("bench", workload, *SMALL[workload], "--repeat=1", "--json", *options)
    assert finished.code == 0, finished
    return json.loads(finished.out)


@pytest.mark.parametrize("workload", SMALL)
async def test_every_workload_is_verified_on_the_embedded_default(tenuto: CommandLine, workload: str) -> None:
    report = await bench(tenuto, workload)
    assert report["verified"] is True
    assert report.keys() >= REPORTED
    assert report["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert report["cpu_seconds"].keys() == report["peak_rss_bytes"].keys() == {"embedded"}
    assert list(tenuto.folder.iterdir()) == []


async def test_the_table_is_for_people(tenuto: CommandLine) -> None:
    finished = await tenuto.run("bench", "noop", "--workflows=3", "--repeat=2")
    assert finished.code == 0, finished
    assert "workflows per second" in finished.out
    assert "verified" in finished.out


async def test_it_starts_its_own_processes_and_leaves_nothing_behind(
    tenuto: CommandLine, postgres_url: str, rabbitmq_url: str
) -> None:
    servers = (f"--database-url={postgres_url}", f"--broker-url={rabbitmq_url}")
    report = await bench(tenuto, "chain", *servers, "--workers=2")
    assert report["verified"] is True
    assert report["activities_per_second"] > 0
    processes = {"driver", "orchestrator", "worker-1", "worker-2"}
    assert report["cpu_seconds"].keys() >= processes
    assert report["peak_rss_bytes"].keys() == processes
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        left = connection.scalars(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tenuto_bench%'"))
        assert list(left) == []
    engine.dispose()


async def test_it_drives_a_deployment_that_is_there(tenuto: CommandLine) -> None:
    deployment = tenuto.start("dev", "tenuto_gateway.bench.program:app")
    await eventually(lambda: "serves the app" in deployment.output(), "it is up")
    report = await bench(tenuto, "noop", "--attach")
    assert report["settings"]["place"] == "attached"
    assert report["cpu_seconds"].keys() == {"driver"}
    deployment.terminate()
    assert await deployment.wait() == 0, deployment.output()


async def test_one_process_cannot_be_several(tenuto: CommandLine) -> None:
    finished = await tenuto.run("bench", "noop", "--workers=2")
    assert finished.code == 2
    assert "--broker-url" in finished.err
