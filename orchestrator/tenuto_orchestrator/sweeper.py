"""Deleting payloads that are stored apart, once nothing refers to them any more (`tenuto.shelf`).

What a commit has made superfluous (a purge, a new run, a new generation) is deleted right after it, if nothing comes
between. A slow sweep finds whatever a crash has left behind: it lists the store, and deletes what belongs to a run or a
generation that the database does not have any more. An object that is about to be referred to is safe from it: either
its run is there already, or it is too young.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import timedelta

from tenuto.errors import StoreError
from tenuto.naming import partition_of
from tenuto.shelf import Owner, owner_of
from tenuto_orchestrator.environment import Environment

__all__ = ["Sweeper"]

_log = logging.getLogger("tenuto.orchestrator")
_INTERVAL = 3600.0
"""Seconds between sweeps."""
_GRACE = timedelta(hours=1)
"""Age below which an object may belong to a run whose first commit is still to come."""
_CHUNK = 500


class Sweeper:
    def __init__(self, env: Environment) -> None:
        self._env = env
        self._due: list[str] = []
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        if self._env.shelf.store is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._delete_due())
            group.create_task(self._sweep_slowly())

    def run_is_gone(self, instance: str, run: str) -> None:
        """The run has been deleted from the database."""
        self._forget(self._env.shelf.run_prefix(instance, run))

    def generation_is_gone(self, instance: str, run: str, generation: int) -> None:
        """The generation's history has been deleted from the database."""
        self._forget(self._env.shelf.prefix(instance, run, generation))

    async def sweep(self) -> int:
        """Delete what nothing refers to, of the partitions that are owned here; how many generations that were.

        Raises:
            StoreError: the payload store or the database is away.
        """
        store = self._env.shelf.store
        if store is None:
            return 0
        old = self._env.now() - _GRACE
        owners: dict[Owner, None] = {}
        async for key, since in store.keys(f"{self._env.shelf.namespace}/"):
            owner = owner_of(key)
            if owner is None or since > old:
                continue
            if partition_of(owner.instance, self._env.partitions) in self._env.owned:
                owners[owner] = None
        stale = await self._stale(list(owners))  # looked for after the listing, so it is newer than that
        for owner in stale:
            await store.delete(self._env.shelf.prefix(owner.instance, owner.run, owner.generation))
        return len(stale)

    async def _stale(self, owners: Sequence[Owner]) -> list[Owner]:
        found: list[Owner] = []
        for start in range(0, len(owners), _CHUNK):
            chunk = owners[start : start + _CHUNK]
            records = await self._env.store.instances(list({owner.instance for owner in chunk}))
            for owner in chunk:
                record = records.get(owner.instance)
                if record is None or record.run != owner.run or _is_past(owner, record.generation):
                    found.append(owner)
        return found

    def _forget(self, prefix: str) -> None:
        if self._env.shelf.store is not None:
            self._due.append(prefix)
            self._wake.set()

    async def _delete_due(self) -> None:
        store = self._env.shelf.store
        while store is not None:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, []
            try:
                for prefix in due:
                    await store.delete(prefix)
            except StoreError as error:
                _log.info("%s; what it holds in vain is swept later", error)

    async def _sweep_slowly(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL * random.uniform(0.5, 1.5))  # noqa: S311 - not all processes at once
            try:
                count = await self.sweep()
            except StoreError as error:
                _log.info("%s; sweeping again later", error)
                continue
            if count:
                _log.info("swept the payload store: %d generations that are no more", count)


def _is_past(owner: Owner, generation: int) -> bool:
    return owner.generation is not None and owner.generation < generation
