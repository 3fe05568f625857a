"""Jobs that wait for a slot."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tenuto.attempts.job import Job

__all__ = ["Waiting"]

J = TypeVar("J", bound=Job)


class Waiting(Generic[J]):
    """First come, first served, save that jobs of an activity of which enough run stand aside: they hold up no others.

    It counts what runs, so it is told of every job's end.
    """

    def __init__(self) -> None:
        self._ready: deque[J] = deque()
        self._aside: dict[str, deque[J]] = {}
        self._running: Counter[str] = Counter()
        """By name, of the activities that have a limit."""

    def put(self, job: J) -> None:
        self._ready.append(job)

    def take(self) -> J | None:
        """The next job, which runs from now on; None: there is none that may."""
        while self._ready:
            job = self._ready.popleft()
            limit = _limit(job)
            if limit is None:
                return job
            name = job.task.name
            if self._running[name] < limit:
                self._running[name] += 1
                return job
            self._aside.setdefault(name, deque()).append(job)
        return None

    def ended(self, job: J) -> None:
        """A job that was taken has ended: the next of its activity may run, before those that came later."""
        if _limit(job) is None:
            return
        name = job.task.name
        self._running[name] -= 1
        if aside := self._aside.get(name):
            self._ready.appendleft(aside.popleft())
            if not aside:
                del self._aside[name]

    def remove(self, which: Callable[[J], bool]) -> list[J]:
        """Take out jobs that wait."""
        removed: list[J] = []
        for line in (self._ready, *self._aside.values()):
            kept = [job for job in line if not which(job)]
            removed += [job for job in line if which(job)]
            line.clear()
            line.extend(kept)
        self._aside = {name: line for name, line in self._aside.items() if line}
        return removed


def _limit(job: Job) -> int | None:
    return None if job.definition is None else job.definition.max_concurrent
