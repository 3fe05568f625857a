"""What a diagnosis is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

__all__ = ["Finding", "Patience", "Severity", "healthy", "span"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Severity(StrEnum):
    """Whether something must be done."""

    PROBLEM = "problem"
    """It will not get well by itself, or has taken longer than it may."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found, for people and (`kind`) for programs."""

    kind: str
    """The same for the same thing, whatever the words: metrics and alerts go by it."""
    severity: Severity = Severity.PROBLEM
    what: str
    """What is so, in one sentence."""
    remedy: str = ""
    """What to do about it."""
    instances: Sequence[str] = ()
    """Ids of instances that show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may take before they count as stuck."""

    waiting: timedelta = timedelta(seconds=30)
    """For letters, outbox rows, due timers and first turns: normally a fraction of a second, and at a takeover five."""
    unanswered: timedelta = timedelta(minutes=10)
    """For an activity: what is normal, only the application knows."""


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether none of them is a problem."""
    return all(finding.severity is not Severity.PROBLEM for finding in findings)


def span(time: timedelta) -> str:
    """A length of time in words: `42 s`, `7 min`, `3 h`, `2 days`."""
    seconds = max(0.0, time.total_seconds())
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"
