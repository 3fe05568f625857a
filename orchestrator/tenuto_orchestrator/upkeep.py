"""The slow rounds: what no message asks for. A few statements every few seconds for the whole process.

They make up for what can be lost on the way: a doorbell, a task on a queue that was purged, a broker's memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from tenuto.core.turn import Arrival, TimedOut
from tenuto.errors import BrokerError, StoreError
from tenuto.messages import TaskRef
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.guard import BrokerGuard
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.work import Expire, Inspect, Item, MarkStalled, Parcel

__all__ = ["Upkeep"]

_log = logging.getLogger("tenuto.orchestrator")
_GUARD_INTERVAL = 10.0
_SEEN_INTERVAL = 300.0
_INSPECTED = 200
"""Instances that are looked up at once for lost tasks."""
_INSPECTION_LIFE = 5.0
"""Seconds for which a look at the queues is relied on."""
_FORGOTTEN = 4 * 3600.0
"""Seconds after which it is forgotten that an instance was looked at."""
_LONGEST_BACKOFF = 64


class Upkeep:
    def __init__(self, env: Environment, guard: BrokerGuard) -> None:
        self._env = env
        self._guard = guard
        self._inspected: dict[str, tuple[float, int]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(self._env.settings.inbox_interval, self._look))
            group.create_task(self._every(self._env.settings.resend_after / 2, self._find_lost))
            group.create_task(self._every(_GUARD_INTERVAL, self._guard.check))
            group.create_task(self._every(_SEEN_INTERVAL, self._forget))

    @staticmethod
    async def _every(interval: float, work: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                result = work()
                if asyncio.iscoroutine(result):
                    await result
            except (StoreError, BrokerError) as error:
                _log.info("%s; trying again in %.0f s", error, interval)

    def _look(self) -> None:
        """The inboxes are read again, and stalls that have lasted are recorded (rule O5)."""
        now = asyncio.get_running_loop().time()
        for partition in self._env.owned.values():
            partition.inbox_due = True
            for instance, stall in partition.stalled.items():
                if stall.mark_at <= now:
                    partition.stalled[instance] = replace(stall, mark_at=math.inf)
                    work = MarkStalled(stall.reason)
                    item = Item(partition=partition, instance=instance, work=work)
                    self._env.intake.put(Parcel(partition=partition, items=[item]))
            for task, what in partition.beats.over(now, self._env.settings.beat_life):
                self._put(partition, task, what)
        self._env.intake.wake()

    def _put(self, partition: Partition, task: TaskRef, what: TimedOut) -> None:
        arrival = Arrival(what=what, run=task.run, generation=task.generation)
        item = Item(partition=partition, instance=task.instance, work=arrival)
        self._env.intake.put(Parcel(partition=partition, items=[item]))

    async def _find_lost(self) -> None:
        """Rule B2: activities long unanswered, whose pool's queue is empty, and that no worker holds."""
        settings, loop = self._env.settings, asyncio.get_running_loop()
        self._inspected = {i: e for i, e in self._inspected.items() if e[0] > loop.time() - _FORGOTTEN}
        quiet = max(settings.resend_after, settings.beat_life)  # a new owner hears all beats first (rule W2)
        partitions = [p for p in self._env.owned.values() if loop.time() - p.since > quiet]
        if not partitions:
            return
        empty = await self._empty_pools()
        if not empty:
            return  # nothing can be told from queues with tasks in them, so nobody's wait is to double
        idle_since = self._env.now() - timedelta(seconds=settings.resend_after)
        for partition in partitions:
            if partition.unconfirmed or not await self._answers_are_in(partition):
                continue
            after: str | None = None
            while found := await self._env.store.pending(
                partition.number, idle_since=idle_since, limit=_INSPECTED, after=after
            ):
                self._inspect(partition, found, empty)
                after = found[-1]

    def _inspect(self, partition: Partition, instances: Sequence[str], empty: frozenset[str]) -> None:
        now = asyncio.get_running_loop().time()
        work = Inspect(empty, until=now + _INSPECTION_LIFE)
        for instance in instances:
            if self._due(instance, now):
                item = Item(partition=partition, instance=instance, work=work)
                self._env.intake.put(Parcel(partition=partition, items=[item]))

    async def _answers_are_in(self, partition: Partition) -> bool:
        """Whether no answer waits in the turn queue."""
        info = await self._env.broker.inspect(self._env.names.turns(partition.number))
        return info is not None and info.messages == 0

    async def _empty_pools(self) -> frozenset[str]:
        empty = set()
        for pool in sorted(self._guard.pools):
            queue = self._env.names.activities(pool)
            info = await self._env.broker.inspect(queue)
            if info is None:
                await self._guard.returned(queue)
            if info is None or info.messages == 0:
                empty.add(pool)
        return frozenset(empty)

    def _due(self, instance: str, now: float) -> bool:
        """The wait doubles each time that an instance is looked at."""
        next_at, factor = self._inspected.get(instance, (0.0, 1))
        if now < next_at:
            return False
        self._inspected[instance] = (
            now + factor * self._env.settings.resend_after,
            min(2 * factor, _LONGEST_BACKOFF),
        )
        return True

    async def _forget(self) -> None:
        before = self._env.now() - timedelta(seconds=self._env.settings.seen_window)
        while await self._env.store.forget_seen(before=before):
            pass
        for partition in list(self._env.owned.values()):
            self._expire(partition)

    def _expire(self, partition: Partition) -> None:
        """Events were kept for instances that nobody has started (rule C7)."""
        now = self._env.now()
        over: dict[str, list[str]] = {}
        for row, (instance, until) in partition.kept.items():
            if until <= now:
                over.setdefault(instance, []).append(row)
        for instance, rows in over.items():
            _log.info("instance %r was not started: %d events that were kept for it go", instance, len(rows))
            item = Item(partition=partition, instance=instance, work=Expire(frozenset(rows)))
            self._env.intake.put(Parcel(partition=partition, items=[item]))
