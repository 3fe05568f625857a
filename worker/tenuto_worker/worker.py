"""The worker service: one pool's activities, executed in this process.

    queue ─► Intake ─► Slots ─► Executor ─► Answers ─► the owners' queues
                └── redelivered: straight to ──┘
    Heart: what has been held for long, every few seconds
    Hearing: what of it nobody waits for any more

The delivery of a task stays unacknowledged until its answer is confirmed (rule W3), so a worker that dies
loses nothing: the broker delivers again, and whoever gets it hands it back to its owner (rule W1).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from tenuto.activity import Pulse
from tenuto.app import ActivityDefinition
from tenuto.attempts import Executor, Meter, Slots, Threads
from tenuto.broker.protocol import Broker, Delivery, Subscription
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.codecs import PayloadCodec
from tenuto.faults import NO_FAULTS, Faults
from tenuto.messages import ActivityResult, Unwanted, decode_tasks
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.naming import Names
from tenuto.payload_store import PayloadStore
from tenuto.sealing import Sealer, make_sealer, make_shelf
from tenuto.settings import WorkerSettings
from tenuto.tracing import Tracing
from tenuto_worker.answers import Answer, Answers
from tenuto_worker.beat import Heart
from tenuto_worker.hearing import Hearing
from tenuto_worker.holdings import Holdings, Job, Parcel
from tenuto_worker.intake import Intake

__all__ = ["Activities", "Worker", "prefetch_for"]

_logger = logging.getLogger("tenuto.worker")

_LAST_WORDS: Final = 10.0
"""Seconds that a stopping worker waits, at most, for the confirms of its last answers. What stays unconfirmed
was not acknowledged either and is delivered again."""
_FAREWELL: Final = 1.0
"""Seconds that cancelled activities are given to clean up."""
_AHEAD: Final = 100
"""Messages fetched ahead of the slots, at most."""


class Activities(Protocol):
    """What a worker needs of an `App`."""

    @property
    def activities(self) -> Mapping[str, ActivityDefinition]:
        """The activities by name."""
        ...


def prefetch_for(concurrency: int) -> int:
    """Messages to prefetch, where the settings do not say.

    Each may hold a single task, so one for each slot, and as many again to be at hand when those end; but few
    enough that waiting tasks are left for other workers.
    """
    return min(concurrency + min(concurrency, _AHEAD), 0xFFFF)


def _origin(settings: WorkerSettings, queue: str) -> dict[str, str]:
    """Where tasks come from, by OpenTelemetry's conventions for messaging."""
    if not settings.broker_url.startswith("amqp"):
        return {}
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": queue,
    }


