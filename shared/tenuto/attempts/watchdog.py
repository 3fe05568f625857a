"""The limits of a running attempt, kept by whoever executes it (rule W4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from tenuto.attempts.job import Job

__all__ = ["Watchdog"]

J = TypeVar("J", bound=Job)


class Watchdog(Generic[J]):
    """Watches one attempt from its beginning until `stop`; `bite` is given the name and length of the limit that it
    has outrun."""

    def __init__(self, job: J, bite: Callable[[J, str, float], None]) -> None:
        self._job = job
        self._bite = bite
        self._loop = asyncio.get_running_loop()
        self._close: asyncio.TimerHandle | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._began = self._loop.time()
        limit = job.task.start_to_close
        if limit is not None:
            self._close = self._loop.call_later(limit, bite, job, "start_to_close", limit)
        if job.task.heartbeat_timeout is not None:
            self._listen(job.task.heartbeat_timeout)

    def stop(self) -> None:
        for handle in (self._close, self._pulse):
            if handle is not None:
                handle.cancel()

    def _listen(self, limit: float) -> None:
        """Bite if there was no heartbeat for that long, else wait for the rest of it."""
        beaten = self._job.pulse.beaten
        last = self._began if beaten is None else beaten
        rest = last + limit - self._loop.time()
        if rest > 0:
            self._pulse = self._loop.call_later(rest, self._listen, limit)
        else:
            self._bite(self._job, "heartbeat_timeout", limit)
