"""What can be seen of a deployment from outside, and who looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from tenuto.broker.protocol import Broker, QueueInfo
from tenuto.core.events import ActivityScheduled, ChildScheduled, decode_events
from tenuto.errors import NotFoundError, UsageError
from tenuto.naming import Names, partition_of
from tenuto.store.protocol import Deployment, Health, InstanceRecord, Member, PartitionLease, Store

__all__ = ["ALIVE", "InstanceLook", "Look", "Onlooker"]

ALIVE = timedelta(seconds=15)
"""An orchestrator that has not been seen for longer is not counted."""

Queues = Mapping[str, QueueInfo | None]
"""By name; None for one that should be there and is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A deployment at one moment."""

    names: Names
    deployment: Deployment
    health: Health
    members: Sequence[Member]
    """The live orchestrators."""
    stalled: Sequence[InstanceRecord] = ()
    """The examples of `health.stalled`."""
    queues: Queues | None = None
    """None where the broker was not asked."""

    @property
    def pools(self) -> frozenset[str]:
        """The worker pools that the live orchestrators know of."""
        return frozenset(pool for member in self.members for pool in member.activities.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLook:
    """One instance, and what it waits for, at one moment."""

    deployment: Look
    record: InstanceRecord
    history: Sequence[bytes]
    """The present generation's rows, as they are."""
    children: Mapping[str, InstanceRecord] = field(default_factory=dict)
    """Those of its children that exist."""

    @property
    def lease(self) -> PartitionLease | None:
        """Of its partition."""
        found = (lease for lease in self.deployment.health.leases if lease.partition == self.record.partition)
        return next(found, None)


class Onlooker:
    """Looks at a deployment with a client's rights. The store is open; so is the broker, if there is one to ask."""

    def __init__(self, store: Store, broker: Broker | None, *, namespace: str) -> None:
        self._store = store
        self._broker = broker
        self._namespace = namespace

    async def look(self, pools: Iterable[str] = ()) -> Look:
        """See how the deployment is. `pools`: whose queues to look at besides those that orchestrators know.

        Raises:
            UsageError: no orchestrator has ever started on this database.
            StoreError, BrokerError: one of them is away.
        """
        deployment = await self._store.deployment()
        if deployment is None:
            raise UsageError(
                "no orchestrator has ever started on this database, so there is nothing to look at: run "
                "`tenuto orchestrator module:app` (or `tenuto dev module:app`) first"
            )
        names = Names(self._namespace, deployment.layout)
        health = await self._store.health()
        members = await self._store.members(ttl=ALIVE)
        stalled = await self._store.instances(health.stalled.examples)
        known = {pool for member in members for pool in member.activities.values()}
        return Look(
            names=names,
            deployment=deployment,
            health=health,
            members=members,
            stalled=list(stalled.values()),
            queues=await self._queues(names, deployment, known.union(pools)),
        )

    async def look_at(self, instance: str) -> InstanceLook:
        """See how one instance is.

        Raises:
            NotFoundError: there is no such instance.
            UsageError, StoreError, BrokerError: as `look`.
        """
        record = (await self._store.instances([instance])).get(instance)
        if record is None:
            raise NotFoundError(await self._missing(instance))
        history = await self._store.history(instance)
        pools, children = _mentioned(history)
        return InstanceLook(
            deployment=await self.look(pools),
            record=record,
            history=history,
            children=await self._store.instances(sorted(children)),
        )

    async def _missing(self, instance: str) -> str:
        look = await self.look()
        number = partition_of(instance, look.deployment.partitions)
        owner = next((one.owner for one in look.health.leases if one.partition == number), None)
        waits = (
            ""
            if owner is not None
            else f", and nobody owns its partition ({number}), so its start may wait there"
        )
        return f"there is no instance {instance!r}{waits}"

    async def _queues(self, names: Names, deployment: Deployment, pools: Iterable[str]) -> Queues | None:
        if self._broker is None:
            return None
        queues = [
            *map(names.turns, range(deployment.partitions)),
            *map(names.activities, sorted(pools)),
            names.start,
            names.start_dead,
            names.dead,
        ]
        if deployment.broker_token:
            queues.append(names.marker(deployment.broker_token))
        return {queue: await self._broker.inspect(queue) for queue in queues}


def _mentioned(history: Sequence[bytes]) -> tuple[set[str], set[str]]:
    """The pools and the children that a history speaks of, as far as it can be read."""
    pools: set[str] = set()
    children: set[str] = set()
    for row in history:
        try:
            events = decode_events(row)
        except msgspec.DecodeError:  # what it means that it cannot be read is for the examination to say
            continue
        for event in events:
            match event:
                case ActivityScheduled(pool=pool, local=False):
                    pools.add(pool)
                case ChildScheduled(instance=child):
                    children.add(child)
                case _:
                    pass
    return pools, children
