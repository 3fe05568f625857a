"""The processes of a cluster under a supervisor: what dies is started again, as an operator's platform would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.support.cluster import Cluster
from tests.support.processes import OwnedProcess, eventually, tail
from tests.support.sample_app import EVEN_POOL, ODD_POOL

__all__ = ["Fleet", "FleetCluster", "Slot"]

_LOOK = 0.2


class FleetCluster(Cluster):
    """A cluster whose processes are started without waiting until they are up."""

    def launch_orchestrator(self) -> OwnedProcess:
        return self._tenuto("orchestrator", self._target)

    def launch_worker(self, pool: str) -> OwnedProcess:
        return self._tenuto("worker", self._target, f"--pool={pool}", "--concurrency=16")


@dataclass(eq=False, kw_only=True)
class Slot:
    """A process that should run, in whichever incarnation."""

    name: str
    launch: Callable[[], OwnedProcess]
    process: OwnedProcess
    ended_by_us: bool = False
    busy: bool = False
    """A fault is at work on it."""
    was_up: bool = False

    @property
    def up(self) -> bool:
        self.was_up = self.was_up or "is up" in self.process.output()
        return self.was_up and self.process.running


@dataclass(kw_only=True)
class Fleet:
    """Orchestrators and workers, of which each is to run all the time."""

    cluster: FleetCluster
    note: Callable[[str], None]
    orchestrators: list[Slot] = field(default_factory=list)
    workers: list[Slot] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    """Processes that ended though nobody had asked for it after they had said that they were up."""
    starts: int = 0
    """Processes started, the first ones included."""
    failed_starts: int = 0
    """Processes that ended before they were up, since a server was away."""

    async def begin(self, *, orchestrators: int, workers_per_pool: int) -> None:
        """Start them all and wait until they are up."""
        self.grow(orchestrators)
        for number in range(workers_per_pool):
            for pool in (ODD_POOL, EVEN_POOL):
                self.workers.append(self._slot(f"worker-{pool}-{number}", self._worker_of(pool)))
        await self.until_up()

    def grow(self, count: int) -> None:
        """Start orchestrators until there are so many."""
        while len(self.orchestrators) < count:
            number = len(self.orchestrators)
            self.orchestrators.append(self._slot(f"orchestrator-{number}", self.cluster.launch_orchestrator))

    async def shrink(self, count: int) -> list[int]:
        """Ask all orchestrators but so many to stop; returns their exit codes."""
        leaving, self.orchestrators = self.orchestrators[count:], self.orchestrators[:count]
        for slot in leaving:
            slot.process.terminate()
        return list(await asyncio.gather(*(slot.process.wait() for slot in leaving)))

    async def until_up(self, *, timeout: float = 120.0) -> None:
        """Wait until every process has said that it is up, and runs."""
        await eventually(
            lambda: all(slot.up for slot in self.slots),
            "every process is up",
            timeout=timeout,
        )

    @property
    def slots(self) -> Sequence[Slot]:
        return [*self.orchestrators, *self.workers]

    def pick(self, slots: Sequence[Slot], random: Random) -> Slot | None:
        """One on which no fault is at work; None: there is none."""
        free = [slot for slot in slots if slot.up and not slot.busy]
        return random.choice(free) if free else None

    async def supervise(self) -> None:
        """Start again what has ended, until cancelled."""
        while True:
            for slot in self.slots:
                if not slot.process.running and not slot.busy:
                    self._restart(slot)
            await asyncio.sleep(_LOOK)

    def _restart(self, slot: Slot) -> None:
        code = slot.process.returncode
        if slot.ended_by_us:
            pass
        elif slot.up or slot.was_up:
            self.crashes.append(f"{slot.name} ended with {code}:\n{tail(slot.process.log, lines=30)}")
            self.note(f"{slot.name} crashed with {code}")
        else:
            self.failed_starts += 1
            self.note(f"{slot.name} could not start ({code}): {tail(slot.process.log, lines=1)}")
        slot.process, slot.ended_by_us, slot.was_up = slot.launch(), False, False
        self.starts += 1

    def _slot(self, name: str, launch: Callable[[], OwnedProcess]) -> Slot:
        self.starts += 1
        return Slot(name=name, launch=launch, process=launch())

    def _worker_of(self, pool: str) -> Callable[[], OwnedProcess]:
        return lambda: self.cluster.launch_worker(pool)
