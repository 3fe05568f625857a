from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.http.front import Front, front


@pytest.fixture
async def open_front() -> AsyncIterator[Front]:
    """A gateway without authentication, over an engine whose owner does what it is told."""
    async with front() as made:
        yield made
