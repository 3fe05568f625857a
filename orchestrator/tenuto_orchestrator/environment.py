"""What every part of an orchestrator works with, passed in so that tests and the simulation can bring their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from tenuto import builtins
from tenuto.app import App
from tenuto.broker.protocol import Broker
from tenuto.clock import Clock
from tenuto.faults import Faults
from tenuto.metrics.recorder import NO_RECORDER, Recorder
from tenuto.naming import Names, partition_of
from tenuto.sealing import Sealer
from tenuto.settings import OrchestratorSettings
from tenuto.shelf import Shelf
from tenuto.store.protocol import Cluster, Deployment, Store
from tenuto.tracing import NO_TRACING
from tenuto_orchestrator.folding import Durations
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.readers import Readers
from tenuto_orchestrator.residents import Residents
from tenuto_orchestrator.spans import Spans
from tenuto_orchestrator.work import Intake

__all__ = ["DatabaseClock", "Environment"]


class DatabaseClock:
    """The wall clock, corrected to the database's, so that all orchestrators agree (rule T1)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def now(self) -> datetime:
        return self._clock.now() + self._ahead

    def correct(self, cluster: Cluster, *, took: float) -> None:
        """Take over the database's time from a beat that took so many seconds of monotonic time. The database is
        thought to have looked at its clock half-way (Cristian's algorithm), so the error is at most half of that."""
        self._ahead = cluster.now + timedelta(seconds=took / 2) - self._clock.now()


@dataclass(frozen=True, kw_only=True)
class Environment:
    app: App
    store: Store
    broker: Broker
    settings: OrchestratorSettings
    deployment: Deployment
    clock: DatabaseClock
    faults: Faults
    new_id: Callable[[], str]
    """Random ids, each used once."""
    residents: Residents
    recorder: Recorder = NO_RECORDER
    """Who is told what happens."""
    owned: dict[int, Partition] = field(default_factory=dict)
    """The partitions that this process works with."""
    pools: set[str] = field(default_factory=set)
    """The worker pools that have come up so far."""
    intake: Intake = field(default_factory=Intake)
    durations: Durations = field(default_factory=Durations)
    readers: Readers = field(default_factory=Readers)
    sealer: Sealer = field(default_factory=Sealer)
    shelf: Shelf = field(default_factory=Shelf)
    spans: Spans = field(default_factory=lambda: Spans(NO_TRACING))

    @cached_property
    def names(self) -> Names:
        return Names(self.settings.namespace, self.settings.layout)

    @cached_property
    def workflows(self) -> frozenset[str]:
        """The names of those that it has code for."""
        return frozenset((*self.app.workflows, *builtins.app.workflows))

    @property
    def partitions(self) -> int:
        return self.deployment.partitions

    def partition_of(self, instance: str) -> int:
        return partition_of(instance, self.partitions)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.lease)

    @property
    def horizon(self) -> timedelta:
        """How far ahead timers are kept in memory."""
        return timedelta(seconds=self.settings.timer_horizon)

    @property
    def keeps_history(self) -> bool:
        """Whether residents keep their events, for the replay check."""
        return self.settings.replay_check == "always"

    def now(self) -> datetime:
        """The time, by the database's clock."""
        return self.clock.now()

    def version_of(self, workflow: str, version: str | None) -> str | None:
        """A new instance that names no version takes the latest, and keeps it."""
        latest = self.app.latest(workflow)
        return latest.version if version is None and latest is not None else version
