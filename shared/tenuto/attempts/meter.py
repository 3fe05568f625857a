"""What whoever executes activities tells of them (`tenuto.metrics`)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final, Literal, TypeAlias

from tenuto.attempts.job import Job
from tenuto.clock import Clock
from tenuto.metrics import catalogue
from tenuto.metrics.recorder import Recorder, sampled_trace

__all__ = ["LOCAL", "Ending", "Meter"]

LOCAL: Final = "local"
"""Stands for the pool of activities that run in orchestrators."""

Ending: TypeAlias = Literal["completed", "failed", "timed_out"]


class Meter:
    """Tells a recorder of the attempts in one process's hands, each once."""

    def __init__(self, recorder: Recorder, clock: Clock, *, pool: str, known: Container[str]) -> None:
        """`known`: the names of the activities that the process has code for."""
        self._recorder = recorder
        self._clock = clock
        self._pool = pool
        self._known = known

    def slots(self, limit: int) -> None:
        """So many attempts may run at once."""
        self._recorder.put(catalogue.WORKER_SLOTS, limit, self._pool)
        self.busy(0)

    def busy(self, count: int) -> None:
        """So many run."""
        self._recorder.put(catalogue.WORKER_SLOTS_BUSY, count, self._pool)

    def begun(self, job: Job) -> None:
        """An attempt begins."""
        sent = job.task.sent
        if self._recorder.on and sent is not None:
            # Another machine's clock may be ahead of this one's.
            waited = max(0.0, (self._clock.now() - sent).total_seconds())
            self._observe(catalogue.ACTIVITY_SCHEDULING_SECONDS, job, waited, self._name(job), self._pool)

    def ended(self, job: Job, ending: Ending, seconds: float) -> None:
        """An attempt is answered, after so many seconds."""
        if self._recorder.on:
            labels = (self._name(job), self._pool, ending)
            self._recorder.count(catalogue.ACTIVITY_EXECUTIONS, *labels)
            self._observe(catalogue.ACTIVITY_EXECUTION_SECONDS, job, seconds, *labels)

    def unanswered(self, jobs: Iterable[Job], status: Literal["cancelled", "lost", "returned"]) -> None:
        """Attempts end here without an answer."""
        if self._recorder.on:
            for job in jobs:
                self._recorder.count(catalogue.ACTIVITY_EXECUTIONS, self._name(job), self._pool, status)

    def _observe(self, metric: catalogue.Metric, job: Job, seconds: float, *labels: str) -> None:
        self._recorder.observe(metric, seconds, *labels, trace_id=sampled_trace(job.task.trace))

    def _name(self, job: Job) -> str:
        return catalogue.bounded(job.task.name, self._known)
