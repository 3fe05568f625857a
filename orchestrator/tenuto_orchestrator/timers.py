"""Due timers as local events: a heap over the timers table, of the next minutes only."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from tenuto.store.protocol import TimerRow
from tenuto_orchestrator.partition import Partition, timer_id

__all__ = ["TimerHeap"]

_LONGEST_SLEEP = 1.0
"""Seconds: a wall clock may jump while the loop's does not."""


class TimerHeap:
    """The timers of all owned partitions up to each one's horizon. A timer that has fired stays in its partition's
    dictionary until its turn is committed, so that reading the table again does not fire it twice."""

    def __init__(self, fire: Callable[[Partition, TimerRow], None], now: Callable[[], datetime]) -> None:
        self._fire = fire
        self._now = now
        self._heap: list[tuple[float, int, Partition, TimerRow]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def add(self, partition: Partition, row: TimerRow) -> None:
        """Watch a timer, if it is within its partition's horizon and not known yet; one that is known with another time
        has been put off."""
        at = row.fire_at.timestamp()
        key = timer_id(row)
        if partition.timers.get(key) == row:
            return
        if at > partition.timers_until:
            partition.timers.pop(key, None)
            return
        partition.timers[key] = row
        heapq.heappush(self._heap, (at, next(self._order), partition, row))
        if self._heap[0][3] is row:
            self._changed.set()

    @staticmethod
    def remove(partition: Partition, row: TimerRow) -> None:
        """Forget a timer whose row is deleted."""
        partition.timers.pop(timer_id(row), None)

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            self._fire_due()
            self._changed.clear()
            timeout = None
            if self._heap:
                ahead = self._heap[0][0] - self._now().timestamp()
                timeout = min(max(ahead, 0.0), _LONGEST_SLEEP)
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _fire_due(self) -> None:
        now = self._now().timestamp()
        while self._heap and self._heap[0][0] <= now:
            _, _, partition, row = heapq.heappop(self._heap)
            if partition.open and partition.timers.get(timer_id(row)) is row:
                self._fire(partition, row)
