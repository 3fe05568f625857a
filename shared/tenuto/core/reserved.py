"""Names that are Tenuto's own: the built-in workflows, their instances, and what they say to others.

Every orchestrator serves the built-in workflows (`tenuto.builtins`), so the core may start them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tenuto import payloads
from tenuto.core import ids
from tenuto.core.events import ActivityScheduled, CompensationAdded, RecordedRetry

__all__ = [
    "LOCK",
    "LONGEST_KEY",
    "PREFIX",
    "SAGA",
    "SCHEDULE",
    "Compensation",
    "LockRequest",
    "Ticket",
    "compensations",
    "event_fault",
    "grant_event",
    "granted_ticket",
    "is_reserved",
    "lock_instance",
    "saga_instance",
    "schedule_instance",
    "schedule_name",
]

PREFIX = "tenuto."
"""What the names of the built-in workflows, of their instances and of their events begin with."""
LOCK = "tenuto.lock"
"""The workflow of which each lock in use is an instance; also the event that asks one for something."""
SAGA = "tenuto.saga"
"""The workflow that runs the compensations of an instance that cannot."""
SCHEDULE = "tenuto.schedule"
"""The workflow of which each schedule is an instance."""


LONGEST_KEY = 200
"""Characters that the key of a lock, or the name of a schedule, may have, so that it fits into an instance id."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who wants, or holds, a lock: exactly one command of one run (rule N1), as rewound last."""

    instance: str
    run: str
    generation: int
    command: int
    rewound_at: datetime | None = None
    """A rewound instance asks once more with the same command; what was granted before is not meant for that."""


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the event `LOCK` carries: a ticket to be queued or, with `wanted` False, to be given back."""

    ticket: Ticket
    wanted: bool


class Compensation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the input of `SAGA`."""

    call: ActivityScheduled
    retry: RecordedRetry | None = None


def is_reserved(name: str) -> bool:
    """Whether a workflow or an instance of this name is Tenuto's own."""
    return name.startswith(PREFIX)


def event_fault(name: str, instance: str | None = None) -> str | None:
    """Why an event of this name is not to be raised by users, on this instance; None: it may be.

    Tenuto's own are free of limits, and are believed; of these only what a schedule is told comes from clients.
    """
    if not is_reserved(name.casefold()):
        return None
    if name == SCHEDULE and instance is not None and instance.startswith(schedule_instance("")):
        return None
    return (
        f"The event name {name!r} begins with {PREFIX!r}, as those of locks and schedules do; choose another."
    )


def lock_instance(key: str) -> str:
    """The instance that is the lock `key` while anybody holds it or waits for it."""
    return f"{LOCK}:{key}"


def saga_instance(instance: str, run: str) -> str:
    """The instance that runs the compensations which a run could not."""
    return ids.limited(f"{SAGA}:{instance}", f":{run[:8]}")


def schedule_instance(name: str) -> str:
    """The instance that is the schedule of this name."""
    return f"{SCHEDULE}:{name}"


def schedule_name(instance: str) -> str:
    """The inverse of `schedule_instance`."""
    return instance.removeprefix(f"{SCHEDULE}:")


def grant_event(command: int) -> str:
    """The event that tells the holder of a ticket that the lock is his. Its payload is the ticket."""
    return f"{LOCK}:{command}"


def granted_ticket(event: str, payload: msgspec.Raw) -> Ticket | None:
    """The ticket that an event grants; None: it is some other event."""
    if not event.startswith(f"{LOCK}:"):
        return None
    try:
        return msgspec.json.decode(payload, type=Ticket)
    except msgspec.DecodeError:
        return None


def compensations(added: Sequence[CompensationAdded]) -> msgspec.Raw:
    """The input of `SAGA` that undoes what was done in this order."""
    return payloads.encode([Compensation(call=each.call, retry=each.retry) for each in reversed(added)])
