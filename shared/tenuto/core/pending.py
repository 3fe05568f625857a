"""What an instance waits for: one record per command that has not been answered for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, TypeAlias

from msgspec.structs import replace

from tenuto.core.durations import after
from tenuto.core.events import (
    ActivityFailed,
    ActivityLost,
    ActivityScheduled,
    ChildScheduled,
    CompensationAdded,
    Failure,
    LockRequested,
    OptionalRaw,
    TimerCreated,
)
from tenuto.core.timeouts import timeout_failure

__all__ = [
    "Kind",
    "LiveChild",
    "Pending",
    "PendingActivity",
    "PendingChild",
    "PendingCompensation",
    "PendingLock",
    "PendingTimer",
    "deadline",
]


class Kind(StrEnum):
    ACTIVITY = "activity"
    TIMER = "timer"
    CHILD = "child"
    LOCK = "lock"
    COMPENSATION = "compensation"


def deadline(command: ActivityScheduled, *, first: datetime, sent: datetime | None) -> datetime | None:
    """The deadline that comes first, of an activity that was called at `first` and whose present attempt was sent at
    `sent` (None: it is not); None where there is none."""
    start_by = None if sent is None else _end(sent, command.schedule_to_start)
    close_by = _end(first, command.schedule_to_close)
    if start_by is None or close_by is None:
        return start_by or close_by
    return min(start_by, close_by)


def _end(start: datetime, limit: float | None) -> datetime | None:
    return None if limit is None else after(start, limit)


@dataclass(slots=True, kw_only=True)
class PendingActivity:
    kind: ClassVar[Kind] = Kind.ACTIVITY
    command: ActivityScheduled
    first: datetime
    """When the first attempt was scheduled."""
    sent: datetime
    """When the present attempt was."""
    attempt: int = 1
    waiting_until: datetime | None = None
    """Set while it waits for a retry; `attempt` is then the one to come."""
    deferred: bool = False
    """The wait ended while the instance was suspended."""
    sending: int = 0
    """How often this attempt was lost, and sent again, alone (rule W1)."""
    losses: int = 0
    """How often this attempt was lost after it had been sent alone."""
    failure: Failure | None = None
    """How the attempt before failed."""
    base: int = 0
    """Attempts before the instance was rewound, which count for no retry policy."""
    details: OptionalRaw = None
    """What was given to the last heartbeat that is known of."""

    @property
    def is_out(self) -> bool:
        return self.waiting_until is None and not self.deferred

    @property
    def alone(self) -> bool:
        """It was sent alone, since it had been lost before."""
        return self.sending > 0

    def fail(self, event: ActivityFailed) -> None:
        """An attempt failed, and another is to follow."""
        self.attempt = event.attempt + 1
        self.waiting_until = event.retry_at
        self.sending = 0
        self.losses = 0
        self.failure = event.failure
        self._keep(event.details)

    def rewind(self, at: datetime) -> None:
        """The attempt failed for good, and the instance was rewound: another follows, with a policy begun anew."""
        self.base = self.attempt
        self.attempt += 1
        self.first = self.sent = at
        self.sending = 0
        self.losses = 0

    def postpone(self, by: timedelta) -> None:
        """Another instance goes on with it, so much later: under its run nothing has been sent yet."""
        self.first = after(self.first, by)
        self.sent = after(self.sent, by)
        self.waiting_until = None if self.waiting_until is None else after(self.waiting_until, by)
        self.sending = 0
        self.losses = 0

    def lose(self, event: ActivityLost) -> None:
        """The attempt goes out again, alone (rule W1)."""
        self.sending += 1
        self.losses = event.losses
        self._keep(event.details)

    def _keep(self, details: OptionalRaw) -> None:
        if details is not None:
            self.details = details

    @property
    def start_by(self) -> datetime | None:
        """When a worker must have begun the present attempt; None while that is not sent."""
        return _end(self.sent, self.command.schedule_to_start) if self.is_out else None

    @property
    def close_by(self) -> datetime | None:
        """When its last attempt must have ended."""
        return _end(self.first, self.command.schedule_to_close)

    @property
    def timer(self) -> tuple[int, datetime] | None:
        """The one timer that it has at present, as (attempt, time): the wait for a retry (which ends before
        `close_by`) or else, under the attempt 0, the deadline that comes first."""
        if self.waiting_until is not None:
            return self.attempt, self.waiting_until
        first_limit = deadline(self.command, first=self.first, sent=self.sent if self.is_out else None)
        return None if first_limit is None else (0, first_limit)

    def overdue(self, at: datetime, instance: str) -> Failure | None:
        """How it fails because a deadline has passed at that time; None: none has."""
        command = self.command
        if self.close_by is not None and self.close_by <= at and command.schedule_to_close is not None:
            limit, allowed = "schedule_to_close", command.schedule_to_close
        elif self.start_by is not None and self.start_by <= at and command.schedule_to_start is not None:
            limit, allowed = "schedule_to_start", command.schedule_to_start
        else:
            return None
        return timeout_failure(
            limit,
            allowed,
            activity=command.name,
            instance=instance,
            attempt=self.attempt,
            cause=self.failure,
        )


@dataclass(slots=True, kw_only=True)
class PendingTimer:
    kind: ClassVar[Kind] = Kind.TIMER
    command: TimerCreated
    first: datetime
    attempt: int = 0

    @property
    def waiting_until(self) -> datetime:
        return self.command.fire_at

    @property
    def timer(self) -> tuple[int, datetime]:
        return self.attempt, self.command.fire_at

    def postpone(self, by: timedelta) -> None:
        """As of `PendingActivity`."""
        self.first = after(self.first, by)
        self.command = replace(self.command, fire_at=after(self.command.fire_at, by))


@dataclass(slots=True, kw_only=True)
class PendingChild:
    kind: ClassVar[Kind] = Kind.CHILD
    command: ChildScheduled
    first: datetime
    """When the first attempt was scheduled."""
    instance: str
    """The id of the present attempt's child."""
    attempt: int = 1
    waiting_until: datetime | None = None
    """Set while it waits for a retry; `attempt` is then the one to come."""
    deferred: bool = False
    """The wait ended while the instance was suspended."""

    @property
    def is_out(self) -> bool:
        return self.waiting_until is None and not self.deferred

    @property
    def timer(self) -> tuple[int, datetime] | None:
        """The wait for a retry, as (attempt, time)."""
        return None if self.waiting_until is None else (self.attempt, self.waiting_until)

    def postpone(self, by: timedelta) -> None:
        """As of `PendingActivity`."""
        self.first = after(self.first, by)
        self.waiting_until = None if self.waiting_until is None else after(self.waiting_until, by)


@dataclass(slots=True, kw_only=True)
class PendingLock:
    """Waited for or held: which of the two, only the code knows. The generation's end releases it either way."""

    kind: ClassVar[Kind] = Kind.LOCK
    attempt: ClassVar[int] = 0
    waiting_until: ClassVar[datetime | None] = None
    timer: ClassVar[None] = None
    command: LockRequested
    first: datetime

    def postpone(self, by: timedelta) -> None:
        """No time is of any account to it."""


@dataclass(slots=True, kw_only=True)
class PendingCompensation:
    """Owed if the instance is terminated, or fails."""

    kind: ClassVar[Kind] = Kind.COMPENSATION
    attempt: ClassVar[int] = 0
    waiting_until: ClassVar[datetime | None] = None
    timer: ClassVar[None] = None
    command: CompensationAdded
    first: datetime

    def postpone(self, by: timedelta) -> None:
        """As of `PendingLock`."""


Pending: TypeAlias = PendingActivity | PendingTimer | PendingChild | PendingLock | PendingCompensation


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveChild:
    """A child that has been started and has not answered."""

    instance: str
    run: str
    abandon: bool
