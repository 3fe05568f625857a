"""What a worker holds: the messages that it has not acknowledged yet, and the tasks in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tenuto import attempts
from tenuto.broker.protocol import Subscription
from tenuto.messages import Held, TaskRef, Unwanted

__all__ = ["Holdings", "Job", "Parcel"]


class Parcel:
    """A delivered message: one or more tasks under one acknowledgement."""

    __slots__ = ("_tag", "_unsettled", "released", "subscription")

    def __init__(self, subscription: Subscription, tag: int, *, tasks: int) -> None:
        self.subscription = subscription
        self._tag = tag
        self._unsettled = tasks
        self.released = False
        """Acknowledged before all of its tasks are settled: beats stand for those."""

    def settle(self) -> None:
        """One more of its tasks has been answered, and the broker has confirmed the answer.

        The last one acknowledges the message (rule W3); on a lost subscription that does nothing, and the
        message comes again, to be handed back.
        """
        self._unsettled -= 1
        if self._unsettled == 0 and not self.released:
            self.subscription.ack(self._tag)

    def is_lost_with(self, subscription: Subscription) -> bool:
        """Whether the broker delivers it again if that subscription is lost."""
        return self.subscription is subscription and not self.released

    def release(self) -> None:
        """The owners of those of its tasks that are not settled know that beats stand for them (rule W2)."""
        if self._unsettled and not self.released:
            self.released = True
            self.subscription.ack(self._tag)


@dataclass(slots=True, eq=False, kw_only=True)
class Job(attempts.Job):
    """A task in this worker's hands, from its delivery until its answer is confirmed."""

    parcel: Parcel
    since: float
    """When it was delivered, in the event loop's time."""

    def report(self, now: float | None = None, *, held: bool = False) -> Held:
        """What its owner is told of it; `now`, in the event loop's time, while it is in this worker's hands."""
        task = self.task
        return Held(
            instance=task.instance,
            run=task.run,
            generation=task.generation,
            command=task.command,
            attempt=task.attempt,
            seconds=None if now is None or self.began is None else now - self.began,
            details=self.pulse.details,
            start_to_close=task.start_to_close,
            heartbeat_timeout=task.heartbeat_timeout,
            held=held,
            sending=task.sending,
        )


class Holdings:
    """The jobs to be settled, oldest first."""

    def __init__(self) -> None:
        self._jobs: dict[Job, None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, job: Job) -> None:
        self._jobs[job] = None

    def settle(self, job: Job) -> None:
        """The job's answer is confirmed."""
        self._jobs.pop(job, None)
        job.parcel.settle()

    def drop(self, job: Job) -> None:
        """The job is the broker's again: its delivery was lost before it began."""
        self._jobs.pop(job, None)

    def holds(self, task: TaskRef) -> bool:
        """Whether the very same attempt is in this worker's hands."""
        return bool(self.find([task]))

    def find(self, tasks: Iterable[TaskRef]) -> list[Job]:
        """The jobs of these very attempts."""
        wanted = {_identity(task) for task in tasks}
        return [job for job in self._jobs if _identity(job.task) in wanted]

    def unwanted(self, tasks: Iterable[Unwanted]) -> list[Job]:
        """The jobs of these attempts, as far as they had been sent when nobody waited for them."""
        return [
            job
            for task in tasks
            for job in self.find([task])
            if task.as_of is None or job.task.sent is None or job.task.sent <= task.as_of
        ]

    def held_since(self, moment: float) -> Iterator[Job]:
        """The jobs that were delivered at `moment` (of the event loop's time) or before."""
        for job in self._jobs:
            if job.since > moment:
                return
            yield job


def _identity(task: TaskRef) -> tuple[str, str, int, int, int]:
    # rule N1
    return task.instance, task.run, task.generation, task.command, task.attempt
