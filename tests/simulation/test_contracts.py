"""What the simulation stands on keeps the contracts that the real ones keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from tenuto.store import Store
from tenuto.testing.broker_contract import BrokerContract, BrokerFactory
from tenuto.testing.store_contract import OpenStore, StoreContract
from tests.simulation.broker import BrokerServer, SimBroker
from tests.simulation.database import Database
from tests.simulation.store import DatabaseServer, SimStore
from tests.simulation.trouble import Noise, Trouble

EXACT = Noise(latency=0)


class TestSimStore(StoreContract):
    @pytest.fixture
    async def open_store(self) -> AsyncIterator[OpenStore]:
        server = DatabaseServer(Database(now=lambda: datetime.now(UTC)), Trouble(0, EXACT))
        async with AsyncExitStack() as stack:

            async def open_store() -> Store:
                store = SimStore(server)
                stack.push_async_callback(store.close)
                await store.upgrade()
                await store.open()
                return store

            yield open_store


class TestSimBroker(BrokerContract):
    @pytest.fixture
    async def make(self) -> BrokerFactory:
        server = BrokerServer(Trouble(0, EXACT))
        return lambda options: SimBroker(server, options=options)
