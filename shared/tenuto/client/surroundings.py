"""What a client knows of the deployment that it talks to: how it is laid out, and what its orchestrators serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from tenuto.errors import UnknownWorkflowError, UsageError
from tenuto.naming import Names, partition_of
from tenuto.store.protocol import Deployment, Member, Store

__all__ = ["Surroundings"]

_ALIVE = timedelta(seconds=15)
"""An orchestrator that has not been seen for longer is not asked what it serves."""
_REMEMBER_SERVED = 60.0
"""Seconds for which a workflow name that was found is not looked for again."""
_LOOK_AGAIN = 0.2
"""Seconds between two looks for the first orchestrator."""
_REMEMBER_NOBODY = 1.0
"""Seconds for which starts are accepted unseen where no orchestrator was alive."""


class Surroundings:
    """Looked up once and remembered, so that a start costs no query for it."""

    def __init__(self, store: Store, *, namespace: str, patience: float) -> None:
        """`patience` is for how many seconds the very first orchestrator, which may be starting, is waited for."""
        self._store = store
        self._patience = patience
        self._namespace = namespace
        self._found: Deployment | None = None
        self._alive = False
        self._served: frozenset[str] = frozenset()
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def partition(self, instance: str) -> int:
        """The instance's partition.

        Raises:
            UsageError: no orchestrator has ever started on this database, so there are no partitions yet.
        """
        return partition_of(instance, (await self.deployment()).partitions)

    async def turns(self, instance: str) -> str:
        """The queue of the instance's owner. Raises as `partition`."""
        deployment = await self.deployment()
        names = Names(self._namespace, deployment.layout)
        return names.turns(partition_of(instance, deployment.partitions))

    async def require_workflow(self, name: str) -> None:
        """See to it that a live orchestrator, if there is any, serves the workflow.

        Raises:
            UnknownWorkflowError: there are some, and none does; the message lists what they serve.
        """
        now = asyncio.get_running_loop().time()
        if now < self._asked_at + self._lifetime(name):
            return
        async with self._lock:
            if self._asked_at < now:  # else somebody asked since this call came, which is fresh enough
                await self._ask()
        if self._alive and name not in self._served:
            known = ", ".join(sorted(self._served)) or "none at all"
            raise UnknownWorkflowError(f"No orchestrator serves a workflow {name!r}; they serve: {known}.")

    def _lifetime(self, name: str) -> float:
        """Seconds for which what was found last allows a start without asking again."""
        if name in self._served:
            return _REMEMBER_SERVED
        return 0.0 if self._alive else _REMEMBER_NOBODY

    async def _ask(self) -> None:
        asked_at = asyncio.get_running_loop().time()
        members = await self.members()
        self._alive = bool(members)
        self._served = frozenset(workflow for member in members for workflow in member.workflows)
        self._asked_at = asked_at

    async def members(self) -> Sequence[Member]:
        """The live orchestrators."""
        return await self._store.members(ttl=_ALIVE)

    async def deployment(self) -> Deployment:
        """What all processes agree on. Raises as `partition`."""
        if self._found is None:
            async with self._lock:
                self._found = self._found or await self._await_deployment()
        if self._found is None:
            raise UsageError(
                "No orchestrator has ever started on this database, so nothing can be started yet: "
                "run `tenuto orchestrator module:app` (or `tenuto dev module:app`) first."
            )
        return self._found

    async def _await_deployment(self) -> Deployment | None:
        attempts = AsyncRetrying(
            retry=retry_if_result(lambda found: found is None),
            stop=stop_after_delay(self._patience),
            wait=wait_fixed(_LOOK_AGAIN),
            retry_error_callback=lambda _: None,
        )
        found: Deployment | None = await attempts(self._store.deployment)
        return found
