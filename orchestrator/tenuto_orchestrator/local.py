"""Local activities: short ones that run in this process, without a message to a worker.

Their tasks stand in the outbox row of the commit that asked for them, as those for workers do, and the row stays until
their answers are committed too: whoever recovers the partition finds there what has to be run again. So nothing runs
before its call is committed, no code goes on with an answer that is not about to be, and no batch waits for one: an
answer is a parcel like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tenuto import attempts
from tenuto.attempts import LOCAL, Executor, Meter, Slots, Threads
from tenuto.clock import Clock
from tenuto.faults import NO_FAULTS
from tenuto.messages import ActivityResult, ActivityTask, task_ref
from tenuto.tracing import NO_TRACING, Tracing
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.sources import Sources

__all__ = ["LocalActivities"]


@dataclass(slots=True, eq=False, kw_only=True)
class _Job(attempts.Job):
    partition: Partition
    done: Callable[[], None]
    """For when the answer is committed."""


class LocalActivities:
    """Runs tasks of owned partitions as a worker would, by the same rules."""

    def __init__(
        self, env: Environment, sources: Sources, clock: Clock, tracing: Tracing = NO_TRACING
    ) -> None:
        self._env = env
        self._sources = sources
        self._threads = Threads("tenuto-local")
        self._slots: Slots[_Job] = Slots(
            limit=env.settings.local_concurrency,
            executor=Executor(
                env.app.activities,
                self._threads,
                clock,
                max_payload_bytes=env.settings.max_payload_bytes,
                sealer=env.sealer,
                shelf=env.shelf,
                tracing=tracing,
            ),
            answer=self._answer,
            faults=NO_FAULTS,
            meter=Meter(env.recorder, clock, pool=LOCAL, known=env.app.activities),
            on_begin=_nothing,
            on_crash=self._crash,
            is_lost=_is_lost,
        )
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, partition: Partition, task: ActivityTask, done: Callable[[], None]) -> None:
        """Run a task whose call is committed. `done` is called once its answer is committed."""
        partition.local.add(task_ref(task))
        definition = self._env.app.activities.get(task.name)
        self._slots.admit(_Job(task=task, definition=definition, partition=partition, done=done))

    async def run(self) -> None:
        """Stay until cancelled; what runs then is cancelled too, and run again by whoever recovers its partition."""
        try:
            await self._broken
        finally:
            self._slots.withdraw()
            self._slots.abandon()
            self._threads.close()

    def _answer(self, job: _Job, result: ActivityResult) -> None:
        if not job.answered:
            job.answered = True
            self._sources.answered_here(job.partition, result, job.done)

    def _crash(self, error: BaseException) -> None:
        """A bug of the engine's own, not of an activity's."""
        if not self._broken.done():
            self._broken.set_exception(error)


def _is_lost(job: _Job) -> bool:
    """Whoever recovers the partition runs it; that may be this process, under another epoch."""
    return not job.partition.open


def _nothing(_job: _Job) -> None:
    """Its owner need not be told that it has begun."""
