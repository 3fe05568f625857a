"""What waits in a deployment, and what the doctor finds wrong with it, as gauges.

Every orchestrator tells the same, from the same database; in queries take the maximum over them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenuto.doctor import Look, Onlooker, Patience, Severity, examine
from tenuto.errors import BrokerError, StoreError

__all__ = ["LivenessCollector", "LivenessWatch"]

_log = logging.getLogger("tenuto.metrics")
_PLACES = ("pending", "stalled", "unanswered", "timers", "inbox", "held", "outbox")


class LivenessCollector(Collector):
    """The last look, in Prometheus' terms. Asked from another thread, it reads one reference."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.look: Look | None = None

    def collect(self) -> Iterator[Metric]:
        """Nothing before the first look."""
        look = self.look
        if look is None:
            return
        yield GaugeMetricFamily(
            "tenuto_looked_at_timestamp_seconds", "When this was seen.", value=look.health.now.timestamp()
        )
        yield from _waiting(look)
        yield from _ownership(look)
        yield from _pools(look)
        problems = GaugeMetricFamily(
            "tenuto_problems", "What `tenuto doctor` finds wrong, by kind.", labels=["kind"]
        )
        for kind, count in _problems(look, self._patience).items():
            problems.add_metric([kind], count)
        yield problems


class LivenessWatch:
    """A service that looks every few seconds, for the collector."""

    def __init__(self, onlooker: Onlooker, collector: LivenessCollector, *, interval: float = 10.0) -> None:
        """`interval`: seconds between looks."""
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
            except (StoreError, BrokerError) as error:
                # The age of the last look tells whoever reads the metrics.
                _log.warning("what waits cannot be seen: %s", error)
            await asyncio.sleep(self._interval)


def _waiting(look: Look) -> Iterator[Metric]:
    count = GaugeMetricFamily("tenuto_waiting", "What waits in the database, by place.", labels=["place"])
    age = GaugeMetricFamily(
        "tenuto_waiting_oldest_seconds", "For how long the oldest of it has waited.", labels=["place"]
    )
    for place in _PLACES:
        backlog = getattr(look.health, place)
        count.add_metric([place], backlog.count)
        waited = 0.0 if backlog.oldest is None else (look.health.now - backlog.oldest).total_seconds()
        age.add_metric([place], waited)
    live = GaugeMetricFamily(
        "tenuto_instances", "Instances that have not ended, by status.", labels=["status"]
    )
    for status, instances in look.health.live.items():
        live.add_metric([status.value], instances)
    yield from (count, age, live)


def _ownership(look: Look) -> Iterator[Metric]:
    yield GaugeMetricFamily("tenuto_orchestrators", "Orchestrators that live.", value=len(look.members))
    yield GaugeMetricFamily("tenuto_partitions", "Partitions.", value=len(look.health.leases))
    owned = sum(lease.owner is not None and lease.remaining > 0 for lease in look.health.leases)
    yield GaugeMetricFamily(
        "tenuto_partitions_unowned", "Partitions without a live owner.", value=len(look.health.leases) - owned
    )
    yield CounterMetricFamily(
        "tenuto_lease_acquisitions",
        "How often partitions were taken, all epochs together.",
        value=sum(lease.epoch for lease in look.health.leases),
    )


def _pools(look: Look) -> Iterator[Metric]:
    messages = GaugeMetricFamily("tenuto_pool_messages", "Messages that wait for workers.", labels=["pool"])
    consumers = GaugeMetricFamily("tenuto_pool_workers", "Consumers of a pool's queue.", labels=["pool"])
    prefix = look.names.activities("")
    for queue, info in (look.queues or {}).items():
        if queue.startswith(prefix) and info is not None:
            messages.add_metric([queue.removeprefix(prefix)], info.messages)
            consumers.add_metric([queue.removeprefix(prefix)], info.consumers)
    yield from (messages, consumers)


def _problems(look: Look, patience: Patience) -> Counter[str]:
    return Counter(
        finding.kind for finding in examine(look, patience) if finding.severity is Severity.PROBLEM
    )
