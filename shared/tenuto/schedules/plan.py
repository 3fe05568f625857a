"""What is started, and when: a function of the plan and of a point in time.

All times go in and out in UTC. Cron expressions are read in a time zone of their own. At daylight-saving changes they
follow Debian's cron (cronsim): a time that does not exist fires at the next one that does, one that comes twice fires
once, and expressions with an asterisk in minute or hour go by the time that passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from tenuto.errors import UsageError

__all__ = ["Overlap", "Plan"]

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LEAST_INTERVAL = 0.1


class Overlap(StrEnum):
    """What becomes of a firing while the run before it is still under way."""

    SKIP = "skip"
    """Nothing."""
    ALLOW = "allow"
    """It starts a run beside the other."""
    BUFFER_ONE = "buffer-one"
    """It starts a run as soon as the other has ended: one, however often the schedule fired meanwhile."""
    TERMINATE_OTHER = "terminate-other"
    """The other run is terminated."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a schedule does. Exactly one of `cron` and `every` is set."""

    workflow: str
    input: msgspec.Raw
    version: str | None = None
    tags: dict[str, str] = {}
    cron: str | None = None
    every: float | None = None
    """Seconds between two firings; they are counted from the schedule's creation."""
    time_zone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    catch_up: int = 0
    """How many of the firings that fell into an outage are made up for, besides the latest of them."""
    jitter: float = 0.0
    """Seconds by which a firing may come later, at random."""

    def check(self) -> None:
        """See to it that it can be carried out.

        Raises:
            UsageError: it cannot; the message says why.
        """
        if (self.cron is None) == (self.every is None):
            raise UsageError(
                "A schedule needs either a cron expression or an interval (`every`).", field="cron"
            )
        if self.every is not None and not self.every >= _LEAST_INTERVAL:
            raise UsageError(
                f"The interval of a schedule is {_LEAST_INTERVAL} s at the least, not {self.every} s.",
                field="every",
            )
        if self.catch_up < 0 or not self.jitter >= 0:
            field = "catch_up" if self.catch_up < 0 else "jitter"
            raise UsageError(f"`{field}` of a schedule must not be negative.", field=field)
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(
                f"There is no time zone {self.time_zone!r}: take a name such as 'Europe/Berlin'.",
                field="time_zone",
            ) from error
        try:
            self._cron(datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise UsageError(
                f"{self.cron!r} is no cron expression ({error}): it has five fields (minute, hour, day of the month, "
                f"month, day of the week), or is one of {', '.join(sorted(_NICKNAMES))}.",
                field="cron",
            ) from error

    def next(self, after: datetime, *, anchor: datetime) -> datetime | None:
        """The first time after that one; None: there is none. Intervals are counted from `anchor`."""
        if self.every is not None:
            step = timedelta(seconds=self.every)
            return anchor + max(1, (after - anchor) // step + 1) * step
        return next(self._utc(self._cron(after)), None)

    def latest(self, *, after: datetime, until: datetime, limit: int, anchor: datetime) -> list[datetime]:
        """The last `limit` times after the one and not after the other, in order."""
        if self.every is not None:
            step = timedelta(seconds=self.every)
            first, last = (after - anchor) // step + 1, (until - anchor) // step
            return [anchor + number * step for number in range(max(first, 1, last - limit + 1), last + 1)]
        before = until.replace(microsecond=0) + timedelta(seconds=1)
        backwards = takewhile(lambda moment: moment > after, self._utc(self._cron(before, reverse=True)))
        return list(islice(backwards, limit))[::-1]

    def _cron(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Endless, or until no more is found within the next 50 years, in the schedule's time zone."""
        expression = "* * * * *" if self.cron is None else _NICKNAMES.get(self.cron, self.cron)
        local = start.astimezone(ZoneInfo(self.time_zone))
        moments: Iterator[datetime] = CronSim(expression, local, reverse=reverse)
        return moments

    @staticmethod
    def _utc(moments: Iterator[datetime]) -> Iterator[datetime]:
        return (moment.astimezone(UTC) for moment in moments)
