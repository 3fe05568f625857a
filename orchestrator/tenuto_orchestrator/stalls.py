"""Instances that no code can take on at present: their arrivals are kept in the inbox, as held (rule O5).

A worker's answer becomes an inbox row before its delivery is acknowledged; a due timer simply stays in its table. All
of it is tried again whenever the partition is recovered, hence when fitting code arrives with a new process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from msgspec import structs

from tenuto.core.events import ActivityCompleted, ActivityFailed
from tenuto.core.letters import Answered, Letter, Raise, Terminate
from tenuto.core.status import Status
from tenuto.core.turn import Arrival
from tenuto.errors import StalledError, TenutoError, UnknownWorkflowError
from tenuto_orchestrator.change import Change, Envelope
from tenuto_orchestrator.holds import is_hold, let_go
from tenuto_orchestrator.outcome import update_of
from tenuto_orchestrator.readers import UnreadYetError
from tenuto_orchestrator.work import Item

__all__ = ["hold", "mark_stalled", "passes_stall", "stall", "terminates", "unreadable"]


def terminates(item: Item) -> bool:
    """Whether it ends the instance, which needs no code."""
    return isinstance(item.work, Arrival) and isinstance(item.work.what, Terminate)


def passes_stall(item: Item) -> bool:
    """Whether a stalled instance may take this on: what needs no code."""
    return terminates(item) or not isinstance(item.work, Arrival)


def unreadable(instance: str, error: Exception) -> StalledError:
    """Why an instance stalls whose history is damaged, or holds events of a newer release."""
    return StalledError(
        f"the history of instance {instance!r} cannot be read ({type(error).__name__}: {error}); it goes on when a "
        f"release that can read it arrives, or purge it with force"
    )


def hold(change: Change, items: Sequence[Item], envelope: Envelope) -> None:
    """Keep the items of a stalled instance where nothing can lose them."""
    for item in items:
        if item.timer is not None and is_hold(item.timer):
            let_go(change, item.timer)
        if item.row is not None:
            change.hold(item.row)
            continue
        letter = _kept(item)
        if letter is not None and isinstance(item.work, Arrival):
            change.letters.append(replace(envelope(change.instance, letter, item.work.run), held=True))


def _kept(item: Item) -> Letter | None:
    """As a letter, what would be lost with its delivery. A lost task needs none: rule B2 finds it again."""
    if not isinstance(item.work, Arrival):
        return None
    generation = item.work.generation or 0
    match item.work.what:
        case ActivityCompleted(command=command, attempt=attempt, result=result):
            return Answered(generation=generation, command=command, attempt=attempt, result=result)
        case ActivityFailed() as what:
            return Answered(
                generation=generation,
                command=what.command,
                attempt=what.attempt,
                failure=what.failure,
                details=what.details,
            )
        case Raise() as letter:  # it came with a start, which is used up
            return letter
        case _:
            return None


def stall(
    change: Change, items: Sequence[Item], error: StalledError, *, envelope: Envelope, now: datetime
) -> None:
    """The turn failed for want of code that fits: hold what arrived and, unless it is only that a rolling upgrade is
    not over yet (the workflow is not known here, or somebody cannot read its events), record STALLED at once."""
    hold(change, items, envelope)
    change.stalled = True
    change.reason = str(error)
    change.cause = _cause(change, error)
    execution = change.resident.execution if change.resident is not None else None
    unknown = execution is not None and isinstance(execution.stalled, UnknownWorkflowError)
    if not (unknown or isinstance(error, UnreadYetError)):
        mark_stalled(change, str(error), now)


def _cause(change: Change, error: StalledError) -> str:
    """The name of the engine's error that is at the bottom of it."""
    execution = change.resident.execution if change.resident is not None else None
    found = error.__cause__ if execution is None or execution.stalled is None else execution.stalled
    return type(found if isinstance(found, TenutoError) else error).__name__


def mark_stalled(change: Change, reason: str, now: datetime) -> None:
    """Record STALLED in the instance's row, if there is one and it has not ended."""
    if change.insert is not None:
        change.stalled, change.reason = True, reason
        change.insert = structs.replace(change.insert, status=Status.STALLED, reason=reason)
        change.record = change.insert
    elif change.resident is not None and not change.resident.record.status.is_terminal:
        change.stalled, change.reason = True, reason
        record = change.resident.record
        if record.status is not Status.STALLED or record.reason != reason:
            change.record = structs.replace(record, status=Status.STALLED, reason=reason, updated_at=now)
            change.update = update_of(record, change.record)
