from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.client.engine import Engine, engine


@pytest.fixture
async def running() -> AsyncIterator[Engine]:
    """An engine whose owner takes every letter and sends notifications."""
    async with engine() as made:
        yield made
