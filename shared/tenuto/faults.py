"""Named fault points: places after each durable step where a test may stop, delay or kill the process.

In production they cost an attribute look-up and do nothing. Faults are passed in, never global.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["NO_FAULTS", "Faults"]


class Faults(Protocol):
    async def reach(self, point: str) -> None:
        """Called at the fault point of that name, such as `commit.after` or `worker.answered`."""


class _NoFaults:
    async def reach(self, point: str) -> None:
        pass


NO_FAULTS: Faults = _NoFaults()
