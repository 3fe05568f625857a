"""Folding: tasks for one pool share messages, so long as no message holds back parallelism.

An AMQP message costs more processor time than everything else about a short activity, so short ones travel together.
How long an activity will take is estimated by a moving average of what its executions took. A fold's expected time
stays below a bound, an activity of unknown duration goes alone, and so does one that was lost before (rule W1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from tenuto.messages import ActivityTask

__all__ = ["Durations", "Folds", "fold"]

_WEIGHT = 0.2
"""Of the newest duration in the moving average."""
_KNOWN = 10_000
"""Names that are remembered: whoever can answer can make them up."""


@dataclass(slots=True)
class Durations:
    """Expected seconds by activity name: an exponentially weighted moving average."""

    _average: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, seconds: float) -> None:
        """Take in what a worker says that an execution took; what nobody can have measured is passed over."""
        if not 0 <= seconds < math.inf:
            return
        old = self._average.get(name)
        if old is None and len(self._average) >= _KNOWN:
            del self._average[next(iter(self._average))]
        self._average[name] = seconds if old is None else old + _WEIGHT * (seconds - old)

    def expected(self, name: str) -> float | None:
        return self._average.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """The bounds of a fold."""

    tasks: int = 20
    seconds: float = 0.01
    bytes: int = 128 * 1024


def fold(tasks: Iterable[ActivityTask], durations: Durations, bounds: Folds) -> list[list[ActivityTask]]:
    """Split the tasks of one pool into messages, in order."""
    folds: list[list[ActivityTask]] = []
    current: list[ActivityTask] = []
    seconds, size = 0.0, 0
    for task in tasks:
        expected = None if task.alone else durations.expected(task.name)
        if expected is None or expected >= bounds.seconds:
            folds.append([task])
            continue
        weight = len(task.input)
        full = len(current) >= bounds.tasks or seconds + expected > bounds.seconds
        if current and (full or size + weight > bounds.bytes):
            folds.append(current)
            current, seconds, size = [], 0.0, 0
        current.append(task)
        seconds += expected
        size += weight
    if current:
        folds.append(current)
    return folds
