"""A campaign: a cluster under load behind two proxies, faults by a schedule, and the checker afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url

from tenuto import Client, Publisher
from tenuto.settings import ClientSettings
from tests.support.chaos import Chaos, make_schedule, running
from tests.support.chaos_app import app
from tests.support.checker import Findings, check, until_at_rest
from tests.support.fleet import Fleet, FleetCluster
from tests.support.journal import install_journal
from tests.support.mixed_load import MixedLoad
from tests.support.processes import eventually
from tests.support.proxy import Proxy
from tests.support.reaper import Reaper
from tests.support.servers import PrivatePostgres, PrivateRabbitMQ

__all__ = ["Campaign", "Report", "Surroundings"]

CHAOS_APP = "tests.support.chaos_app:app"
_SETTINGS = {
    "TENUTO_RESEND_AFTER": "5",  # what a purge has taken is missed soon
    "TENUTO_MAX_LOSSES": "50",  # here it is not tasks that kill workers
    "TENUTO_BEAT_INTERVAL": "2",
    "TENUTO_GRACE": "5",
}
_REST = 180.0
"""Seconds in which everything must have come to rest after the last fault."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a campaign needs of the world."""

    rabbitmq: PrivateRabbitMQ
    postgres: PrivatePostgres
    namespace: str
    folder: Path
    reaper: Reaper
    show_log: Callable[[Path], None]


@dataclass(kw_only=True)
class Report:
    """The numbers of a campaign."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    starts: int = 0
    """Processes started, the first ones included."""
    failed_starts: int = 0
    ordered: int = 0
    slowest: float = 0.0
    """Seconds from the order to the result, at the most."""
    settled: float = 0.0
    """Seconds from the last fault until everything was at rest."""
    findings: Findings = field(default_factory=Findings)

    def __str__(self) -> str:
        found = self.findings
        again = found.executions - found.attempts
        lines = [
            f"seed {self.seed}: {self.faults.total()} faults in {self.seconds:.0f} s ({self.skipped} met nothing)",
            *(f"    {count} x {kind}" for kind, count in sorted(self.faults.items())),
            f"{self.starts} processes started, {self.failed_starts} of them in vain since a server was away",
            f"{self.ordered} instances ordered, {found.instances} with their children; {found.turns} turns",
            f"{found.activities} activity calls, {found.attempts} attempts, {again} of them executed once more",
            f"the slowest took {self.slowest:.0f} s; at rest {self.settled:.0f} s after the last fault",
            f"{len(found.violations)} violations",
            *(f"    {text}" for text in found.violations),
        ]
        return "\n".join(lines)


class Campaign:
    """Load, faults, check. Use it within `open`."""

    def __init__(
        self,
        around: Surroundings,
        *,
        seed: int,
        to_broker: Proxy,
        to_database: Proxy,
        client: Client,
        publisher: Publisher,
        fleet: Fleet,
        window: int,
        note: Callable[[str], None],
    ) -> None:
        self._around = around
        self._seed = seed
        self._note = note
        self.fleet = fleet
        self.load = MixedLoad(client, publisher, seed=seed, window=window)
        self.chaos = Chaos(
            fleet=fleet,
            rabbitmq=around.rabbitmq,
            postgres=around.postgres,
            to_broker=to_broker,
            to_database=to_database,
            namespace=around.namespace,
            note=note,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        around: Surroundings,
        *,
        seed: int,
        orchestrators: int = 3,
        window: int = 40,
        say: Callable[[str], None],
    ) -> AsyncIterator[Campaign]:
        """Start proxies, processes and client; everything ends with the block."""
        began = time.monotonic()

        def note(text: str) -> None:
            say(f"{time.monotonic() - began:7.1f}  {text}")

        to_broker, to_database = _proxies(around)
        await to_broker.start()
        await to_database.start()
        database_url, broker_url = to_database.url(around.postgres.url), to_broker.url(around.rabbitmq.url)
        cluster = FleetCluster(
            database_url,
            broker_url,
            around.namespace,
            CHAOS_APP,
            folder=around.folder,
            reaper=around.reaper,
            show_log=around.show_log,
            settings=_SETTINGS,
        )
        settings = ClientSettings(
            database_url=database_url, broker_url=broker_url, namespace=around.namespace, request_timeout=10.0
        )
        fleet = Fleet(cluster=cluster, note=note)
        try:
            await cluster.upgrade()
            await asyncio.to_thread(install_journal, around.postgres.url)
            await fleet.begin(orchestrators=orchestrators, workers_per_pool=2)
            note("the cluster is up")
            async with Client(settings) as client, Publisher(settings) as publisher:
                yield cls(
                    around,
                    seed=seed,
                    to_broker=to_broker,
                    to_database=to_database,
                    client=client,
                    publisher=publisher,
                    fleet=fleet,
                    window=window,
                    note=note,
                )
        finally:
            cluster.kill()
            to_broker.stop()
            to_database.stop()

    async def run(self, seconds: float) -> Report:
        """Faults for so long, then the check."""
        schedule = make_schedule(self._seed, seconds)
        for fault in schedule:
            self._note(f"planned: {fault}")
        return await self.under_load(lambda: self.chaos.run(schedule))

    async def under_load(self, trouble: Callable[[], object]) -> Report:
        """Bring trouble upon the cluster while the load goes on; then let it come to rest, and check."""
        report = Report(seed=self._seed)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with running(self.fleet.supervise()), running(self._progress()):
            load = asyncio.create_task(self.load.run())
            try:
                await eventually(lambda: self.load.finished >= 20, "the load is under way", timeout=60)
                result = trouble()
                if asyncio.iscoroutine(result):
                    await result
                over = loop.time()
                report.seconds = over - began
                self.load.stop()
                await load
            finally:
                load.cancel()
            await self.fleet.until_up()
            left = await until_at_rest(
                self._around.postgres.url,
                self._around.rabbitmq,
                self._around.namespace,
                orchestrators=len(self.fleet.orchestrators),
                timeout=_REST,
            )
            report.settled = loop.time() - over
        report.findings = await asyncio.to_thread(
            check,
            app,
            self.load.orders,
            database_url=self._around.postgres.url,
            audit=self.fleet.cluster.audit,
        )
        report.findings.add(left)
        report.findings.add(self.fleet.crashes)
        self._sum_up(report)
        self._note(f"the report\n{report}")
        return report

    def _sum_up(self, report: Report) -> None:
        report.faults = Counter(str(fault.kind) for fault in self.chaos.done)
        report.skipped = len(self.chaos.skipped)
        report.starts = self.fleet.starts
        report.failed_starts = self.fleet.failed_starts
        report.ordered = len(self.load.orders)
        report.slowest = max(order.seconds for order in self.load.orders)

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(10)
            self._note(f"{self.load.finished} of {len(self.load.orders)} orders have ended")


def _proxies(around: Surroundings) -> tuple[Proxy, Proxy]:
    broker, database = make_url(around.rabbitmq.url).port, make_url(around.postgres.url).port
    assert broker is not None
    assert database is not None
    return Proxy(broker), Proxy(database)
