"""Broker amnesia (rule B1): a marker queue, named by a random token that the database knows, tells a wiped broker.

A wiped broker looks like a healthy, empty one. Whoever misses the marker takes a lock, stores a new token, and declares
everything anew; each owner whose partition was brought up to date under another token then sends all that is pending.
"""

from __future__ import annotations

import asyncio
import logging

from tenuto.broker.protocol import QueueSpec
from tenuto_orchestrator.environment import Environment

__all__ = ["BrokerGuard"]

_log = logging.getLogger("tenuto.orchestrator")
_LOCK = "broker"


class BrokerGuard:
    def __init__(self, env: Environment) -> None:
        self._env = env
        self._pools = env.pools
        self._pools |= {activity.pool for activity in env.app.activities.values()}
        self._checking = asyncio.Lock()
        self.token = ""

    @property
    def pools(self) -> frozenset[str]:
        """The worker pools that are known to this process."""
        return frozenset(self._pools)

    async def check(self) -> None:
        """See whether the broker still is the one that the database knows; if not, make its queues.

        Raises:
            StoreError, BrokerError: one of them is away.

        """
        async with self._checking:
            if await self._marked():
                return
            async with self._env.store.exclusive(_LOCK):
                if await self._marked():  # somebody else was quicker
                    return
                if self.token:
                    _log.warning(
                        "the broker has lost its queues; making them anew and sending all that is pending"
                    )
                token = self._env.new_id()
                await self._env.store.set_broker_token(token)
                await self._env.broker.declare(self._queues())
                await self.declare_start()
                await self._env.broker.declare([self._spec(self._env.names.marker(token), dead_letter=False)])
                self.token = token

    async def _marked(self) -> bool:
        deployment = await self._env.store.deployment()
        token = "" if deployment is None else deployment.broker_token
        if not token or await self._env.broker.inspect(self._env.names.marker(token)) is None:
            return False
        self.token = token
        return True

    async def declare(self, queue: str) -> None:
        """One engine queue is missing on a broker that was not wiped: make it (rule B2 sends what was in it)."""
        await self._env.broker.declare([self._spec(queue)])

    async def returned(self, queue: str) -> None:
        """A mandatory message could not be routed: look for a wipe, then see to it that the queue is there."""
        prefix = self._env.names.activities("")
        if queue.startswith(prefix):
            self._pools.add(queue.removeprefix(prefix))
        await self.check()
        await self.declare(queue)

    async def declare_pools(self) -> None:
        """Make the queues of the app's pools where a new release has brought new ones."""
        await self._env.broker.declare(
            [self._spec(self._env.names.activities(p)) for p in sorted(self._pools)]
        )

    def _queues(self) -> list[QueueSpec]:
        names = self._env.names
        turns = [self._spec(names.turns(number)) for number in range(self._env.partitions)]
        pools = [self._spec(names.activities(pool)) for pool in sorted(self._pools)]
        last_resort = [self._spec(names.dead), self._spec(names.start_dead)]
        return [*last_resort, *turns, *pools]

    async def declare_start(self) -> None:
        """Make the public door, unless it is there: it keeps its name for ever, and is used as found (rule B3)."""
        if await self._env.broker.inspect(self._env.names.start) is None:
            door = QueueSpec(
                name=self._env.names.start,
                type=self._env.deployment.queue_type,
                dead_letter=self._env.names.start_dead,
            )
            await self._env.broker.declare([door])

    def _spec(self, queue: str, *, dead_letter: bool = True) -> QueueSpec:
        names = self._env.names
        last_resort = queue in (names.dead, names.start_dead)  # dead letters have nowhere else to go
        return QueueSpec(
            name=queue,
            type=self._env.deployment.queue_type,
            dead_letter=names.dead if dead_letter and not last_resort else None,
        )
