"""Threads for `def` activities.

Not `concurrent.futures`: the interpreter waits for its threads at exit, and an activity that never returns
would keep a worker from ever leaving. These are daemons; a process that ends leaves them behind, and the
owners of their tasks have been told.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple

__all__ = ["Ended", "Threads"]


class Ended(NamedTuple):
    """How a call ended.

    Given rather than raised: `SystemExit`, `KeyboardInterrupt` or `StopIteration` out of a thread must not
    pass for the event loop's own.
    """

    value: Any
    error: BaseException | None


class Threads:
    """As many threads as calls were ever under way at once; the caller limits those.

    Used from one event loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    async def call(self, function: Callable[[], Any]) -> Ended:
        """Run the function in a thread, in a copy of the present `contextvars` context, and wait.

        Cancelling the wait leaves the thread at work, and drops its result.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Ended] = loop.create_future()
        context = copy_context()

        def work() -> None:
            ended = _attempt(lambda: context.run(function))
            # The loop is closed when the worker has left without this thread: then nobody wants the result.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finished, outcome, ended)

        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._work.put(work)
        return await outcome

    def close(self) -> None:
        """Let the threads end, each when it has done its work."""
        for _ in range(self._threads):
            self._work.put(None)

    def _finished(self, outcome: asyncio.Future[Ended], ended: Ended) -> None:
        self._busy -= 1
        if not outcome.done():
            outcome.set_result(ended)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _attempt(function: Callable[[], Any]) -> Ended:
    try:
        return Ended(function(), None)
    except BaseException as error:  # noqa: BLE001  handed to whoever awaits the call, SystemExit too
        return Ended(None, error)
