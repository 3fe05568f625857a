"""Faults of every kind on real servers and real processes under a mixed load: nothing lost, nothing doubled.

`TENUTO_TEST_CHAOS_SECONDS` says how long (by default three minutes on the CI machine, else 75 seconds),
`TENUTO_TEST_CHAOS_SEED` which schedule; `python -m tests.acceptance.faults --help` runs it by hand.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.acceptance.faults.campaign import Campaign, Surroundings

SECONDS = float(
    os.environ.get("TENUTO_TEST_CHAOS_SECONDS", "180" if os.environ.get("CI") == "true" else "75")
)
SEED = int(os.environ.get("TENUTO_TEST_CHAOS_SEED", str(random.SystemRandom().randrange(100_000))))

pytestmark = pytest.mark.timeout(SECONDS + 900)


@pytest.mark.semantics("Whatever is killed, restarted or wiped")
async def test_nothing_is_lost_or_doubled_whatever_fails(around: Surroundings) -> None:
    async with Campaign.open(around, seed=SEED, say=print) as campaign:
        report = await campaign.run(SECONDS)
    assert report.findings.violations == []
    assert report.faults.total() > 0
    assert report.ordered > 100


async def test_eight_orchestrators_come_and_six_go_under_load(around: Surroundings) -> None:
    async with Campaign.open(around, seed=SEED, orchestrators=1, say=print) as campaign:
        fleet, cluster = campaign.fleet, campaign.fleet.cluster
        codes: list[int] = []

        async def scale() -> None:
            fleet.grow(8)
            await fleet.until_up()
            await cluster.until_shared(8)
            codes.extend(await fleet.shrink(2))
            await cluster.until_shared(2)

        report = await campaign.under_load(scale)
    assert codes == [0] * 6
    assert report.findings.violations == []
