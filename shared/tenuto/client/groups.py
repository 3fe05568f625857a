"""Group commit: what is asked for at the same time is written together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tenuto.errors import DataRefusedError

__all__ = ["GroupWriter"]

T = TypeVar("T")
R = TypeVar("R")

_LIMIT = 1000
"""Items of one write: enough to make the round trip negligible, few enough to keep statements small."""


class GroupWriter(Generic[T, R]):
    """Writes items in groups: those that come while a write is under way go together in the next one."""

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, limit: int = _LIMIT
    ) -> None:
        """`write` stores all items or none, and returns a result for each."""
        self._write = write
        self._limit = limit
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Write an item and return its result, or raise what the write raised.

        A caller that is cancelled before the write began has written nothing; after that, it does not know.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, result))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="tenuto client writes")
        return await result

    async def flush(self) -> None:
        """Return when everything that was added so far has been written or refused."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._waiting:
            size = min(self._limit, len(self._waiting))
            group = [self._waiting.popleft() for _ in range(size)]
            await self._write_group([(item, result) for item, result in group if not result.done()])

    async def _write_group(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        if not group:
            return
        try:
            written = await self._write([item for item, _ in group])
        except DataRefusedError as error:
            # One item's data must not fail the others': nothing was stored, so each may be tried by itself.
            if len(group) == 1:
                _fail(group, error)
            for single in group if len(group) > 1 else ():
                await self._write_group([single])
        except Exception as error:  # noqa: BLE001 - it is raised at every caller
            _fail(group, error)
        else:
            for (_, result), value in zip(group, written, strict=True):
                if not result.done():
                    result.set_result(value)


def _fail(group: Sequence[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
    for _, result in group:
        if not result.done():
            result.set_exception(error)
