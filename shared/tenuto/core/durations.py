"""Points in time that lie some duration ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenuto.core.retry import Duration

__all__ = ["after"]

_LAST = datetime.max.replace(tzinfo=UTC)


def after(start: datetime, duration: Duration) -> datetime:
    """`duration` after `start`; what lies beyond the calendar (year 9999) is its end. May be negative.

    Raises:
        ValueError: the duration is not a number.
    """
    try:
        return start + (duration if isinstance(duration, timedelta) else timedelta(seconds=duration))
    except OverflowError:
        return _LAST if _is_ahead(duration) else start


def _is_ahead(duration: Duration) -> bool:
    return duration > timedelta() if isinstance(duration, timedelta) else duration > 0
