"""How the garbage collector is set up in processes that serve."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tenuto_gateway.garbage import collect_seldom


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_is_there_at_the_start_is_never_looked_at_again() -> None:
    before = gc.get_freeze_count()
    collect_seldom()
    assert gc.get_freeze_count() > before
    assert gc.get_threshold()[0] > 10_000
    assert gc.isenabled()
