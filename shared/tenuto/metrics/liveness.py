"""What waits in a deployment, and what the doctor finds wrong with it, as gauges.

Every orchestrator tells the same, from the same database; in queries take the maximum over them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenuto.doctor import Look, Onlooker, Patience, Severity, examine
from tenuto.errors import BrokerError, StoreError
from tenuto.metrics import catalogue
from tenuto.metrics.recorder import NO_RECORDER, Recorder

__all__ = ["LivenessCollector", "LivenessWatch"]

_log = logging.getLogger("tenuto.metrics")
_Numbers: TypeAlias = tuple[catalogue.Metric, catalogue.Values]
_PLACES = ("pending", "stalled", "unanswered", "timers", "inbox", "held", "outbox")


class LivenessCollector(Collector):
    """The last look, in Prometheus' terms. Asked from another thread, it reads one reference."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.look: Look | None = None

    def numbers(self) -> Iterator[_Numbers]:
        """Nothing before the first look."""
        look = self.look
        if look is not None:
            yield catalogue.LOOKED_AT, {(): look.health.now.timestamp()}
            yield from _waiting(look)
            yield from _ownership(look)
            yield from _queues(look)
            found = _problems(look, self._patience)
            yield catalogue.PROBLEMS, {(kind,): count for kind, count in found.items()}

    def collect(self) -> Iterator[Metric]:
        """The same, for Prometheus."""
        for metric, values in self.numbers():
            made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = made(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


class LivenessWatch:
    """A service that looks every few seconds, for the collector."""

    def __init__(
        self,
        onlooker: Onlooker,
        collector: LivenessCollector,
        *,
        interval: float = 10.0,
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        """`interval`: seconds between looks. `recorder`: who is told at each, besides; of gauges alone."""
        self._recorder = recorder
        self._onlooker = onlooker
        self._collector = collector
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tenuto liveness")

    async def stop(self) -> None:
        """Look no more. Tolerates repeats."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait(self) -> None:
        """Until it is stopped; raises what killed it."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _run(self) -> None:
        while True:
            try:
                self._collector.look = await self._onlooker.look()
                self._tell()
            except (StoreError, BrokerError) as error:
                # The age of the last look tells whoever reads the metrics.
                _log.warning("what waits cannot be seen: %s", error)
            await asyncio.sleep(self._interval)

    def _tell(self) -> None:
        if self._recorder.on:
            for metric, values in self._collector.numbers():
                if metric.kind == "gauge":
                    self._recorder.show(metric, values)


def _waiting(look: Look) -> Iterator[_Numbers]:
    counts: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for place in _PLACES:
        backlog = getattr(look.health, place)
        counts[place,] = backlog.count
        ages[place,] = 0.0 if backlog.oldest is None else (look.health.now - backlog.oldest).total_seconds()
    yield catalogue.WAITING, counts
    yield catalogue.WAITING_OLDEST, ages
    yield catalogue.TIMERS_DUE, {(): look.health.timers.count}
    live: catalogue.Values = {(status.value,): count for status, count in look.health.live.items()}
    yield catalogue.INSTANCES, live


def _ownership(look: Look) -> Iterator[_Numbers]:
    leases = look.health.leases
    owned = sum(lease.owner is not None and lease.remaining > 0 for lease in leases)
    yield catalogue.ORCHESTRATORS, {(): len(look.members)}
    yield catalogue.PARTITIONS, {(): len(leases)}
    yield catalogue.PARTITIONS_UNOWNED, {(): len(leases) - owned}
    yield catalogue.LEASE_ACQUISITIONS, {(): sum(lease.epoch for lease in leases)}


def _queues(look: Look) -> Iterator[_Numbers]:
    names = look.names
    found = {queue: info for queue, info in (look.queues or {}).items() if info is not None}
    prefix = names.activities("")
    pools = {queue.removeprefix(prefix): info for queue, info in found.items() if queue.startswith(prefix)}
    yield catalogue.POOL_MESSAGES, {(pool,): info.messages for pool, info in pools.items()}
    yield catalogue.POOL_WORKERS, {(pool,): info.consumers for pool, info in pools.items()}
    turns = [info.messages for queue, info in found.items() if queue.startswith(names.turns_prefix)]
    yield catalogue.TURN_QUEUE_MESSAGES, {(): sum(turns)} if turns else {}
    dead: catalogue.Values = {
        (queue,): found[queue].messages for queue in (names.dead, names.start_dead) if queue in found
    }
    yield catalogue.DEAD_LETTERS, dead


def _problems(look: Look, patience: Patience) -> Counter[str]:
    return Counter(
        finding.kind for finding in examine(look, patience) if finding.severity is Severity.PROBLEM
    )
