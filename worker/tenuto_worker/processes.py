"""Several worker processes under one supervisor: `tenuto worker --processes N`.

Each child is in a process group of its own, so that Ctrl-C at a terminal reaches the supervisor alone, which
tells each child once. A child that dies is started again, with back-off when it dies soon.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from typing import Final

__all__ = ["Supervisor", "supervise"]

_logger = logging.getLogger("tenuto.worker")

_MISUSE: Final = 2
"""The exit code of a command that can never work: starting it again would not help."""
_LONGEST_WAIT: Final = 30.0
"""Seconds between a child's death and its next start, at most."""
_SETTLED: Final = 60.0
"""Seconds after which a child counts as one that works, and its next death as a first one."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def supervise(argv_for_child: Sequence[str], count: int) -> int:
    """Run `count` child processes of this command until they have ended, and give the exit code.

    SIGTERM and SIGINT are passed on to the children, which then end in good order; a SIGKILL of the
    supervisor leaves them running. A child that exits with 0 is not started again. One that exits with 2, a
    misuse, ends the others. Call it from the main thread, where no event loop runs.

    Returns:
        2 after a misuse; else the last exit code, other than 0, of the first child that has one (128 plus its
        number where a signal ended it); else 0.
    """
    return asyncio.run(Supervisor(argv_for_child, count).run())


class Supervisor:
    """Keeps `count` children running."""

    def __init__(self, argv_for_child: Sequence[str], count: int, *, first_wait: float = 0.5) -> None:
        """`first_wait`: seconds before a child that died is started again; doubles with each early death."""
        self._argv = argv_for_child
        self._count = count
        self._first_wait = first_wait
        self._children: set[asyncio.subprocess.Process] = set()
        self._ending = asyncio.Event()

    async def run(self) -> int:
        """Start the children, and return when all have ended; see `supervise`.

        Raises:
            OSError: a child cannot be started; the others have been told to end, and have ended.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.end, number)
        try:
            ends = await asyncio.gather(*(self._keep() for _ in range(self._count)), return_exceptions=True)
        finally:
            self.end()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        codes: list[int] = []
        for end in ends:
            if isinstance(end, BaseException):
                raise end
            codes.append(end)
        if _MISUSE in codes:
            return _MISUSE
        return next((code for code in codes if code), 0)

    @property
    def pids(self) -> frozenset[int]:
        """The process ids of the living children."""
        return frozenset(child.pid for child in self._children)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Pass the signal on to every child, and start no more."""
        self._ending.set()
        for child in self._children:
            if child.returncode is None:
                child.send_signal(number)

    async def _keep(self) -> int:
        """Run a child, and again when it has died. Gives the exit code of the last."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while True:
            born = loop.time()
            code = await self._live()
            if code == _MISUSE:
                self.end()
            if code == 0 or self._ending.is_set():
                return code
            deaths = 1 if loop.time() - born > _SETTLED else deaths + 1
            wait = min(self._first_wait * 2.0 ** (deaths - 1), _LONGEST_WAIT)
            _logger.warning("A worker process ended with exit code %d; another starts in %g s.", code, wait)
            if await self._told_to_end(within=wait):
                return code

    async def _live(self) -> int:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.DEVNULL, process_group=0
            )
        except OSError:
            self.end()
            raise
        self._children.add(child)
        if self._ending.is_set():
            # `end` came while the child was being started, and has not seen it.
            child.terminate()
        status = await child.wait()
        self._children.discard(child)
        return status if status >= 0 else 128 - status

    async def _told_to_end(self, *, within: float) -> bool:
        try:
            await asyncio.wait_for(self._ending.wait(), within)
        except TimeoutError:
            return False
        return True
