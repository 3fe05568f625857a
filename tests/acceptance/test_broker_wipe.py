"""The broker forgets everything in the middle of a load: the engine declares and sends it again from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pika
import pika.exceptions
import pytest

from tests.support.cluster import Cluster
from tests.support.sample_app import EVEN_POOL, ODD_POOL
from tests.support.servers import PrivateRabbitMQ
from tests.support.verify import verify_chains

pytestmark = pytest.mark.timeout(300)


Wipe = Callable[[], Awaitable[None]]


async def delete_all_queues(rabbitmq: PrivateRabbitMQ) -> Wipe:
    """Delete every queue under the eyes of its consumers; connections stay. What the engine declares again meanwhile, and
    sends again, may be deleted once more, which only rule B2 makes up for."""
    names = (await rabbitmq.control("list_queues", "name", "--no-table-headers")).split()
    assert names
    return lambda: asyncio.to_thread(_delete, rabbitmq.url, names)


def _delete(url: str, names: list[str]) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for name in names:
            # A channel of its own, since an exclusive queue of somebody else's refuses, and closes the channel.
            try:
                connection.channel().queue_delete(name)
            except pika.exceptions.ChannelClosedByBroker as refusal:
                assert refusal.reply_code == 405, refusal  # noqa: PT017 -- says which refusal is harmless


async def reset(rabbitmq: PrivateRabbitMQ) -> Wipe:
    """Make a new, empty broker of it."""
    return rabbitmq.wipe


@pytest.mark.parametrize("prepare", [delete_all_queues, reset])
async def test_the_engine_finishes_everything_from_the_database(
    prepare: Callable[[PrivateRabbitMQ], Awaitable[Wipe]],
    make_cluster: Callable[[str, str], Cluster],
    private_rabbitmq: PrivateRabbitMQ,
    postgres_url: str,
) -> None:
    cluster = make_cluster(postgres_url, private_rabbitmq.url)
    cluster.environment |= {"TENUTO_RESEND_AFTER": "4", "TENUTO_BEAT_LIFE": "8"}
    if prepare is delete_all_queues:
        # RabbitMQ 3.10 does not always bear that a quorum queue is deleted and declared again within milliseconds: it
        # closes connections with an internal error, or gives the new queue's consumer nothing, for ever.
        cluster.environment |= {"TENUTO_QUEUE_TYPE": "classic"}
    await cluster.upgrade()
    await asyncio.gather(
        cluster.orchestrator(), cluster.orchestrator(), cluster.worker(ODD_POOL), cluster.worker(EVEN_POOL)
    )
    # Before the load, which would be over by the time that rabbitmqctl takes.
    wipe = await prepare(private_rabbitmq)
    load = cluster.load(1000, steps=5)
    await load.until_finished(150)

    await wipe()
    wiped_at = load.finished()

    await verify_chains(load, database_url=postgres_url, audit=cluster.audit)
    assert wiped_at < load.count, "the load was over before the broker was wiped"
    await cluster.until_shared(2)
    assert set((await cluster.stop()).values()) == {0}
