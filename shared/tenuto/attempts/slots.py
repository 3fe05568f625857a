"""Slots: which jobs run, and which wait.

A slot is taken by a job until its code has ended, also when its answer was given earlier because the
start-to-close timeout passed: a thread cannot be stopped (rule W4), and a worker must not run more at once
than it was told to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Generic, TypeVar

import msgspec

from tenuto.attempts.execution import Executor
from tenuto.attempts.job import Job
from tenuto.attempts.meter import Ending, Meter
from tenuto.attempts.waiting import Waiting
from tenuto.attempts.watchdog import Watchdog
from tenuto.core.events import Failure
from tenuto.core.timeouts import timeout_failure
from tenuto.faults import Faults
from tenuto.messages import ActivityResult

__all__ = ["Slots"]

_logger = logging.getLogger("tenuto.worker")

J = TypeVar("J", bound=Job)


class Slots(Generic[J]):
    """Runs jobs in the order of their arrival, `limit` at once, and no more of an activity than its own limit."""

    def __init__(
        self,
        *,
        limit: int,
        executor: Executor,
        answer: Callable[[J, ActivityResult], None],
        faults: Faults,
        meter: Meter,
        on_begin: Callable[[J], None],
        on_crash: Callable[[BaseException], None],
        is_lost: Callable[[J], bool] = lambda _: False,
    ) -> None:
        """`answer` takes the result of a job, which may have been answered before: the first counts (rule W3). What
        `is_lost` when its turn comes does not begin."""
        self._limit = limit
        self._executor = executor
        self._give = answer
        self._faults = faults
        self._meter = meter
        meter.slots(limit)
        self._on_begin = on_begin
        self._on_crash = on_crash
        self._is_lost = is_lost
        self._waiting: Waiting[J] = Waiting()
        self._running: dict[asyncio.Task[None], J] = {}
        # Each activity begins in this context, not in that of the activity whose end made room for it.
        self._context: Context = copy_context()

    def admit(self, job: J) -> None:
        """Run the job as soon as there is a slot."""
        self._waiting.put(job)
        self._fill()

    def forget(self, lost: Callable[[J], bool]) -> list[J]:
        """Take out the waiting jobs that are lost to this process; they run somewhere else."""
        return self._waiting.remove(lost)

    def withdraw(self) -> list[J]:
        """Take out every waiting job."""
        return self._waiting.remove(lambda _: True)

    def drop(self, job: J) -> None:
        """Nobody waits for the job any more: it does not begin or, if it has, is cancelled, and is not answered."""
        job.answered = True
        self._meter.unanswered([job], "cancelled")
        if job.runner is None:
            self._waiting.remove(lambda one: one is job)
        _cancel(job)

    async def finished(self, within: float) -> None:
        """Wait until the jobs that run and are not answered yet have ended, for so many seconds at most."""
        unanswered = [runner for runner, job in self._running.items() if not job.answered]
        if unanswered:
            await asyncio.wait(unanswered, timeout=within)

    async def ended(self, within: float) -> None:
        """Wait until the code of every job that has a slot has ended, for so many seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=within)

    def abandon(self) -> list[J]:
        """Cancel every running job.

        On the event loop really, in a thread by telling it. Returns those not answered yet, which are the
        caller's to answer.
        """
        unanswered = [job for job in self._running.values() if not job.answered]
        for runner, job in self._running.items():
            job.pulse.cancelled = True
            runner.cancel()
        return unanswered

    def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._running) < self._limit and (job := self._waiting.take()) is not None:
            if self._is_lost(job):
                self._waiting.ended(job)
                continue
            runner = loop.create_task(self._run(job), context=self._context.copy())
            job.runner = runner
            self._running[runner] = job
            runner.add_done_callback(self._done, context=self._context)
        self._meter.busy(len(self._running))

    def _done(self, runner: asyncio.Task[None]) -> None:
        self._waiting.ended(self._running.pop(runner))
        if not runner.cancelled() and (error := runner.exception()) is not None:
            self._on_crash(error)
        self._fill()

    async def _run(self, job: J) -> None:
        await self._faults.reach("worker.received")
        loop = asyncio.get_running_loop()
        job.began = started = loop.time()
        self._on_begin(job)
        self._meter.begun(job)
        watchdog = Watchdog(job, self._expire)
        try:
            outcome = await self._executor.execute(job)
        finally:
            watchdog.stop()
        if job.answered:
            _logger.warning(
                "Activity %r of instance %r ended when nobody waited for it any more; its outcome is dropped.",
                job.task.name,
                job.task.instance,
                extra={"instance_id": job.task.instance, "activity": job.task.name},
            )
            return
        await self._faults.reach("worker.executed")
        ending: Ending = "failed" if isinstance(outcome, Failure) else "completed"
        self._answer(job, outcome, ending, seconds=loop.time() - started)

    def _expire(self, job: J, limit: str, allowed: float) -> None:
        """The attempt has outrun a limit (rule W4).

        It is answered now; how long the code takes to notice is its own affair.
        """
        task = job.task
        failure = timeout_failure(
            limit, allowed, activity=task.name, instance=task.instance, attempt=task.attempt
        )
        seconds = 0.0 if job.began is None else asyncio.get_running_loop().time() - job.began
        self._answer(job, failure, "timed_out", seconds=seconds)
        _cancel(job)

    def _answer(self, job: J, outcome: msgspec.Raw | Failure, ending: Ending, *, seconds: float) -> None:
        task = job.task
        if not job.answered:
            self._meter.ended(job, ending, seconds)
        result = ActivityResult(
            instance=task.instance,
            run=task.run,
            generation=task.generation,
            command=task.command,
            attempt=task.attempt,
            name=task.name,
            result=None if isinstance(outcome, Failure) else outcome,
            failure=outcome if isinstance(outcome, Failure) else None,
            seconds=seconds,
            details=job.pulse.details if isinstance(outcome, Failure) else None,
        )
        self._give(job, result)


def _cancel(job: Job) -> None:
    """Tell the job's code that nobody waits for it. A thread has to look by itself, and keeps its slot till then."""
    job.pulse.cancelled = True
    if job.runner is not None and job.definition is not None and job.definition.is_async:
        job.runner.cancel()
