"""SQLite keeps the contract of a store, in a file and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from tenuto.store import Store, make_store
from tenuto.testing.store_contract import OpenStore, StoreContract


class TestFile(StoreContract):
    @pytest_asyncio.fixture
    async def open_store(self, tmp_path: Path) -> AsyncIterator[OpenStore]:
        async with AsyncExitStack() as stack:

            async def open_store() -> Store:
                store = make_store(f"sqlite+aiosqlite:///{tmp_path / 'tenuto.db'}")
                stack.push_async_callback(store.close)
                await store.upgrade()
                await store.open()
                return store

            yield open_store


class TestMemory(StoreContract):
    """A database in memory has one store; whoever shares it shares the object."""

    @pytest_asyncio.fixture
    async def open_store(self) -> AsyncIterator[OpenStore]:
        store = make_store("sqlite+aiosqlite:///:memory:")
        await store.upgrade()
        await store.open()

        async def open_store() -> Store:
            return store

        yield open_store
        await store.close()
