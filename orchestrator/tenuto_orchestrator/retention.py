"""Retention: instances that ended long ago are purged by their owners, as turns of theirs (rule C7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from tenuto.core.status import Status
from tenuto.errors import StoreError
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.work import Item, Parcel, Retire

__all__ = ["Retention"]

_log = logging.getLogger("tenuto.orchestrator")
_BATCH = 200
"""Instances that are looked for, and purged together, at most."""
_TURNS = 5000
"""Turns whose events are deleted together: a batch must not outlast the statement timeout."""
_PATIENCE = 30.0
"""Seconds that a batch is waited for; its partitions may have been lost."""
_ROUNDS_PER_TIME = 10
_SHORTEST_ROUND = 1.0
_LONGEST_ROUND = 60.0


class Retention:
    """Looks now and then for what has ended long enough ago, and hands it to the pipeline in small batches."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        settings = env.settings
        times = {
            Status.COMPLETED: settings.retain_completed,
            Status.FAILED: settings.retain_failed,
            Status.TERMINATED: settings.retain_terminated,
        }
        self._times: Mapping[Status, float] = {s: time for s, time in times.items() if time is not None}

    async def run(self) -> None:
        """Until cancelled; nothing at all unless a setting asks for it."""
        if not self._times:
            return
        shortest = min(self._times.values()) / _ROUNDS_PER_TIME
        interval = min(max(shortest, _SHORTEST_ROUND), _LONGEST_ROUND)
        while True:
            await asyncio.sleep(interval)
            try:
                await self.look()
            except StoreError as error:
                _log.info("%s; looking for what is to be purged again in %.0f s", error, interval)

    async def look(self) -> None:
        """Purge all that is due."""
        for status, time in self._times.items():
            while True:
                before = self._env.now() - timedelta(seconds=time)
                owned = [number for number, partition in self._env.owned.items() if partition.open]
                found = await self._env.store.ended(owned, status, before=before, limit=_BATCH)
                if not await self._purge(found):
                    break

    async def _purge(self, found: Sequence[tuple[str, str, int]]) -> bool:
        """Purge them, one portion after the other. Whether there may be more."""
        for portion in _portions(found):
            if not await self._hand_over(portion):
                return False
        return len(found) == _BATCH

    async def _hand_over(self, found: Sequence[tuple[str, str, int]]) -> bool:
        """Whether the batch was committed in time."""
        done = asyncio.Semaphore(0)
        sent = 0
        for instance, run, _ in found:
            partition = self._env.owned.get(self._env.partition_of(instance))
            if partition is not None:
                item = Item(partition=partition, instance=instance, work=Retire(run), on_commit=done.release)
                self._env.intake.put(Parcel(partition=partition, items=[item]))
                sent += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                for _ in range(sent):
                    await done.acquire()
        except TimeoutError:
            return False
        return True


def _portions(found: Sequence[tuple[str, str, int]]) -> Iterator[Sequence[tuple[str, str, int]]]:
    """In their order, of so many turns in all at most; a longer history goes alone."""
    portion: list[tuple[str, str, int]] = []
    total = 0
    for one in found:
        turns = one[2]
        if portion and total + turns > _TURNS:
            yield portion
            portion, total = [], 0
        portion.append(one)
        total += turns
    if portion:
        yield portion
