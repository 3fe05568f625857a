"""Executions that stay in memory between turns, so that a turn costs its new events and not the whole history."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tenuto.core.events import Event
from tenuto.core.execution import Execution
from tenuto.errors import StalledError
from tenuto.store.protocol import InstanceRecord

__all__ = ["Resident", "Residents"]


@dataclass(slots=True, eq=False, kw_only=True)
class Resident:
    """An instance as of its last commit."""

    record: InstanceRecord
    execution: Execution | None
    """None where the instance has ended: nothing runs any more."""
    unreadable: StalledError | None = None
    """Why its history cannot be read; there is no execution then, though the instance lives."""
    history: list[Event] | None = None
    """The present generation's events; kept only for the replay check."""

    @property
    def size(self) -> int:
        record = self.record
        payloads = (record.input, record.output, record.custom_status, record.failure)
        base = 1000 + sum(len(payload) for payload in payloads if payload is not None)
        return base + (self.execution.size if self.execution is not None else 0)

    def abandon(self) -> None:
        if self.execution is not None:
            self.execution.abandon()
            self.execution = None


@dataclass(slots=True, eq=False, kw_only=True)
class Residents:
    """A least-recently-used cache, bounded by count and by estimated bytes."""

    max_count: int
    max_bytes: int
    _entries: OrderedDict[str, tuple[Resident, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What they take, by estimate."""
        return self._bytes

    def get(self, instance: str) -> Resident | None:
        entry = self._entries.get(instance)
        return None if entry is None else entry[0]

    def put(self, resident: Resident) -> None:
        """Add, or note as used and measure anew. May go over the bounds until `trim`."""
        instance = resident.record.id
        old = self._entries.pop(instance, None)
        if old is not None:
            self._bytes -= old[1]
            if old[0] is not resident:
                old[0].abandon()
        size = resident.size
        self._entries[instance] = (resident, size)
        self._bytes += size

    def drop(self, instance: str) -> None:
        entry = self._entries.pop(instance, None)
        if entry is not None:
            self._bytes -= entry[1]
            entry[0].abandon()

    def drop_partition(self, partition: int) -> None:
        self.drop_all([i for i, (r, _) in self._entries.items() if r.record.partition == partition])

    def drop_all(self, instances: Iterable[str]) -> None:
        for instance in instances:
            self.drop(instance)

    def trim(self) -> None:
        """Evict the least recently used until the bounds hold. Between batches only: a batch uses what it loaded."""
        while self._entries and (len(self._entries) > self.max_count or self._bytes > self.max_bytes):
            self.drop(next(iter(self._entries)))
