"""How many activity tasks are out, by pool: what the scaling of a pool goes by.

Tasks, and not messages, which may carry many; and from the histories, so that it is right where no worker runs, after a
takeover, and where the broker has lost everything. Counted only while somebody wants to know (`Recorder.on`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tenuto.core.histories import read_history
from tenuto.core.state import State
from tenuto.errors import StoreError
from tenuto.store.protocol import StoredInstance

if TYPE_CHECKING:
    from tenuto_orchestrator.environment import Environment
    from tenuto_orchestrator.partition import Partition

__all__ = ["Backlog", "take_stock"]

_log = logging.getLogger("tenuto.orchestrator")
_CHUNK: Final = 100
"""Instances looked at together."""
_AGAIN: Final = 1.0
"""Seconds until the database is asked again that was away."""


class Backlog:
    """The tasks of one partition."""

    def __init__(self) -> None:
        self._out: dict[str, Mapping[str, int]] = {}
        """By instance, of those that have any."""
        self._total: Counter[str] = Counter()
        self._followed: set[str] | None = set()
        """Instances that have changed since the partition was recovered, until all that was there before is counted."""

    @property
    def total(self) -> Mapping[str, int]:
        """By pool; zero, once there were some."""
        return self._total

    def follow(self, instance: str, out: Mapping[str, int]) -> None:
        """What the instance has out as of its last commit."""
        if self._followed is not None:
            self._followed.add(instance)
        self._put(instance, out)

    def found(self, instance: str, out: Mapping[str, int]) -> None:
        """What it had out when the database was read, which may have been before its last commit."""
        if self._followed is None or instance not in self._followed:
            self._put(instance, out)

    def complete(self) -> None:
        """All that was there at the recovery has been found."""
        self._followed = None

    def _put(self, instance: str, out: Mapping[str, int]) -> None:
        before = self._out.pop(instance, None)
        if before is not None:
            self._total.subtract(before)
        if out:
            self._out[instance] = dict(out)
            self._total.update(out)


async def take_stock(env: Environment, partition: Partition) -> None:
    """Count what was out when the partition was recovered, beside its work. Ends when all is counted, or the partition
    is lost."""
    after: str | None = None
    while partition.open:
        try:
            page = await env.store.pending(partition.number, idle_since=None, limit=_CHUNK, after=after)
            stored = await env.store.load(page)
        except StoreError as error:
            _log.info("partition %d: what is out cannot be counted yet: %s", partition.number, error)
            await asyncio.sleep(_AGAIN)
            continue
        if not page:
            partition.backlog.complete()
            return
        for instance, found in stored.items():
            partition.backlog.found(instance, _out(found))
        after = page[-1]
        await asyncio.sleep(0)  # beats must go out meanwhile


def _out(stored: StoredInstance) -> Mapping[str, int]:
    """Of none if the history cannot be read: no answer could be taken."""
    record = stored.record
    try:
        return State.fold(record.id, record.run, read_history(stored.turns)).tasks_by_pool
    except Exception as error:  # noqa: BLE001 - one instance's history must not stand in the way of the others
        _log.info(
            "instance %r: its history cannot be read, so its tasks are not counted: %r", record.id, error
        )
        return {}
