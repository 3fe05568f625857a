"""Several services that live and die together, and a process that keeps them alive until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["Ensemble", "Resource", "Service", "run", "serve", "until_signal"]

T = TypeVar("T")


class Resource(Protocol):
    """Something opened before the services that use it and closed after them, such as a store or a broker."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go of every connection. Tolerates repeats, and resources that were never opened."""


class Service(Protocol):
    """Something that runs until it is stopped or breaks."""

    async def start(self) -> None:
        """Begin; ready when it returns."""

    async def stop(self) -> None:
        """End gracefully. Tolerates repeats, and services that were never started."""

    async def wait(self) -> None:
        """Return when it has been stopped; raise what killed it."""


class Ensemble:
    """Services over shared resources, itself a service: all start or none, and when one ends it ends."""

    def __init__(self, resources: Sequence[Resource], services: Sequence[Service]) -> None:
        """Services are started in the order given, and stopped in the reverse order."""
        self._resources = tuple(resources)
        self._services = tuple(services)
        self._running = contextlib.AsyncExitStack()
        self._started = False

    async def start(self) -> None:
        """Open every resource, then start every service; if one fails, what was begun is undone.

        Raises:
            TenutoError: whatever the one that failed raised.
        """
        if self._started:
            return
        async with contextlib.AsyncExitStack() as begun:
            for resource in self._resources:
                begun.push_async_callback(resource.close)
                await resource.open()
            for service in self._services:
                begun.push_async_callback(service.stop)
                await service.start()
            self._running = begun.pop_all()
            self._started = True

    async def stop(self) -> None:
        """Stop every service, then close every resource, even if some of that fails. Tolerates repeats."""
        self._started = False
        await self._running.aclose()

    async def wait(self) -> None:
        """Return when any of the services has ended; raise what killed it."""
        lives = [asyncio.create_task(service.wait()) for service in self._services]
        try:
            done, _ = await asyncio.wait(lives, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
        for life in done:
            life.result()


async def serve(service: Service, *, ready: Callable[[], None]) -> None:
    """Run a service until it ends or the process gets SIGINT or SIGTERM; then stop it gracefully.

    `ready` is called once it has started. A signal during the start ends it as well.

    Raises:
        Exception: what killed the service.
    """

    async def live() -> None:
        await service.start()
        ready()
        await service.wait()

    try:
        await until_signal(live())
    finally:
        await service.stop()


async def until_signal(main: Coroutine[Any, Any, T]) -> T | None:
    """What `main` returns; or None, after cancelling it, when the process gets SIGINT or SIGTERM.

    A second signal is left to its default action, which ends the process at once.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    watched: list[int] = []
    told_to_stop = False

    def tell() -> None:
        nonlocal told_to_stop
        told_to_stop = True
        unwatch()
        task.cancel()

    def unwatch() -> None:
        while watched:
            loop.remove_signal_handler(watched.pop())

    # Windows' loops have no signal handlers: there Ctrl-C raises KeyboardInterrupt, which cancels the main
    # task.
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, tell)
            watched.append(number)
    try:
        return await task
    except asyncio.CancelledError:
        if told_to_stop and task.cancelled():
            return None
        raise
    finally:
        unwatch()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32" or sys.implementation.name != "cpython":
        return None
    import uvloop  # noqa: PLC0415  not there on every platform

    return uvloop.new_event_loop
