"""Workers for every pool of the embedded default, those included that only a call in workflow code names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from tenuto.broker.protocol import (
    Broker,
    Delivery,
    Outcome,
    Outgoing,
    QueueInfo,
    QueueSpec,
    Subscription,
)
from tenuto_worker import Worker

__all__ = ["PoolWatch", "PoolWorkers"]

_log = logging.getLogger("tenuto.dev")


class PoolWatch:
    """A broker that tells of each pool whose queue somebody uses through it."""

    def __init__(self, broker: Broker, *, prefix: str, notice: Callable[[str], None]) -> None:
        """`prefix` is what the names of the pools' queues begin with; `notice` is called with the rest of them."""
        self._broker = broker
        self._prefix = prefix
        self._notice = notice

    async def open(self) -> None:
        await self._broker.open()

    async def close(self) -> None:
        await self._broker.close()

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        self._look(queue.name for queue in queues)
        await self._broker.declare(queues)

    async def inspect(self, queue: str) -> QueueInfo | None:
        self._look([queue])
        return await self._broker.inspect(queue)

    async def delete(self, queue: str) -> None:
        await self._broker.delete(queue)

    async def purge(self, queue: str) -> None:
        await self._broker.purge(queue)

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        self._look(message.queue for message in messages)
        return await self._broker.publish(messages)

    async def subscribe(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        on_lost: Callable[[str], None],
    ) -> Subscription:
        return await self._broker.subscribe(queue, on_delivery, prefetch=prefetch, on_lost=on_lost)

    def _look(self, queues: Iterable[str]) -> None:
        for queue in queues:
            if queue.startswith(self._prefix):
                self._notice(queue.removeprefix(self._prefix))


class PoolWorkers:
    """A service: one worker for each pool, begun with the service or when the pool is noticed."""

    def __init__(self, pools: Iterable[str], make: Callable[[str], tuple[Worker, Broker]]) -> None:
        """`make` gives a pool's worker, and the broker that is its own."""
        self._make = make
        self._known = list(pools)
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._running = contextlib.AsyncExitStack()
        self._over: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def notice(self, pool: str) -> None:
        """There is a pool of that name; it gets a worker if it has none."""
        if pool not in self._known:
            self._known.append(pool)
            self._waiting.put_nowait(pool)

    async def start(self) -> None:
        """Begin with the pools that are known already; ready when it returns.

        Raises:
            BrokerError: the broker cannot be used.
        """
        if self._over is not None:
            return
        self._over = asyncio.get_running_loop().create_future()
        for pool in tuple(self._known):
            await self._begin(pool)
        self._watch(self._follow())

    async def stop(self) -> None:
        """Stop every worker gracefully. Tolerates repeats."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._running.aclose()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def wait(self) -> None:
        """Return when it has been stopped; raise what killed one of the workers."""
        if self._over is not None:
            await asyncio.shield(self._over)

    async def _follow(self) -> None:
        while True:
            pool = await self._waiting.get()
            _log.warning("no activity names the pool %r, only a call does; starting a worker for it", pool)
            await self._begin(pool)

    async def _begin(self, pool: str) -> None:
        worker, broker = self._make(pool)
        self._running.push_async_callback(broker.close)
        await broker.open()
        self._running.push_async_callback(worker.stop)
        await worker.start()
        self._watch(worker.wait())

    def _watch(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(life)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The first that ends for a reason of its own ends the service."""
        if self._over is None or self._over.done() or task not in self._tasks:
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
