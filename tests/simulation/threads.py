"""Threads that the scheduler knows of: a `def` activity runs in a greenlet, and only `block` lets others run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, cast

from greenlet import getcurrent, greenlet

from tenuto.attempts.threads import Ended

__all__ = ["SimThreads", "block"]


def block(seconds: float) -> None:
    """`time.sleep` of a simulated thread."""
    parent = getcurrent().parent
    assert parent is not None, "not in a thread"
    parent.switch(seconds)


class SimThreads:
    """Stands in for `tenuto.attempts.Threads`. A thread outlives whoever waited for it, and dies with its process."""

    def __init__(self, name: str) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def call(self, function: Callable[[], Any]) -> Ended:
        outcome: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        context = copy_context()
        thread = greenlet(lambda: _attempt(lambda: context.run(function)))
        running = asyncio.create_task(_drive(thread, outcome))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await outcome

    def close(self) -> None:
        """Nothing is kept open."""


async def _drive(thread: greenlet, outcome: asyncio.Future[Ended]) -> None:
    step: Any = thread.switch()
    while not thread.dead:
        await asyncio.sleep(step)
        step = thread.switch()
    if not outcome.done():
        outcome.set_result(cast("Ended", step))


def _attempt(function: Callable[[], Any]) -> Ended:
    try:
        return Ended(function(), None)
    except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the call
        return Ended(None, error)
