"""The wall clock, passed in so that tests and the simulation can bring their own.

Monotonic time is the running event loop's (`loop.time()`), which a simulated loop replaces as a whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock(Protocol):
    def now(self) -> datetime:
        """The present time: aware, in UTC."""
        ...


class _SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


SYSTEM_CLOCK: Clock = _SystemClock()
