"""Notices workflow code that keeps the orchestrator's loop from running, and says in which line it stands.

All workflows of a process take turns in one thread. One that sleeps, reads, writes or computes for long stops all the
others, and the beats that keep its partitions too. The loop cannot notice that it does not run; so a thread of its own
looks, now and then, at what has been going on since when.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from dataclasses import dataclass

from tenuto.core.locate import executing_line

__all__ = ["Watchdog"]

_log = logging.getLogger("tenuto.orchestrator")
_LOOKS_PER_LIMIT = 4


@dataclass(slots=True, eq=False)
class _Work:
    instance: str
    workflow: str
    what: str
    since: float


class Watchdog:
    """Told of every turn and every replay, when it begins and when it ends.

    Args:
        limit: seconds for which one of them may keep the loop; 0: nobody looks.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._work: _Work | None = None
        self._loop_thread = 0
        self._over = threading.Event()

    def begin(self, instance: str, workflow: str, what: str) -> None:
        """Workflow code runs from here on: `what`, in words."""
        self._work = _Work(instance, workflow, what, time.monotonic())

    def end(self) -> None:
        """It has given the loop back."""
        self._work = None

    async def run(self) -> None:
        """Look, until cancelled."""
        if not self._limit:
            return
        self._loop_thread = threading.get_ident()
        thread = threading.Thread(target=self._look, name="tenuto watchdog", daemon=True)
        thread.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._over.set()

    def _look(self) -> None:
        told: _Work | None = None
        while not self._over.wait(self._limit / _LOOKS_PER_LIMIT):
            work = self._work
            if work is None or work is told or time.monotonic() - work.since < self._limit:
                continue
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to see other threads
            if frame is None or (line := executing_line(frame)) is None or self._work is not work:
                continue
            told = work
            _log.warning(
                "instance %r (workflow %r) has kept the orchestrator's loop for %.1f s with %s, and nothing else "
                "runs meanwhile; it is at %s. Workflow code must not sleep, read, write or compute for long: "
                "move that into an activity",
                *(work.instance, work.workflow, time.monotonic() - work.since, work.what, line),
            )
