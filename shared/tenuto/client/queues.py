"""What a client sees of the engine's queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tenuto.broker.protocol import Broker
from tenuto.naming import Names
from tenuto.store.protocol import Deployment, Member

__all__ = ["QueueKind", "QueueStatus", "inspect_queues"]


class QueueKind(StrEnum):
    """What a queue is for."""

    START = "start"
    """The public door."""
    TURNS = "turns"
    """To the owner of a partition."""
    ACTIVITIES = "activities"
    """To a worker pool."""
    DEAD = "dead"
    """What could not be dealt with, kept for people to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """A queue of the engine as it was when the client looked."""

    name: str
    kind: QueueKind
    pool: str | None = None
    """The worker pool that it feeds."""
    activities: Sequence[str] = ()
    """The names of the pool's activities, as far as live orchestrators know of them."""
    messages: int | None = None
    """Messages that wait for a consumer; None: the queue is not there."""
    consumers: int | None = None
    """Of a pool, its worker processes; of a partition's queue, whether it has an owner."""


async def inspect_queues(
    broker: Broker, names: Names, deployment: Deployment, members: Sequence[Member]
) -> Sequence[QueueStatus]:
    """Ask the broker about every queue of the engine."""
    found = []
    for queue in _queues(names, deployment, members):
        info = await broker.inspect(queue.name)
        found.append(
            QueueStatus(
                name=queue.name,
                kind=queue.kind,
                pool=queue.pool,
                activities=queue.activities,
                messages=None if info is None else info.messages,
                consumers=None if info is None else info.consumers,
            )
        )
    return found


def _queues(names: Names, deployment: Deployment, members: Sequence[Member]) -> Iterator[QueueStatus]:
    yield QueueStatus(name=names.start, kind=QueueKind.START)
    yield QueueStatus(name=names.start_dead, kind=QueueKind.DEAD)
    for partition in range(deployment.partitions):
        yield QueueStatus(name=names.turns(partition), kind=QueueKind.TURNS)
    pools: dict[str, set[str]] = {"default": set()}
    for member in members:
        for activity, pool in member.activities.items():
            pools.setdefault(pool, set()).add(activity)
    for pool, activities in sorted(pools.items()):
        yield QueueStatus(
            name=names.activities(pool),
            kind=QueueKind.ACTIVITIES,
            pool=pool,
            activities=sorted(activities),
        )
    yield QueueStatus(name=names.dead, kind=QueueKind.DEAD)
