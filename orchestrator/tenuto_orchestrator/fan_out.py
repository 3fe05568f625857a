"""Wide fan-outs: the tasks of one instance reach the pools a window at a time.

A pool's queue is first in, first out, so one instance with a hundred thousand activities would have all others wait
behind it. Beyond a window of tasks that are out, the rest stays where it is safe, in the outbox, and follows as answers
come. What is held back is the end of what the instance has asked for, by the numbers of its commands; so one number
per instance tells what has been sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from tenuto.messages import ActivityTask
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.partition import Partition

if TYPE_CHECKING:
    from tenuto_orchestrator.outbox import Entry

__all__ = ["FanOuts", "PoolTask", "by_entry"]

PoolTask: TypeAlias = tuple[str, ActivityTask]
"""(pool, task)."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Held:
    """What one generation of an instance is still to send."""

    partition: Partition
    run: str
    generation: int
    tasks: OrderedDict[int, tuple[Entry, PoolTask]] = field(default_factory=OrderedDict)
    """By command, in order."""

    def is_of(self, task: ActivityTask) -> bool:
        return (self.run, self.generation) == (task.run, task.generation)


class FanOuts:
    """Which tasks are held back, over all partitions of the process."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._held: dict[str, _Held] = {}

    def admit(self, entry: Entry) -> tuple[list[PoolTask], list[Entry]]:
        """Of an entry's tasks, those that may go at once; the rest is held back.

        Also the entries of tasks that were held back before and need not be, once for each: they are of a run that is
        over, or in this entry too, since everything is sent again to a new broker (rule B1).
        """
        tasks = entry.outgoings.tasks
        if len(tasks) <= self._window and not self._held:
            return tasks, []
        self._let_go()
        ready: list[PoolTask] = []
        superseded: list[Entry] = []
        admitted: Counter[str] = Counter()
        for pool_task in tasks:
            task = pool_task[1]
            held = self._held.get(task.instance)
            if held is not None and not held.is_of(task):
                superseded += self._forget(task.instance, held)
                held = None
            if held is None and admitted[task.instance] < self._window:
                admitted[task.instance] += 1
                ready.append(pool_task)
            elif held is not None and task.command < next(iter(held.tasks)):
                ready.append(pool_task)  # it was sent once, and was lost, has failed, or is forgotten
            else:
                superseded += self._hold(held, entry, pool_task)
        return ready, superseded

    def _let_go(self) -> None:
        """Partitions that were lost hold nothing back here: their new owners do."""
        for instance in [instance for instance, held in self._held.items() if not held.partition.open]:
            del self._held[instance]

    def _hold(self, held: _Held | None, entry: Entry, pool_task: PoolTask) -> list[Entry]:
        """Hold a task back. Gives the entry that held it back before."""
        task = pool_task[1]
        if held is None:
            held = _Held(partition=entry.partition, run=task.run, generation=task.generation)
            self._held[task.instance] = held
            entry.partition.held_back[task.instance] = task.command
        before = held.tasks.get(task.command)
        held.tasks[task.command] = (entry, pool_task)
        return [] if before is None else [before[0]]

    def follow(
        self, instance: str, record: InstanceRecord | None
    ) -> tuple[list[tuple[Entry, PoolTask]], list[Entry]]:
        """The instance has changed, or is gone: the tasks that may go now, and the entries of those that nobody wants
        any more, once for each such task."""
        held = self._held.get(instance)
        if held is None:
            return [], []
        if (
            record is None
            or record.status.is_terminal
            or (record.run, record.generation) != (held.run, held.generation)
        ):
            return [], self._forget(instance, held)
        out = record.tasks_pending - len(held.tasks)
        released = [
            (command, held.tasks[command]) for command in islice(held.tasks, max(0, self._window - out))
        ]
        for command, _ in released:
            del held.tasks[command]
        if held.tasks:
            held.partition.held_back[instance] = next(iter(held.tasks))
        else:
            self._forget(instance, held)
        return [sent for _, sent in released], []

    def _forget(self, instance: str, held: _Held) -> list[Entry]:
        """Nothing is held back of the instance any more. Gives the entries of what was."""
        del self._held[instance]
        held.partition.held_back.pop(instance, None)
        return [entry for entry, _ in held.tasks.values()]


def by_entry(tasks: Sequence[tuple[Entry, PoolTask]]) -> dict[Entry, list[PoolTask]]:
    """Tasks under the entries that they belong to."""
    found: dict[Entry, list[PoolTask]] = {}
    for entry, pool_task in tasks:
        found.setdefault(entry, []).append(pool_task)
    return found
