"""Injects the faults of a plan, at their times."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from tenuto.naming import Names
from tests.simulation.cluster import NAMESPACE, Cluster, Seat
from tests.simulation.plan import Fault
from tests.simulation.workload import POOLS

__all__ = ["Chaos"]

T = TypeVar("T")
_HEARTBEATS = 10.0
"""Seconds after which the broker gives up a connection of a process that is frozen (rule O4)."""


class Chaos:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._loop = cluster.loop
        self._undone: list[asyncio.TimerHandle] = []

    async def run(self, faults: Sequence[Fault], duration: float) -> None:
        """Inject all; then everything is repaired, and nothing goes wrong any more."""
        for fault in faults:
            await asyncio.sleep(max(0.0, fault.at - self._loop.time()))
            self._cluster.note(f"FAULT {fault}")
            if self._inject(fault):
                self._cluster.database.trouble.count(fault.kind)
        await asyncio.sleep(max(0.0, duration - self._loop.time()))
        self._repair()
        self._cluster.upgrade()

    def _repair(self) -> None:
        cluster = self._cluster
        cluster.note("all faults are over")
        cluster.calm = True
        cluster.database.trouble.calm()
        cluster.database.start()
        cluster.broker.start()
        cluster.broker.queues.unblock_publishers()
        for seat in cluster.seats:
            seat.point = ""
            seat.process.fuse = None
            self._loop.resume(seat.process)

    def _inject(self, fault: Fault) -> bool:
        """False where there is nobody whom it could strike."""
        cluster, trouble = self._cluster, self._cluster.database.trouble
        match fault.kind:
            case "crash" | "crash at a point" | "pause" | "leave" | "clock":
                return self._strike_process(fault)
            case "database away":
                cluster.database.stop()
                self._later(fault.amount, cluster.database.start)
            case "database clock":
                cluster.database_clock.skew += (fault.amount - 2.0) * 3
            case "slow disk":
                trouble.slow_disk = True
                self._later(fault.amount, lambda: setattr(trouble, "slow_disk", False))
            case "broker away":
                cluster.broker.stop()
                self._later(fault.amount, cluster.broker.start)
            case "blocked":
                cluster.broker.queues.block_publishers()
                self._later(fault.amount, cluster.broker.queues.unblock_publishers)
            case "join":
                cluster.join()
            case _:
                return self._strike_broker(fault)
        return True

    def _strike_process(self, fault: Fault) -> bool:
        kinds = {
            "leave": ("orchestrator", "worker"),
            "crash at a point": ("worker",) if fault.point.startswith("worker") else ("orchestrator",),
        }.get(fault.kind, ("orchestrator", "orchestrator", "worker", "client"))
        seats = self._cluster.of(*kinds)
        if fault.kind in ("crash", "pause"):  # orchestrators have most to lose
            seats += self._cluster.of("orchestrator")
        seat = _pick(seats, fault.whom)
        if seat is None:
            return False
        seat.absence = fault.amount
        match fault.kind:
            case "crash":
                seat.process.fuse = fault.steps
            case "crash at a point":
                seat.point = fault.point
            case "leave":
                if seat.leave is not None:
                    seat.leave.set()
            case "clock":
                seat.clock.skew += (fault.amount - 2.0) * 5
            case _:
                self._freeze(seat, fault.amount)
        return True

    def _freeze(self, seat: Seat, seconds: float) -> None:
        process = seat.process
        self._loop.pause(process)
        self._later(seconds, lambda: self._loop.resume(process))
        if seconds > _HEARTBEATS:
            for line in self._cluster.broker.lines_of(process):
                self._later(_HEARTBEATS, line.break_off)

    def _strike_broker(self, fault: Fault) -> bool:
        broker, names = self._cluster.broker, Names(NAMESPACE)
        queues = [names.turns(number) for number in range(self._cluster.plan.partitions)]
        queues += [names.activities(pool) for pool in POOLS]
        queue = _pick(queues, fault.whom) or ""
        match fault.kind:
            case "connection":
                line = _pick(list(broker.lines), fault.whom)
                if line is None:
                    return False
                line.break_off()
            case "cancel":
                consumer = _pick(broker.consumers(), fault.whom)
                if consumer is None:
                    return False
                consumer.lose("the broker cancelled the consumer")
            case "wipe":
                broker.queues.wipe()
            case "purge" if queue in broker.queues._queues:
                broker.queues._queues[queue].purge()
            case "delete" if queue in broker.queues._queues:
                broker.queues._remove(queue)
            case _:
                return False
        return True

    def _later(self, seconds: float, call: object) -> None:
        self._loop.at(self._loop.outside, self._loop.time() + seconds, call)  # type: ignore[arg-type]


def _pick(among: Sequence[T], fraction: float) -> T | None:
    return among[int(fraction * len(among))] if among else None
