"""A load on two orchestrators and two worker pools while processes are killed, frozen and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster, Load, Process
from tests.support.sample_app import EVEN_POOL, ODD_POOL
from tests.support.verify import verify_chains

pytestmark = pytest.mark.timeout(300)

MakeCluster = Callable[[str, str], Cluster]


@pytest.mark.semantics("Whatever is killed, restarted or wiped")
async def test_nothing_is_lost_or_doubled_when_processes_are_killed(
    make_cluster: MakeCluster, postgres_url: str, rabbitmq_url: str
) -> None:
    cluster = make_cluster(postgres_url, rabbitmq_url)
    await cluster.upgrade()
    orchestrator, _, odd, _ = await asyncio.gather(
        cluster.orchestrator(), cluster.orchestrator(), cluster.worker(ODD_POOL), cluster.worker(EVEN_POOL)
    )
    await cluster.until_shared(2)

    load = cluster.load(1000, steps=5)
    await load.until_finished(150)
    orchestrator.kill()
    odd.kill()
    killed_at = load.finished()
    await asyncio.gather(cluster.orchestrator(), cluster.worker(ODD_POOL))

    await verify_chains(load, database_url=postgres_url, audit=cluster.audit)
    assert killed_at < load.count, "the load was over before anything was killed"
    await cluster.until_shared(2)
    assert set((await cluster.stop()).values()) == {0}


@pytest.mark.semantics("orchestrator that dies")
async def test_an_orchestrator_that_was_frozen_does_no_harm_when_it_wakes(
    make_cluster: MakeCluster, postgres_url: str, rabbitmq_url: str
) -> None:
    """It still holds messages and unfinished batches of partitions that others own by then (rules O1, C1, C2)."""
    cluster = make_cluster(postgres_url, rabbitmq_url)
    await cluster.upgrade()
    zombie, _, _, _ = await asyncio.gather(
        cluster.orchestrator(), cluster.orchestrator(), cluster.worker(ODD_POOL), cluster.worker(EVEN_POOL)
    )
    await cluster.until_shared(2)

    load = cluster.load(400, steps=5)
    await load.until_finished(60)
    zombie.pause()
    await cluster.until_shared(1)
    zombie.resume()

    await verify_chains(load, database_url=postgres_url, audit=cluster.audit)
    await cluster.until_shared(2)
    assert set((await cluster.stop()).values()) == {0}


async def test_every_process_is_replaced_in_turn_under_load(
    make_cluster: MakeCluster, postgres_url: str, rabbitmq_url: str
) -> None:
    """A rolling restart: each new process is up before an old one is asked to stop."""
    cluster = make_cluster(postgres_url, rabbitmq_url)
    await cluster.upgrade()
    first, odd, even = await asyncio.gather(
        cluster.orchestrator(), cluster.worker(ODD_POOL), cluster.worker(EVEN_POOL)
    )
    load = cluster.load(400, steps=5)
    await load.until_finished(40)

    await cluster.orchestrator()
    await cluster.until_shared(2)
    first.terminate()
    await _replace_worker(cluster, load, ODD_POOL, old=odd)
    await _replace_worker(cluster, load, EVEN_POOL, old=even)

    await verify_chains(load, database_url=postgres_url, audit=cluster.audit)
    assert await first.wait() == 0
    assert set((await cluster.stop()).values()) == {0}


async def _replace_worker(cluster: Cluster, load: Load, pool: str, *, old: Process) -> None:
    await cluster.worker(pool)
    old.terminate()
    assert await old.wait() == 0
    await load.until_finished(min(load.count, load.finished() + 1))
