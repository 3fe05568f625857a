"""Folding: many small things into few messages, each bounded in bytes (rule B4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["FOLD_BYTES", "split"]

FOLD_BYTES = 256 * 1024
"""Bytes, by estimate, at which a message is full. Far below any broker's limit, so that a fold is not refused
for its size; something larger than this travels alone."""

T = TypeVar("T")


def split(items: Iterable[T], size: Callable[[T], int], *, limit: int = FOLD_BYTES) -> Iterator[list[T]]:
    """The items in order, in lists whose sizes add up to `limit` at most, or hold one item that is larger."""
    part: list[T] = []
    total = 0
    for item in items:
        needed = size(item)
        if part and total + needed > limit:
            yield part
            part, total = [], 0
        part.append(item)
        total += needed
    if part:
        yield part
