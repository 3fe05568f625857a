"""Group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tenuto.client.groups import GroupWriter
from tenuto.errors import DataRefusedError, StoreUnavailableError


class Table:
    """Takes numbers, and refuses negative ones. `gate` holds writes back."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def write(self, numbers: Sequence[int]) -> list[int]:
        self.writes.append(list(numbers))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if any(number < 0 for number in numbers):
            raise DataRefusedError("negative")
        return [number * 10 for number in numbers]


async def test_each_caller_gets_its_own_result() -> None:
    table = Table()
    writer = GroupWriter(table.write)
    assert await asyncio.gather(*(writer.add(number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert table.writes == [[0, 1, 2, 3, 4]]


async def test_what_comes_during_a_write_goes_together_in_the_next() -> None:
    table = Table()
    table.gate.clear()
    writer = GroupWriter(table.write)
    adds = [asyncio.create_task(writer.add(0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert table.writes == [[0]]
    adds += [asyncio.create_task(writer.add(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    table.gate.set()
    await asyncio.gather(*adds)
    assert table.writes == [[0], [1, 2, 3]]


async def test_groups_are_bounded() -> None:
    table = Table()
    writer = GroupWriter(table.write, limit=2)
    await asyncio.gather(*(writer.add(number) for number in range(5)))
    assert table.writes == [[0, 1], [2, 3], [4]]


async def test_refused_data_fails_its_own_caller_only() -> None:
    table = Table()
    writer = GroupWriter(table.write)
    results = await asyncio.gather(*(writer.add(number) for number in (1, -2, 3)), return_exceptions=True)
    assert results[0::2] == [10, 30]
    assert isinstance(results[1], DataRefusedError)
    assert table.writes == [[1, -2, 3], [1], [-2], [3]]


async def test_an_unknown_outcome_is_not_tried_again() -> None:
    """A letter that was taken in the meantime would take effect twice."""
    table = Table()
    table.error = StoreUnavailableError("gone")
    writer = GroupWriter(table.write)
    results = await asyncio.gather(writer.add(1), writer.add(2), return_exceptions=True)
    assert all(result is table.error for result in results)
    assert table.writes == [[1, 2]]
    table.error = None
    assert await writer.add(3) == 30


async def test_a_caller_that_left_before_the_write_has_written_nothing() -> None:
    table = Table()
    writer = GroupWriter(table.write)
    stays, leaves = asyncio.create_task(writer.add(1)), asyncio.create_task(writer.add(2))
    alone = GroupWriter(table.write)
    also_leaves = asyncio.create_task(alone.add(3))
    await asyncio.sleep(0)
    leaves.cancel()
    also_leaves.cancel()
    assert await stays == 10
    await alone.flush()
    assert table.writes == [[1]]
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_flush_waits_for_what_was_added() -> None:
    table = Table()
    table.gate.clear()
    writer = GroupWriter(table.write)
    await writer.flush()  # nothing was
    add = asyncio.create_task(writer.add(1))
    await asyncio.sleep(0)
    flush = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    assert not flush.done()
    table.gate.set()
    await flush
    assert await add == 10