class Worker:
    """Runs the activities of one pool. Start, stop and wait from one event loop.

    The broker may be shared with others: the worker opens it, and leaves closing it to whoever made it.
    """

    def __init__(
        self,
        app: Activities,
        broker: Broker,
        settings: WorkerSettings,
        *,
        pool: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        faults: Faults = NO_FAULTS,
        codecs: Sequence[PayloadCodec] | None = None,
        payload_store: PayloadStore | None = None,
        tracing: Tracing | None = None,
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        """`pool`, `codecs` (what seals payloads, in order) and `payload_store` (where large ones are kept) go before
        what the settings say; `tracing` is what spans are made with, by default the process's own tracer provider;
        `recorder` is told what it does.

        Raises:
            SettingsError: the settings name a codec or a store that there is not, or lack a key.
        """
        self.pool = settings.pool if pool is None else pool
        self.id = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self._activities = app.activities
        names = Names(settings.namespace, settings.layout)
        self._turns = names.turns_prefix
        self._broker = broker
        self._grace = settings.grace
        self._holdings = Holdings()
        self._threads = Threads(f"tenuto-{self.pool}")
        sealer = make_sealer(settings, codecs)
        self._answers = Answers(broker, self._holdings, faults, sealer=sealer)
        self._hearing = Hearing(broker, names.worker(self.id), self._dropped)
        self._heart = Heart(
            broker,
            self._holdings,
            worker=self.id,
            pool=self.pool,
            interval=settings.beat_interval,
            hold_after=settings.hold_after,
            faults=faults,
            on_beat=self._hearing.begin,
            sealer=sealer,
            recorder=recorder,
        )
        self._meter = Meter(recorder, clock, pool=self.pool, known=self._activities)
        self._slots: Slots[Job] = Slots(
            limit=settings.concurrency,
            executor=self._executor(
                settings, names, sealer, clock, payload_store=payload_store, tracing=tracing
            ),
            answer=self._answer,
            faults=faults,
            meter=self._meter,
            on_begin=self._heart.begun,
            on_crash=self._crashed,
        )
        self._intake = Intake(
            broker,
            pool=self.pool,
            queue=names.activities(self.pool),
            prefetch=settings.prefetch or prefetch_for(settings.concurrency),
            receive=self._receive,
            on_lost=self._lost,
        )
        self._services: list[asyncio.Task[None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._cause: BaseException | None = None

    def _executor(
        self,
        settings: WorkerSettings,
        names: Names,
        sealer: Sealer,
        clock: Clock,
        *,
        payload_store: PayloadStore | None,
        tracing: Tracing | None,
    ) -> Executor:
        return Executor(
            self._activities,
            self._threads,
            clock,
            max_payload_bytes=settings.max_payload_bytes,
            sealer=sealer,
            shelf=make_shelf(settings, payload_store),
            tracing=Tracing.of_settings(settings) if tracing is None else tracing,
            origin=_origin(settings, names.activities(self.pool)),
        )

    @property
    def ready(self) -> bool:
        """Whether it consumes its pool's queue at present."""
        return self._intake.consuming

    def unready(self) -> str | None:
        """Why it takes no tasks at present, in words; None: it does."""
        if self.ready:
            return None
        return f"it does not consume the queue of pool {self.pool!r}: the broker is away, or nobody has declared it"

    async def until_ready(self) -> None:
        """Wait until it consumes its pool's queue."""
        await self._intake.begun()

    async def start(self) -> None:
        """Begin.

        Returns when the worker is trying to consume its queue, which may not be declared yet: see `ready`.

        Raises:
            BrokerUnavailableError: the broker cannot be reached.
        """
        await self._broker.open()
        for service in (self._answers.run(), self._heart.run(), self._intake.run(), self._hearing.run()):
            task = asyncio.create_task(service)
            task.add_done_callback(self._service_ended)
            self._services.append(task)

    async def stop(self) -> None:
        """Leave in good order; tolerates repeats.

        Takes no more tasks, hands back those that have not begun, gives those that run the
        grace of the settings to end, cancels and hands back the rest, and waits for the confirms.
        """
        if not self._services:
            self._over.set()
            return
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._leave())
        await asyncio.shield(self._stopping)

    async def abandon(self) -> None:
        """End as `kill -9` would, without a word to the broker: for tests of what survives that.

        Threads cannot be killed: what runs in one goes on, and nobody hears of its end. The broker is to be closed
        then.
        """
        for service in self._services:
            service.cancel()
        self._slots.withdraw()
        self._slots.abandon()
        await self._slots.ended(_FAREWELL)
        await asyncio.gather(*self._services, return_exceptions=True)
        self._services.clear()
        self._threads.close()
        self._over.set()

    async def wait(self) -> None:
        """Return when the worker has stopped.

        Raises what killed it; call `stop` then, to let go of the rest.
        """
        await self._over.wait()
        if self._cause is not None:
            raise self._cause

    def _receive(self, delivery: Delivery, subscription: Subscription) -> None:
        try:
            tasks = decode_tasks(delivery.body).tasks
        except msgspec.DecodeError as error:
            _logger.warning("A message that holds no tasks goes to the dead-letter queue: %s", error)
            subscription.nack(delivery.tag, requeue=False)
            return
        if not tasks:
            subscription.ack(delivery.tag)
            return
        if any(not task.reply_to.startswith(self._turns) for task in tasks):
            # Whoever made it up, its answer would be published for ever to a queue that nobody declares.
            _logger.warning("Tasks that want no turn queue to be answered go to the dead-letter queue.")
            subscription.nack(delivery.tag, requeue=False)
            return
        clock = asyncio.get_running_loop().time
        now = clock()
        parcel = Parcel(subscription, delivery.tag, tasks=len(tasks))
        definitions = self._activities
        jobs = [
            Job(
                task=task,
                parcel=parcel,
                definition=definitions.get(task.name),
                since=now,
                pulse=Pulse(clock),
            )
            for task in tasks
        ]
        if delivery.redelivered:
            # rule W1: only a task that was alone in its message can be blamed for what became of its worker, and not
            # while it still runs here: then a connection was lost, and no worker.
            blamed = len(tasks) == 1 and tasks[0].alone and not self._holdings.holds(tasks[0])
            self._meter.unanswered(jobs, "lost")
            self._hand_back(jobs, counted=blamed)
        elif self._stopping is not None:
            # Delivered before the cancel took effect.
            self._hand_back(jobs)
        else:
            for job in jobs:
                self._holdings.take(job)
                self._slots.admit(job)

    def _lost(self, subscription: Subscription) -> None:
        """What runs goes on, and is answered; what waits comes again from the broker, unless it is held."""
        for job in self._slots.forget(lambda job: job.parcel.is_lost_with(subscription)):
            self._holdings.drop(job)

    def _answer(self, job: Job, result: ActivityResult) -> None:
        self._answers.give(Answer(job=job, result=result))

    def _dropped(self, tasks: Iterable[Unwanted]) -> None:
        """Nobody waits for these tasks any more, and that is committed: their deliveries need no answer."""
        for job in self._holdings.unwanted(tasks):
            if not job.answered:
                _logger.info(
                    "Activity %r of instance %r is cancelled: nobody waits for it.",
                    job.task.name,
                    job.task.instance,
                    extra={"instance_id": job.task.instance, "activity": job.task.name},
                )
                self._slots.drop(job)
                self._holdings.settle(job)

    def _hand_back(self, jobs: Iterable[Job], *, counted: bool = False) -> None:
        for job in jobs:
            self._answers.give(Answer(job=job, result=None, counted=counted))

    async def _leave(self) -> None:
        publishing, beating, intake, hearing = self._services
        intake.cancel()
        await self._intake.cancel()
        waiting = self._slots.withdraw()
        self._meter.unanswered(waiting, "returned")
        self._hand_back(waiting)
        await self._slots.finished(self._grace)
        unanswered = self._slots.abandon()
        if unanswered:
            _logger.warning(
                "%d activities did not end within the grace of %g s.", len(unanswered), self._grace
            )
        self._meter.unanswered(unanswered, "returned")
        self._hand_back(unanswered)
        await self._slots.ended(_FAREWELL)
        await self._last_words(publishing)
        await self._intake.close()
        publishing.cancel()
        beating.cancel()
        hearing.cancel()
        await asyncio.wait(self._services)
        self._threads.close()
        self._over.set()

    async def _last_words(self, publishing: asyncio.Task[None]) -> None:
        confirmed = asyncio.create_task(self._answers.confirmed())
        await asyncio.wait((confirmed, publishing), timeout=_LAST_WORDS, return_when=asyncio.FIRST_COMPLETED)
        if not confirmed.done():
            confirmed.cancel()
            _logger.warning("The last answers are not confirmed; their tasks will be delivered again.")

    def _service_ended(self, service: asyncio.Task[None]) -> None:
        if not service.cancelled() and (error := service.exception()) is not None:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        """A bug of the worker's own, not of an activity's."""
        _logger.critical("The worker of pool %r broke down.", self.pool, exc_info=error)
        self._cause = self._cause or error
        self._over.set()
