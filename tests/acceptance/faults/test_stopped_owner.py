"""Rule O3: an orchestrator that is frozen in the middle of its commit does not keep its partitions from others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psutil
import pytest

from tests.acceptance.faults.campaign import Surroundings
from tests.acceptance.faults.conftest import MakeCluster
from tests.acceptance.faults.mutated import STOP_VARIABLE
from tests.support.processes import ProcessFailedError, eventually
from tests.support.sample_app import EVEN_POOL, ODD_POOL
from tests.support.verify import verify_chains

pytestmark = pytest.mark.timeout(240)

LEASE = 3.0
CHAINS = 400


async def check_takeover(
    around: Surroundings,
    make_cluster: MakeCluster,
    *,
    place: str,
    patience: float,
    owner: Sequence[str] = (),
    taker: Sequence[str] = (),
) -> None:
    """Freeze an owner between the fence and the end of a commit: the other one takes over all the same, while it is
    frozen, and nothing is lost or doubled when it wakes. `owner` and `taker` are mutations of the two.

    Raises:
        ProcessFailedError: the takeover did not come to pass within `patience` seconds.
    """
    here = around.folder / "stop-here"
    cluster = make_cluster(settings={"TENUTO_LEASE": str(LEASE), STOP_VARIABLE: str(here)})
    await cluster.upgrade()
    zombie, _, _, _ = await asyncio.gather(
        cluster.mutant(place, *owner),
        cluster.mutant(*taker),
        cluster.worker(ODD_POOL),
        cluster.worker(EVEN_POOL),
    )
    await cluster.until_shared(2)
    load = cluster.load(CHAINS, steps=5)
    await load.until_finished(40)

    here.touch()
    frozen = psutil.Process(zombie.pid)
    await eventually(lambda: frozen.status() == psutil.STATUS_STOPPED, "it stops within a commit")
    await cluster.until_shared(1, timeout=patience)
    assert frozen.status() == psutil.STATUS_STOPPED
    zombie.resume()

    await verify_chains(load, database_url=around.postgres.url, audit=cluster.audit)
    await cluster.until_shared(2)
    assert set((await cluster.stop()).values()) == {0}


@pytest.mark.parametrize("place", ["stops-in-commit", "stops-in-statement"])
async def test_a_frozen_owner_loses_its_partitions(
    place: str, around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await check_takeover(around, make_mutable_cluster, place=place, patience=60.0)


async def test_the_databases_own_limits_do_without_the_takers_help(
    around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    await check_takeover(
        around,
        make_mutable_cluster,
        place="stops-in-commit",
        taker=["spares-stopped-owners"],
        patience=60.0,
    )


@pytest.mark.parametrize(
    ("place", "owner"), [("stops-in-commit", ["unlimited-sessions"]), ("stops-in-statement", [])]
)
async def test_where_nobody_ends_its_session_the_takeover_hangs(
    place: str, owner: Sequence[str], around: Surroundings, make_mutable_cluster: MakeCluster
) -> None:
    with pytest.raises(ProcessFailedError, match="the partitions belong to"):
        await check_takeover(
            around,
            make_mutable_cluster,
            place=place,
            owner=owner,
            taker=["spares-stopped-owners"],
            patience=5 * LEASE,
        )
