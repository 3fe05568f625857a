"""The orchestrator: one process's part in a deployment. Puts the pieces together, starts and stops them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tenuto import builtins
from tenuto.app import App
from tenuto.broker.protocol import Broker
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.codecs import PayloadCodec
from tenuto.core.events import EVENT_FORMAT
from tenuto.errors import BrokerUnavailableError, SettingsError, StoreUnavailableError
from tenuto.faults import NO_FAULTS, Faults
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.payload_store import PayloadStore
from tenuto.registry import describe_app
from tenuto.sealing import make_sealer, make_shelf
from tenuto.settings import OrchestratorSettings
from tenuto.store.protocol import Deployment, Member, Store
from tenuto.tracing import Tracing
from tenuto_orchestrator.courier import Courier
from tenuto_orchestrator.desk import Desk
from tenuto_orchestrator.door import Door
from tenuto_orchestrator.environment import DatabaseClock, Environment
from tenuto_orchestrator.executor import InProcessExecutor
from tenuto_orchestrator.guard import BrokerGuard
from tenuto_orchestrator.local import LocalActivities
from tenuto_orchestrator.measures import Gauges
from tenuto_orchestrator.outbox import Outbox
from tenuto_orchestrator.ownership import Ownership
from tenuto_orchestrator.pipeline import Pipeline
from tenuto_orchestrator.recovery import Recoverer
from tenuto_orchestrator.residents import Residents
from tenuto_orchestrator.retention import Retention
from tenuto_orchestrator.seals import Seals
from tenuto_orchestrator.settle import Settler
from tenuto_orchestrator.sources import Sources
from tenuto_orchestrator.spans import Spans
from tenuto_orchestrator.sweeper import Sweeper
from tenuto_orchestrator.upkeep import Upkeep
from tenuto_orchestrator.watchdog import Watchdog

__all__ = ["Orchestrator"]

_log = logging.getLogger("tenuto.orchestrator")


class _Part(Protocol):
    async def run(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class _Parts:
    guard: BrokerGuard
    pipeline: Pipeline
    ownership: Ownership
    door: Door
    others: Sequence[_Part]

    async def run(self) -> None:
        """Run all of them; when one fails, the others end too."""
        async with asyncio.TaskGroup() as group:
            parts: tuple[_Part, ...] = (self.pipeline, self.ownership, self.door, *self.others)
            for part in parts:
                group.create_task(part.run(), name=f"tenuto {type(part).__name__}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Running:
    parts: _Parts
    task: asyncio.Task[None]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


class Orchestrator:
    """Owns its share of the partitions and takes the turns of their instances.

    Any number of them may run; each has its own store and broker objects, which the caller opens before `start`
    and closes after `stop`.
    """

    def __init__(
        self,
        app: App,
        store: Store,
        broker: Broker,
        settings: OrchestratorSettings | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        faults: Faults = NO_FAULTS,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        codecs: Sequence[PayloadCodec] | None = None,
        payload_store: PayloadStore | None = None,
        tracing: Tracing | None = None,
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        """`codecs`: what seals payloads, in order, and `payload_store`: where large ones are kept, instead of what the
        settings name; `tracing`: what spans are made with, by default the process's own tracer provider; `recorder`:
        who is told what it does.

        Raises:
            SettingsError: the settings name a codec or a store that there is not, or lack a key.
        """
        self._app = app
        self._store = store
        self._broker = broker
        self._settings = settings if settings is not None else OrchestratorSettings()
        self._clock = clock
        self._faults = faults
        self._new_id = new_id
        self._recorder = recorder
        self._sealer = make_sealer(self._settings, codecs)
        self._shelf = make_shelf(self._settings, payload_store, database=store)
        self._tracing = Tracing.of_settings(self._settings) if tracing is None else tracing
        self._running: _Running | None = None

    async def start(self) -> None:
        """Join the deployment and begin to work; returns when the first partitions are owned.

        Raises:
            SettingsError: the deployment was made with other settings.
            StoreError, BrokerError: one of them is away.

        """
        if self._running is not None:
            return
        parts = self._compose(await self._deployment())
        await self._join(parts)
        self._running = _Running(parts=parts, task=asyncio.create_task(parts.run()))
        await parts.ownership.settled()

    async def stop(self) -> None:
        """Finish the batch under way, hand over every partition, and leave. Tolerates repeats."""
        running, self._running = self._running, None
        if running is None:
            return
        parts, task = running.parts, running.task
        if not task.done():
            await parts.pipeline.stop()
            await parts.ownership.leave()
            task.cancel()
        await asyncio.wait([task])
        running.stopped.set()

    async def abandon(self) -> None:
        """End as `kill -9` would, without a word to the database or the broker: for tests of what survives that.

        The partitions go to others when the lease is over. The store and the broker are to be closed then.
        """
        running, self._running = self._running, None
        if running is not None:
            running.task.cancel()
            await asyncio.wait([running.task])
            await running.parts.ownership.abandon()
            running.stopped.set()

    def unready(self) -> str | None:
        """Why it cannot serve at present, in words; None: it can.

        It can when the database has answered within the lease, it consumes the broker, and it owns partitions (or there
        are more orchestrators than partitions). What it lacks it goes on trying to get, so it is not to be killed.
        """
        if self._running is None:
            return "it is starting, or has stopped"
        parts = self._running.parts
        reason = parts.ownership.unready()
        if reason is None and not parts.door.is_open:
            reason = "it does not consume the public queue: the broker is away"
        return reason

    async def wait(self) -> None:
        """Until it is stopped.

        Raises:
            BaseExceptionGroup: what killed it.

        """
        running = self._running
        if running is None:
            return
        stopped = asyncio.create_task(running.stopped.wait())
        await asyncio.wait([stopped, running.task], return_when=asyncio.FIRST_COMPLETED)
        if self._running is running:  # nobody asked for it
            stopped.cancel()
            await running.task
        await stopped

    async def _join(self, parts: _Parts) -> None:
        """Make sure of the broker's queues and take the first partitions; a server may be slow or restarting."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type((StoreUnavailableError, BrokerUnavailableError)),
            stop=stop_after_delay(self._settings.connect_timeout),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await parts.guard.check()
                await parts.guard.declare_pools()
                await parts.ownership.tick()

    # Start-up --------------------------------------------------------------------------------------------

    async def _deployment(self) -> Deployment:
        settings = self._settings
        wanted = Deployment(
            partitions=settings.partitions, layout=settings.layout, queue_type=settings.queue_type
        )
        found = await self._store.deployment(wanted)
        if found is None:
            return wanted
        for name in ("partitions", "layout", "queue_type"):
            here, there = getattr(wanted, name), getattr(found, name)
            if here != there:
                raise SettingsError(
                    f"this process is set to {name}={here!r}, and the deployment was made with {there!r}; set "
                    f"TENUTO_{name.upper()}={there}, or use another database for a new deployment"
                )
        return found

    def _member(self) -> Member:
        app = self._app
        workflows = {
            name: [label for label in app.versions(name) if label is not None]
            for name in (*app.workflows, *builtins.app.workflows)
        }
        host = socket.gethostname()
        return Member(
            owner=f"{host}:{os.getpid()}:{self._new_id()[:12]}",
            workflows=workflows,
            activities={name: activity.pool for name, activity in app.activities.items()},
            host=host,
            release=version("tenuto"),
            event_format=EVENT_FORMAT,
            schemas=describe_app(app),
        )

    def _compose(self, deployment: Deployment) -> _Parts:
        settings = self._settings
        env = Environment(
            app=self._app,
            store=self._store,
            broker=self._broker,
            settings=settings,
            deployment=deployment,
            clock=DatabaseClock(self._clock),
            faults=self._faults,
            sealer=self._sealer,
            shelf=self._shelf,
            spans=Spans(self._tracing),
            new_id=self._new_id,
            recorder=self._recorder,
            residents=Residents(max_count=settings.residents, max_bytes=settings.resident_bytes),
        )
        watchdog = Watchdog(settings.turn_warning)
        executor = InProcessExecutor(
            builtins.resolver(self._app),
            max_losses=settings.max_losses,
            max_payload_bytes=settings.max_payload_bytes,
            seals=Seals(env.sealer, env.shelf),
            check_replay=env.keeps_history,
            watchdog=watchdog,
        )
        guard = BrokerGuard(env)
        sources = Sources(env)
        local = LocalActivities(env, sources, self._clock, self._tracing)
        outbox = Outbox(env, on_returned=guard.returned, on_refused=sources.refused, on_local=local.put)
        courier = Courier(env)
        sweeper = Sweeper(env)
        settler = Settler(env, sources, outbox, courier, sweeper)
        pipeline = Pipeline(env, sources, executor, Desk(env, executor), settler)
        ownership = Ownership(
            env,
            Recoverer(env, guard, sources, outbox),
            guard,
            outbox=outbox,
            pipeline=pipeline,
            member=self._member(),
        )
        others: tuple[_Part, ...] = (
            outbox,
            local,
            courier,
            sweeper,
            sources.timers,
            Upkeep(env, guard),
            Retention(env),
            watchdog,
        )
        if env.recorder.on:
            others += (Gauges(env, outbox),)
        door = Door(env, guard, courier)
        return _Parts(guard=guard, pipeline=pipeline, ownership=ownership, door=door, others=others)
