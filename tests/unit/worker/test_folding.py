from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tenuto_worker.folding import split
from tenuto_worker.worker import prefetch_for


@given(st.lists(st.integers(min_value=0, max_value=50)), st.integers(min_value=1, max_value=60))
def test_parts_hold_everything_in_order_and_within_the_limit(sizes: list[int], limit: int) -> None:
    parts = list(split(sizes, lambda size: size, limit=limit))
    assert [size for part in parts for size in part] == sizes
    assert all(part for part in parts)
    assert all(sum(part) <= limit or len(part) == 1 for part in parts)
    # No two neighbours would have fitted into one.
    assert all(sum(left) + right[0] > limit for left, right in pairwise(parts))


@given(st.integers(min_value=1, max_value=100_000))
def test_the_prefetch_fills_the_slots_and_fits_amqp(concurrency: int) -> None:
    prefetch = prefetch_for(concurrency)
    assert min(concurrency + 1, 0xFFFF) <= prefetch <= min(2 * concurrency, 0xFFFF)
