"""What every store must do: a suite of tests that whoever brings a store runs over it.

    from tenuto.testing.store_contract import OpenStore, StoreContract

    class TestMyStore(StoreContract):
        @pytest_asyncio.fixture
        async def open_store(self) -> AsyncIterator[OpenStore]:
            ...  # yield a function that opens another store on one fresh database; afterwards close them all

It needs pytest and pytest-asyncio. No test sleeps, and none depends on how fast the database is.
"""
# ruff: noqa: E402 - assertions explain themselves only in modules that are registered before they are imported

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in ("base", "batches", "commits", "health", "letters", "listing", "ownership", "reading")
    )
)

from tenuto.testing.store_contract.base import OpenStore
from tenuto.testing.store_contract.batches import BatchContract
from tenuto.testing.store_contract.commits import CommitContract
from tenuto.testing.store_contract.health import HealthContract
from tenuto.testing.store_contract.letters import LetterContract
from tenuto.testing.store_contract.listing import ListingContract
from tenuto.testing.store_contract.ownership import ExclusiveContract, OwnershipContract
from tenuto.testing.store_contract.reading import ReadingContract

__all__ = ["OpenStore", "StoreContract"]


class StoreContract(
    OwnershipContract,
    ExclusiveContract,
    CommitContract,
    BatchContract,
    ReadingContract,
    ListingContract,
    LetterContract,
    HealthContract,
):
    """All of it. Give it the fixture `open_store`."""
