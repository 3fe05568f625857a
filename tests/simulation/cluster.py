"""A small cluster in one event loop: orchestrators, workers and clients of the real code, each a process of its own.

A process that crashes or leaves is started again after a while, under a new owner id and with new connections.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from tenuto import App, Client, Publisher
from tenuto.errors import BrokerError, StoreError
from tenuto.naming import Names
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto_orchestrator import Orchestrator
from tenuto_worker import Worker
from tests.simulation.broker import BrokerServer, SimBroker
from tests.simulation.loop import Process, SimLoop
from tests.simulation.plan import Plan
from tests.simulation.store import DatabaseServer, EarlierStore, SimStore
from tests.simulation.story import Hands, Story
from tests.simulation.workload import POOLS

__all__ = ["BEGINNING", "Cluster", "Seat", "SimClock"]

NAMESPACE = "sim"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_KNOWN_AFTER = 20.0
"""Seconds after which everybody knows that an orchestrator has gone."""
_CRASHES_AT_START = 0.5
"""Seconds until a process that could not start is started again."""


@dataclass(slots=True)
class SimClock:
    """A process's wall clock: the loop's time, off by its skew."""

    loop: SimLoop
    skew: float = 0.0

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.loop.time() + self.skew)


@dataclass(slots=True, eq=False)
class Seat:
    """A place in the cluster, with the process that has it at present."""

    kind: str
    name: str
    main: Callable[[Seat], Awaitable[None]]
    clock: SimClock
    process: Process
    point: str = ""
    """The fault point at which it is to crash."""
    leave: asyncio.Event | None = None
    """Tells the process to leave in good order (SIGTERM)."""
    incarnations: int = 0
    wanted: bool = True
    """It is to be started again whenever it ends."""
    absence: float = 1.0
    """Seconds that it stays away."""
    behind: bool = False
    """It runs an old release the next time that it starts."""
    outdated: bool = False
    """It runs one now."""
    task: asyncio.Task[None] | None = None
    """Kept, or a process that only waits would be collected as garbage."""


@dataclass(slots=True, eq=False)
class SeatFaults:
    """The fault points of one process."""

    loop: SimLoop
    seat: Seat
    on_crash: Callable[[str], None]

    async def reach(self, point: str) -> None:
        if self.seat.point == point:
            self.seat.point = ""
            self.on_crash(f"{self.seat.name} crashes at {point}")
            self.loop.crash(self.seat.process)
            await self.loop.create_future()  # nobody comes to tell


@dataclass(slots=True, eq=False)
class Cluster:
    loop: SimLoop
    plan: Plan
    app: App
    old_app: App
    """That of an older release."""
    database_clock: SimClock
    database: DatabaseServer
    broker: BrokerServer
    stories: list[Story]
    ids: Random
    mend: Callable[[str], None]
    note: Callable[[str], None]
    complain: Callable[[str], None]
    seats: list[Seat] = field(default_factory=list)
    _processes: int = 0
    _upgraded_at: float = -math.inf
    calm: bool = False

    def begin(self) -> None:
        """Seat everybody."""
        chance = Random(f"{self.ids.random()}:skew")
        plan = self.plan
        for number in range(plan.orchestrators):
            self.seat(
                *(
                    "orchestrator",
                    f"orchestrator-{number}",
                    self._orchestrate,
                    chance.uniform(-1, 1) * plan.skew,
                ),
                behind=bool(plan.behind) and number > 0,
            )
        for number in range(plan.workers):
            for pool in POOLS if plan.deadly else POOLS[:2]:
                self.seat("worker", f"worker-{pool}-{number}", self._work, chance.uniform(-1, 1) * plan.skew)
        for number in range(plan.clients):
            self.seat("client", f"client-{number}", self._use, chance.uniform(-1, 1) * plan.skew)

    def seat(
        self,
        kind: str,
        name: str,
        main: Callable[[Seat], Awaitable[None]],
        skew: float = 0.0,
        *,
        behind: bool = False,
    ) -> Seat:
        clock = SimClock(self.loop, skew)
        seat = Seat(kind, name, main, clock, self.loop.outside, behind=behind)
        self.seats.append(seat)
        self._start(seat)
        return seat

    def join(self) -> None:
        """One more orchestrator."""
        count = sum(seat.kind == "orchestrator" for seat in self.seats)
        if count < 5:
            self.seat("orchestrator", f"orchestrator-{count}", self._orchestrate)

    def upgrade(self) -> None:
        """One orchestrator of the old release after the other is replaced."""
        behind = [seat for seat in self.seats if seat.behind]
        for place, seat in enumerate(behind):
            self.loop.at(self.loop.outside, self.loop.time() + 2.0 * place, self._replace, seat)

    def _replace(self, seat: Seat) -> None:
        seat.behind = False
        if seat.leave is not None and seat.process.alive:
            seat.leave.set()

    def _is_upgrading(self) -> bool:
        """Whether an older release is there, or some orchestrator may still think so."""
        known = self.loop.time() > self._upgraded_at + _KNOWN_AFTER
        return not known or any(seat.outdated for seat in self.seats)

    def of(self, *kinds: str) -> list[Seat]:
        """The seats whose process lives."""
        return [seat for seat in self.seats if seat.process.alive and (not kinds or seat.kind in kinds)]

    def new_id(self) -> str:
        return f"{self.ids.getrandbits(128):032x}"

    # Processes ------------------------------------------------------------------------------------------------

    def _start(self, seat: Seat) -> None:
        seat.incarnations += 1
        if seat.outdated and not seat.behind:
            self._upgraded_at = self.loop.time()
        seat.outdated = seat.behind
        self._processes += 1
        seat.process = Process(f"{seat.name}#{seat.incarnations}", self._processes)
        seat.process.on_crash.append(lambda: self._crashed(seat))
        self.note(f"{seat.process.name} starts")
        seat.task = self.loop.spawn(seat.process, self._run(seat, seat.process))

    def _crashed(self, seat: Seat) -> None:
        self.note(f"{seat.process.name} has crashed")
        seat.point = ""
        away = 0.3 if self.calm else seat.absence
        self.loop.at(self.loop.outside, self.loop.time() + away, self._start, seat)

    async def _run(self, seat: Seat, process: Process) -> None:
        seat.leave = asyncio.Event()
        try:
            await seat.main(seat)
        except (StoreError, BrokerError) as error:
            self.note(f"{process.name} ends: {error}")
            await asyncio.sleep(_CRASHES_AT_START)
        except Exception as error:  # noqa: BLE001 - services do not end by themselves
            self.complain(f"{process.name} was ended by {error!r}")
        # What is left of it, such as open connections, ends with it.
        self.loop.at(self.loop.outside, self.loop.time(), self.loop.crash, process)

    async def _orchestrate(self, seat: Seat) -> None:
        plan = self.plan
        settings = _orchestrator_settings(
            partitions=plan.partitions,
            lease=plan.lease,
            batch=plan.batch,
            residents=plan.residents,
            prefetch=plan.prefetch,
            fan_out_window=plan.fan_out_window,
            replay_check="always" if plan.replay_check else "never",
            timer_horizon=plan.horizon,
            # What a stalled instance's tasks come back to is forgotten, too.
            resend_after=6.0 if plan.lossy or plan.behind else 100_000.0,
            max_losses=plan.max_losses,
            turn_warning=0,
        )
        reads_less = seat.outdated and plan.behind == "events"
        store = EarlierStore(self.database) if reads_less else SimStore(self.database)
        broker = SimBroker(self.broker)
        await broker.open()
        service = Orchestrator(
            self.old_app if seat.outdated else self.app,
            store,
            broker,
            settings,
            clock=seat.clock,
            faults=self._faults(seat),
            new_id=self.new_id,
        )
        await service.start()
        await self._serve(seat, service)
        await broker.close()

    async def _work(self, seat: Seat) -> None:
        pool = seat.name.split("-")[1]
        broker = SimBroker(self.broker)
        await broker.open()
        settings = _worker_settings(concurrency=self.plan.concurrency)
        service = Worker(self.app, broker, settings, pool=pool, clock=seat.clock, faults=self._faults(seat))
        await service.start()
        await self._serve(seat, service)
        await broker.close()

    async def _serve(self, seat: Seat, service: Orchestrator | Worker) -> None:
        """Until it is told to leave, or killed by something."""
        assert seat.leave is not None
        leaving = asyncio.create_task(seat.leave.wait())
        running = asyncio.create_task(service.wait())
        await asyncio.wait([leaving, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        await service.stop()
        await running
        self.note(f"{seat.process.name} has left in good order")

    async def _use(self, seat: Seat) -> None:
        settings = _client_settings()
        broker = SimBroker(self.broker)
        await broker.open()
        client = Client(
            settings,
            store=SimStore(self.database),
            broker=broker,
            app=self.app,
            clock=seat.clock,
            new_id=self.new_id,
        )
        publisher = Publisher(settings, broker=broker, clock=seat.clock, new_id=self.new_id)
        hands = Hands(
            client=client,
            publisher=publisher,
            broker=broker,
            names=Names(NAMESPACE),
            settings=settings,
            clock=seat.clock,
            mend=self.mend,
            upgrading=self._is_upgrading,
            may_be_lost=lambda: "wipe" in self.database.trouble.counts,
            note=self.note,
            complain=self.complain,
        )
        number = int(seat.name.split("-")[1])
        mine = [story for n, story in enumerate(self.stories) if n % self.plan.clients == number]
        async with client, publisher, asyncio.TaskGroup() as group:
            for story in mine:
                if not story.finished:
                    group.create_task(hands.live(story))
        await broker.close()
        await asyncio.Event().wait()  # its users have gone home, and left it running

    def _faults(self, seat: Seat) -> SeatFaults:
        return SeatFaults(self.loop, seat, self.note)


# Reading settings costs more than a short simulation.


@cache
def _orchestrator_settings(**values: Any) -> OrchestratorSettings:
    return OrchestratorSettings(namespace=NAMESPACE, inbox_interval=1.5, stall_grace=2.0, **values)


@cache
def _worker_settings(**values: Any) -> WorkerSettings:
    return WorkerSettings(namespace=NAMESPACE, beat_interval=2.0, hold_after=1.0, grace=3.0, **values)


@cache
def _client_settings() -> ClientSettings:
    return ClientSettings(namespace=NAMESPACE, request_timeout=20.0, poll_interval=1.0)
