"""Every kind of workflow on real processes, while those that hold them are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from tenuto import Client
from tenuto.client import WorkflowHandle
from tenuto.core.status import Status
from tenuto.settings import ClientSettings
from tests.support import sample_app as sample
from tests.support.cluster import Cluster, Process

pytestmark = pytest.mark.timeout(300)

EACH = 10


@pytest.fixture
def cluster(make_cluster: Callable[[str, str], Cluster], postgres_url: str, rabbitmq_url: str) -> Cluster:
    return make_cluster(postgres_url, rabbitmq_url)


@pytest.fixture
async def processes(cluster: Cluster) -> Sequence[Process]:
    """An orchestrator, another, a worker of odd steps, a worker of even ones."""
    await cluster.upgrade()
    started = await asyncio.gather(
        cluster.orchestrator(),
        cluster.orchestrator(),
        cluster.worker(sample.ODD_POOL),
        cluster.worker(sample.EVEN_POOL),
    )
    await cluster.until_shared(2)
    return started


@pytest.fixture
async def client(
    processes: Sequence[Process], postgres_url: str, rabbitmq_url: str, namespace: str
) -> AsyncIterator[Client]:
    settings = ClientSettings(database_url=postgres_url, broker_url=rabbitmq_url, namespace=namespace)
    async with Client(settings) as client:
        yield client


def orders(number: int) -> list[tuple[Any, Any, Any]]:
    """Workflow, input, expected result."""
    chain = sample.Chain(seed=f"c{number}", steps=5)
    naps = sample.Naps(count=3, seconds=0.2)
    family = sample.Family(seed=f"f{number}", children=3, steps=3)
    generations = sample.Generations(left=5, value=f"g{number}")
    return [
        (sample.chain, chain, sample.expected_chain(chain)),
        (sample.fan_out, 20, sample.expected_fan_out(20)),
        (sample.naps, naps, sample.expected_naps(naps)),
        (sample.family, family, sample.expected_family(family)),
        (sample.generations, generations, sample.expected_generations(generations)),
        (sample.stubborn, 4, sample.expected_stubborn(4)),
    ]


@pytest.mark.semantics("Long activities, children, events and timers")
async def test_every_kind_ends_right_though_processes_are_killed(
    cluster: Cluster, processes: Sequence[Process], client: Client
) -> None:
    expected: list[tuple[WorkflowHandle[Any], Any]] = []
    for number in range(EACH):
        for workflow, order, result in orders(number):
            expected.append((await client.start(workflow, order), result))
        gathering = await client.start(sample.gather, 4, instance_id=f"gather-{number}")
        relay = sample.Relay(receiver=gathering.instance_id, count=4)
        expected.append((gathering, sample.expected_gather(4)))
        expected.append((await client.start(sample.relay, relay), sample.expected_relay(relay)))
        if number == EACH // 2:
            processes[0].kill()
            processes[2].kill()
            await asyncio.gather(cluster.orchestrator(), cluster.worker(sample.ODD_POOL))

    results = await asyncio.gather(*(handle.result(timeout=90) for handle, _ in expected))
    assert results == [result for _, result in expected]


async def test_a_suspended_instance_stays_so_and_loses_nothing_when_its_owner_dies(
    cluster: Cluster, processes: Sequence[Process], client: Client
) -> None:
    handles = [await client.start(sample.gather, 3) for _ in range(EACH)]
    for handle in handles:
        await handle.raise_event("item", 0)
        await handle.suspend("for the test")
        await handle.raise_event("item", 1)

    processes[0].kill()
    await cluster.orchestrator()
    for handle in handles:
        await handle.raise_event("item", 2)
        assert (await handle.status()).status is Status.SUSPENDED
        await handle.resume()

    results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
    assert results == [[0, 1, 2]] * EACH


@pytest.mark.semantics("The parent-close policy")
async def test_terminating_a_parent_ends_its_children_though_their_owner_died(
    cluster: Cluster, processes: Sequence[Process], client: Client
) -> None:
    # Nobody runs the activities of the even pool, so the children cannot end by themselves.
    processes[3].kill()
    order = sample.Family(seed="x", children=4, steps=1)
    parents = [
        await client.start(sample.family, order, instance_id=f"parent-{number}") for number in range(EACH)
    ]
    await asyncio.gather(*(handle.started(timeout=60) for handle in parents))
    processes[1].kill()
    for handle in parents:
        await handle.terminate(reason="for the test")
    await cluster.orchestrator()

    await until_ended(client, instances=EACH * 5)
    for handle in parents:
        assert (await handle.status()).status is Status.TERMINATED


async def until_ended(client: Client, *, instances: int) -> None:
    """Wait until so many instances exist and none of them lives."""
    async with asyncio.timeout(90):
        while True:
            statuses = [each.status async for each in client.list()]
            if len(statuses) == instances and all(status.is_terminal for status in statuses):
                return
            await asyncio.sleep(0.2)
