"""PostgreSQL goes away and comes back in the middle of a load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster
from tests.support.sample_app import EVEN_POOL, ODD_POOL
from tests.support.servers import PrivatePostgres
from tests.support.verify import verify_chains

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("how", ["restarted", "killed"])
async def test_nothing_is_lost_or_doubled_when_postgres_is(
    how: str,
    make_cluster: Callable[[str, str], Cluster],
    private_postgres: PrivatePostgres,
    rabbitmq_url: str,
) -> None:
    cluster = make_cluster(private_postgres.url, rabbitmq_url)
    await cluster.upgrade()
    await asyncio.gather(
        cluster.orchestrator(), cluster.orchestrator(), cluster.worker(ODD_POOL), cluster.worker(EVEN_POOL)
    )
    load = cluster.load(1000, steps=5)
    await load.until_finished(150)

    if how == "restarted":
        await private_postgres.restart()
    else:
        await private_postgres.kill()
        await private_postgres.start()
    restarted_at = load.finished()

    await verify_chains(load, database_url=private_postgres.url, audit=cluster.audit)
    assert restarted_at < load.count, "the load was over before the server went away"
    await cluster.until_shared(2)
    assert set((await cluster.stop()).values()) == {0}
