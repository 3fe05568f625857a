"""An event loop on a thread of its own, for code that has none."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tenuto.errors import UsageError

__all__ = ["Portal"]

T = TypeVar("T")


class Portal:
    """Runs coroutines on the event loop of a background thread, until it is closed. Usable from any thread."""

    def __init__(self) -> None:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=_run, args=[ready], name="tenuto client", daemon=True)
        self._thread.start()
        self._loop, self._end = ready.result()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result. An interrupt of the waiting thread (Ctrl-C) cancels the coroutine.

        Raises:
            UsageError: the process was forked since, or the portal is closed; nobody would run the coroutine.
        """
        if os.getpid() != self._pid or not self._thread.is_alive():
            coroutine.close()
            raise UsageError(
                "The client was closed, or made before this process was forked: get the handle again."
            )
        # Not `run_coroutine_threadsafe`: an interrupt before it has returned would leave nothing to cancel.
        outcome: Future[T] = Future()
        try:
            self._loop.call_soon_threadsafe(_start, coroutine, outcome)
            return outcome.result()
        except BaseException:
            outcome.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end the thread. Tolerates repeats."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()


def _start(coroutine: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(coroutine)
    task.add_done_callback(functools.partial(_settle, outcome))

    def cancel(outcome: Future[T]) -> None:
        if outcome.cancelled() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    outcome.add_done_callback(cancel)


def _settle(outcome: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        outcome.cancel()
    if not outcome.set_running_or_notify_cancel():
        return
    error = task.exception()
    if error is None:
        outcome.set_result(task.result())
    else:
        outcome.set_exception(error)


def _run(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    try:
        asyncio.run(_serve(ready))
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


async def _serve(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    end = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), end))
    await end.wait()
