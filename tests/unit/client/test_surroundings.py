"""What a client must know of the deployment before it can ask for anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenuto.client.surroundings import Surroundings
from tenuto.errors import UsageError
from tenuto.store import make_store
from tenuto.store.protocol import Deployment, Store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = make_store("sqlite+aiosqlite:///:memory:")
    await store.upgrade()
    await store.open()
    yield store
    await store.close()


async def test_the_first_orchestrator_is_waited_for(store: Store) -> None:
    surroundings = Surroundings(store, namespace="tenuto", patience=30.0)
    asking = asyncio.create_task(surroundings.deployment())
    await asyncio.sleep(0)
    made = Deployment(partitions=4, layout=1, queue_type="quorum")
    await store.deployment(made)
    assert await asking == made
    await store.close()
    assert await surroundings.deployment() == made  # what is known is not asked for again


async def test_when_none_comes_it_says_what_to_run(store: Store) -> None:
    with pytest.raises(UsageError, match=r"No orchestrator has ever started.*tenuto dev"):
        await Surroundings(store, namespace="tenuto", patience=0.0).deployment()
