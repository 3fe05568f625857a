"""The folded beat: one message per owner says which of its tasks this worker has held for long (rule W2).

Tasks that are answered within the interval, which is nearly all of them, never appear in a beat. Tasks that
wait for a slot do: the owner must know that they are not lost.

A broker takes a delivery away that is not acknowledged within its consumer timeout. So a task that has been here for
`hold_after`, begun or not, is *held*: a beat that is stored says so, and when that is confirmed, the delivery is
acknowledged. From then on the beats stand for the task.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tenuto.broker.protocol import Broker, Outcome, Outgoing
from tenuto.faults import NO_FAULTS, Faults
from tenuto.messages import Beat, encode
from tenuto.metrics import catalogue
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.sealing import Sealer
from tenuto_worker.folding import split
from tenuto_worker.holdings import Holdings, Job

__all__ = ["Heart"]

_TASK_BYTES: Final = 250
"""About what a task's identity takes in a message."""


class Heart:
    """Publishes the beats of one worker."""

    def __init__(
        self,
        broker: Broker,
        holdings: Holdings,
        *,
        worker: str,
        pool: str = "",
        interval: float,
        hold_after: float = math.inf,
        faults: Faults = NO_FAULTS,
        on_beat: Callable[[], None] = lambda: None,
        sealer: Sealer | None = None,
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        """`on_beat` is called before every beat that says something."""
        self._broker = broker
        self._sealer = sealer or Sealer()
        self._holdings = holdings
        self._worker = worker
        self._pool = pool
        self._interval = interval
        self._hold_after = hold_after
        self._faults = faults
        self._on_beat = on_beat
        self._recorder = recorder
        self._begun: list[Job] = []
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Beat until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._regularly())
            group.create_task(self._at_once())

    def begun(self, job: Job) -> None:
        """Tell the owner at once, if it must know that a worker has begun the task."""
        if job.task.schedule_to_start is not None:
            self._begun.append(job)
            self._wake.set()

    async def _regularly(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._beat(asyncio.get_running_loop().time())

    async def _at_once(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            begun, self._begun = self._begun, []
            await self._report(begun, asyncio.get_running_loop().time())

    async def _beat(self, now: float) -> None:
        await self._report(self._holdings.held_since(now - self._interval), now)
        await self._hold(self._holdings.held_since(now - self._hold_after), now)

    async def _report(self, jobs: Iterable[Job], now: float) -> None:
        # A beat that gets lost is made up for by the next, so it need be neither routed nor stored.
        await self._publish([_Beat(owner, part) for owner, part in _by_owner(jobs)], now, hold=False)

    async def _hold(self, jobs: Iterable[Job], now: float) -> None:
        """Acknowledge what has been here for long, once its owners have taken over from the broker (rule W2)."""
        held = [job for job in jobs if not job.parcel.released]
        beats = [_Beat(owner, part) for owner, part in _by_owner(held)]
        outcomes = await self._publish(beats, now, hold=True)
        unheard = {
            job.parcel
            for beat, outcome in zip(beats, outcomes, strict=True)
            if outcome is not Outcome.CONFIRMED  # it is tried again with the next beat
            for job in beat.jobs
        }
        if beats:
            await self._faults.reach("worker.held")
        for parcel in dict.fromkeys(job.parcel for job in held):
            if parcel not in unheard:
                parcel.release()

    async def _publish(self, beats: Sequence[_Beat], now: float, *, hold: bool) -> Sequence[Outcome]:
        if not beats:
            return ()
        self._on_beat()
        self._recorder.count(catalogue.WORKER_BEATS, amount=len(beats))
        return await self._broker.publish(
            [
                Outgoing(
                    queue=beat.owner,
                    body=self._body(beat.jobs, now, hold=hold),
                    mandatory=hold,
                    persistent=hold,
                )
                for beat in beats
            ]
        )

    def _body(self, jobs: Iterable[Job], now: float, *, hold: bool) -> bytes:
        tasks = [
            self._sealer.seal(job.report(now, held=hold or job.parcel.released), job.task.instance)
            for job in jobs
        ]
        return encode(Beat(worker=self._worker, pool=self._pool, tasks=tasks))


class _Beat(NamedTuple):
    """One message, to the queue of the tasks' owner."""

    owner: str
    jobs: list[Job]


def _by_owner(jobs: Iterable[Job]) -> Iterator[tuple[str, list[Job]]]:
    owners: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        owners[job.task.reply_to].append(job)
    for owner, mine in owners.items():
        for part in split(mine, _size):
            yield owner, part


def _size(job: Job) -> int:
    details = job.pulse.details
    return _TASK_BYTES + len(job.task.instance) + (0 if details is None else memoryview(details).nbytes)
