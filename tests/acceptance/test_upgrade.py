"""Earlier code of this repository: what it left half done today's code finishes, and beside it it works on."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from tenuto.broker.memory import MemoryServer
from tenuto.core.status import Status
from tests.histories.record import DATABASE, FOLDER, code_of, leave
from tests.support import sample_app as sample
from tests.support.cluster import Cluster, Process
from tests.support.engine import Place, engine_at
from tests.support.unfinished import EXPECTED
from tests.support.verify import verify_chains

ROOT = Path(__file__).resolve().parents[2]
RELEASES = tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{DATABASE}")))
"""Releases that have left a database with live instances behind."""
_CHAINS = 600


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the first commit that had the engine and its tests. Skips where the repository does not reach back."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs git and the repository's history")
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        pytest.skip("needs the repository's first commits, and this clone is shallow: git fetch --unshallow")
    commit = _git("log", "--diff-filter=A", "--format=%H", "--", "tests/support/unfinished.py").split()[-1]
    tree = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit.decode()))) as tar:
        tar.extractall(tree, filter="data")
    return tree


def _git(*command: str) -> bytes:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.mark.parametrize("release", RELEASES)
async def test_a_database_of_an_earlier_release_goes_on(release: str, tmp_path: Path) -> None:
    """What live instances of each kind a release has left in its database, today's code finishes."""
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((FOLDER / release / DATABASE).read_text())
    await _goes_on(f"sqlite+aiosqlite:///{file}")


def test_the_first_release_left_a_database() -> None:
    assert "0.1.0" in RELEASES


async def test_a_postgresql_database_of_the_first_code_goes_on(earlier: Path, postgres_url: str) -> None:
    output = await leave(postgres_url, code=earlier)
    assert str(earlier) in output, "it must have been the earlier code that ran"
    await _goes_on(postgres_url)


async def _goes_on(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        place = Place(
            database_url=database_url, broker_url="memory://", namespace="old", server=MemoryServer()
        )
        engine = await engine_at(place, sample.app, stack)
        before = await engine.store.instances(list(EXPECTED))
        assert before["suspended"].status is Status.SUSPENDED
        assert {before[name].status for name in ("chain", "gather", "family")} == {Status.RUNNING}
        await engine.orchestrator()
        for pool in (sample.ODD_POOL, sample.EVEN_POOL):
            await engine.worker(pool)
        for number in (1, 2):
            await engine.client.get("gather").raise_event("item", number)
        await engine.client.get("suspended").resume()
        results = {name: await engine.client.get(name).result(timeout=60) for name in EXPECTED}
        assert results == EXPECTED
        records = await engine.store.instances(list(EXPECTED))
        assert {name: record.run for name, record in records.items()} == {
            name: record.run for name, record in before.items()
        }
        health = await engine.store.health()
        assert (health.stalled.count, health.held.count) == (0, 0)


@pytest.mark.timeout(300)
async def test_a_rolling_upgrade_under_load(
    earlier: Path,
    make_cluster: Callable[[str, str], Cluster],
    postgres_url: str,
    rabbitmq_url: str,
) -> None:
    """Old and new orchestrators and workers share the work while one after the other is replaced."""
    cluster = make_cluster(postgres_url, rabbitmq_url)
    cluster.environment["PYTHONPATH"] = code_of(earlier)
    assert str(earlier) in _origin(cluster), "it must be the earlier code that runs"
    await cluster.upgrade()
    first, second, odd, even = await asyncio.gather(
        *(cluster.orchestrator(), cluster.orchestrator()),
        *(cluster.worker(sample.ODD_POOL), cluster.worker(sample.EVEN_POOL)),
    )
    await cluster.until_shared(2)
    del cluster.environment["PYTHONPATH"]
    assert str(earlier) not in _origin(cluster)

    await cluster.upgrade()  # while the old code runs
    load = cluster.load(_CHAINS, steps=5, window=5)
    started: list[Callable[[], Coroutine[None, None, Process]]] = [
        cluster.orchestrator,
        lambda: cluster.worker(sample.ODD_POOL),
        cluster.orchestrator,
        lambda: cluster.worker(sample.EVEN_POOL),
    ]
    for number, (start, old) in enumerate(zip(started, (first, odd, second, even), strict=True), start=1):
        await load.until_finished(number * _CHAINS // 20)
        await start()
        old.terminate()
        assert await old.wait(timeout=60) == 0, old.output()
    assert load.finished() < _CHAINS, "the load was over before the upgrade was"
    await verify_chains(load, database_url=postgres_url, audit=cluster.audit)
    await cluster.until_shared(2)


def _origin(cluster: Cluster) -> str:
    """Where processes of the cluster get the engine's code from."""
    command = [sys.executable, "-c", "import tenuto_orchestrator; print(tenuto_orchestrator.__file__)"]
    return subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=True).stdout
