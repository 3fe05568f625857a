"""The time limits of activities, and the failures of attempts that outrun them.

    limit              from                        until                    who enforces it    tried again
    schedule_to_start  an attempt is sent          a worker begins it       owner              no
    start_to_close     a worker begins an attempt  the attempt ends         worker, owner      yes
    schedule_to_close  the activity is called      its last attempt ends    owner              no
    heartbeat_timeout  one heartbeat               the next one             worker, owner      yes

Names and rules are Temporal's. A start or close limit of the schedule is final because what it says is that waiting any
longer has no sense.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypedDict

from tenuto.core.events import Failure
from tenuto.core.retry import Duration, seconds

__all__ = ["NO_TIMEOUTS", "TimeoutOptions", "Timeouts", "timeout_failure"]

_FAILURES = {
    "schedule_to_start": ("ScheduleToStartTimeoutError", "no worker began it within its schedule_to_start"),
    "start_to_close": ("StartToCloseTimeoutError", "ran longer than its start_to_close"),
    "schedule_to_close": ("ScheduleToCloseTimeoutError", "was not done within its schedule_to_close"),
    "heartbeat_timeout": ("HeartbeatTimeoutError", "gave no heartbeat for longer than its heartbeat_timeout"),
}
_FINAL = frozenset({"schedule_to_start", "schedule_to_close"})


class TimeoutOptions(TypedDict, total=False):
    """The limits as they are given at a call, at `@app.activity` and at `App(…)`, in this order of precedence."""

    schedule_to_start: Duration | None
    """How long an attempt may wait for a worker to begin it."""
    start_to_close: Duration | None
    """How long one attempt may run."""
    schedule_to_close: Duration | None
    """How long it may take in all, from the call on: all attempts, and the waits between them."""
    heartbeat_timeout: Duration | None
    """How long an attempt may be silent: it must call `heartbeat` more often than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The limits in seconds; None: there is none."""

    schedule_to_start: float | None = None
    start_to_close: float | None = None
    schedule_to_close: float | None = None
    heartbeat_timeout: float | None = None

    @staticmethod
    def of(options: TimeoutOptions) -> Timeouts:
        """Raises ValueError if a duration is negative or not a number."""
        if not options:
            return NO_TIMEOUTS
        given = {name: None if limit is None else seconds(limit) for name, limit in options.items()}  # type: ignore[arg-type]  # a TypedDict's values are objects to mypy
        return Timeouts(**given)

    def over(self, other: Timeouts) -> Timeouts:
        """These limits, and the other's where there are none."""
        if self is NO_TIMEOUTS:
            return other
        if other is NO_TIMEOUTS:
            return self
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Timeouts(
            **{name: getattr(other, name) if limit is None else limit for name, limit in mine.items()}
        )


NO_TIMEOUTS = Timeouts()


def timeout_failure(
    limit: str, allowed: float, *, activity: str, instance: str, attempt: int, cause: Failure | None = None
) -> Failure:
    """The failure of an attempt that outran the limit of this name, `allowed` seconds long."""
    kind, what = _FAILURES[limit]
    return Failure(
        type=kind,
        message=f"Activity {activity!r} of instance {instance!r} (attempt {attempt}) {what} of {allowed:g} s.",
        retryable=limit not in _FINAL,
        cause=cause,
    )
