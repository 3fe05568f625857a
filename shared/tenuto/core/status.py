"""The statuses of an instance, and what a start does when its id is taken."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["LIVE", "TERMINAL", "ReuseAction", "ReusePolicy", "Status"]


class Status(StrEnum):
    """Where an instance is in its life."""

    PENDING = "PENDING"
    """Accepted; its first turn is still to come."""
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STALLED = "STALLED"
    """No code that fits it is at hand; it goes on by itself when such code arrives."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED})
LIVE = frozenset(Status) - TERMINAL


class ReuseAction(StrEnum):
    """What a start does about an instance that has its id already."""

    ERROR = "ERROR"
    """The start is refused with `AlreadyExistsError`."""
    IGNORE = "IGNORE"
    """The start does nothing; the caller gets the instance that is there."""
    TERMINATE = "TERMINATE"
    """The instance and its children are terminated if alive, then a new one starts in its place."""


class ReusePolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a start does when its id has an instance whose status is one of `statuses`.

    An instance that has ended with a status outside the set is replaced; a live one outside the set is an error.
    """

    action: ReuseAction = ReuseAction.ERROR
    statuses: frozenset[Status] = LIVE

    def decide(self, status: Status) -> ReuseAction | None:
        """What to do about an instance of this status; None: replace it."""
        if status in self.statuses:
            return self.action
        return None if status.is_terminal else ReuseAction.ERROR
