"""Retry policies of activities and child workflows."""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self, TypeAlias

from tenuto.core.events import Failure, RecordedRetry

__all__ = ["Duration", "Retry", "RetryPolicy", "seconds"]

Duration: TypeAlias = float | timedelta
"""Seconds, or a `timedelta`."""


def seconds(duration: Duration) -> float:
    """A duration in seconds.

    Raises:
        ValueError: it is negative or not a number.
    """
    value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not value >= 0:
        msg = f"a duration must not be negative, and is {duration!r}"
        raise ValueError(msg)
    return value


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When, and how often, a failed attempt is made again.

    The wait before attempt n+1 is `min(first_interval * backoff_coefficient ** (n - 1), max_interval)`, made up to
    `jitter` shorter or longer. Waits are durable timers.
    """

    max_attempts: int | None = 3
    """Attempts in all, the first included; None: no limit."""
    first_interval: Duration = 1.0
    backoff_coefficient: float = 2.0
    max_interval: Duration | None = None
    timeout: Duration | None = None
    """No attempt begins later than this after the first one was scheduled."""
    jitter: float = 0.0
    """A fraction from 0 to 1: 0.1 spreads a wait of 10 s over 9 s to 11 s."""
    non_retryable: Sequence[type[BaseException] | str] = ()
    """Exception types, or their names, whose failures are final."""

    @classmethod
    def recalled(cls, recorded: RecordedRetry) -> Self:
        """The policy that `record` was asked of."""
        return cls(**{name: getattr(recorded, name) for name in recorded.__struct_fields__})

    def record(self) -> RecordedRetry:
        """As the history keeps it, where it must outlive the code."""
        return RecordedRetry(
            max_attempts=self.max_attempts,
            first_interval=seconds(self.first_interval),
            backoff_coefficient=self.backoff_coefficient,
            max_interval=None if self.max_interval is None else seconds(self.max_interval),
            timeout=None if self.timeout is None else seconds(self.timeout),
            jitter=self.jitter,
            non_retryable=sorted(self._final),
        )

    @property
    def _final(self) -> set[str]:
        """The names of the exceptions whose failures are final."""
        return {name if isinstance(name, str) else name.__name__ for name in self.non_retryable}

    def __post_init__(self) -> None:
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError("max_attempts counts the first attempt too, so it is 1 or more")
        if self.backoff_coefficient < 1:
            raise ValueError("backoff_coefficient must be 1 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is a fraction from 0 to 1")
        for duration in (self.first_interval, self.max_interval, self.timeout):
            if duration is not None:
                seconds(duration)

    def delay(self, failure: Failure, attempt: int, elapsed: float, random: _random.Random) -> float | None:
        """Seconds to wait after the failure of `attempt` (1, 2 …), `elapsed` seconds after the first was
        scheduled; None: the failure is final."""
        if not failure.retryable or failure.type in self._final:
            return None
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        limit = float("inf") if self.max_interval is None else seconds(self.max_interval)
        try:
            wait = min(seconds(self.first_interval) * self.backoff_coefficient ** (attempt - 1), limit)
        except OverflowError:
            wait = limit
        if self.jitter:
            wait *= 1 + self.jitter * random.uniform(-1, 1)
        if self.timeout is not None and elapsed + wait > seconds(self.timeout):
            return None
        return wait


Retry: TypeAlias = RetryPolicy | Callable[[Failure, int], Duration | None]
"""A policy, or a function of the failure and the attempt that failed, giving the wait, or None for no more."""
