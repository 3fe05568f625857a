from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenuto.app import App
from tests.unit.worker.bench import Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench() as bench:
        yield bench


@pytest.fixture
def app() -> App:
    return App("tests")
