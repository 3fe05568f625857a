"""Rewinding: an instance that failed, or was terminated, goes on in place from where that came about.

The history is kept up to the failures that ended it. What came behind them is looked through once more: answers that
still answer something (a call that was kept, or that the code makes again just as before) are told to the code again,
so nothing that was done is done twice; the failures are left out, and their activities and children are done again.

`plan` finds the place, `rewind` makes the turn. Its first event, `ExecutionRewound`, says how much of the history still
counts, so that every replay comes to the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from tenuto.core.events import (
    ActivityFailed,
    ActivityRetried,
    ChildFailed,
    ChildRetried,
    Command,
    Event,
    EventRaised,
    EventSent,
    ExecutionFailed,
    ExecutionRerun,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    Failure,
    Notification,
    TurnStarted,
)
from tenuto.core.execution import Execution
from tenuto.core.pending import PendingActivity, PendingChild, PendingCompensation, PendingLock
from tenuto.core.reserved import granted_ticket
from tenuto.core.state import State
from tenuto.core.turn import Turn
from tenuto.core.turn_builder import TurnBuilder
from tenuto.errors import NonDeterminismError, RequestError, StalledError

__all__ = ["Rewinding", "owes", "plan", "rewind", "version_to_take"]

_BEGINNINGS = (ExecutionStarted, ExecutionRerun)
"""What comes before these is not an instance's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewinding:
    """How an instance is to be rewound."""

    kept: int
    """Events at the beginning of the history that are kept."""
    again: tuple[int, ...]
    """Activities and children whose failures are undone."""
    tail: Sequence[Event]
    """What followed, up to the end."""
    time: datetime | None = None
    """The last turn's, also where that is undone: time never goes back (rule T1)."""


def plan(history: Sequence[Event]) -> Rewinding:
    """Find the place from where an instance goes on. `history`: those of its events that count.

    Raises:
        RequestError: it has not failed and was not terminated, what it held when it ended has been given away, or what
            failed is none of its own.
    """
    end = history[-1]
    match end:
        case ExecutionTerminated():
            found = Rewinding(kept=len(history) - 1 - _is_unbegun(history), again=(), tail=())
        case ExecutionFailed(failure=failure):
            found = _before(history, failure)
        case _:
            raise RequestError("it has neither failed nor been terminated")
    mark = next((event for event in history[found.kept :] if isinstance(event, ExecutionRerun)), None)
    if mark is not None:
        raise RequestError(
            f"it would go on from within what it has of instance {mark.instance!r}, of which it was a rerun; rerun "
            "that one from an earlier event instead"
        )
    if owes(history[: found.kept]) or owes(history[:-1]):  # there, or only when it ended
        raise RequestError(
            "where it would go on from, or when it ended, it held locks or owed compensations, and those have been "
            "given back or carried out; restart it instead"
        )
    return replace(
        found, time=max((event.at for event in history if isinstance(event, TurnStarted)), default=None)
    )


def _is_unbegun(history: Sequence[Event]) -> bool:
    """Whether the turn that terminated it was its first. It may have been stalled, so its code did not run then, as it
    would if that turn were replayed."""
    turns = sum(isinstance(event, TurnStarted) for event in history)
    return turns == 1 and isinstance(history[-2], TurnStarted)


def owes(history: Sequence[Event]) -> bool:
    """Whether an end at this place gives locks back, or has compensations carried out."""
    pending = State.fold("", "", history).pending.values()
    return any(isinstance(each, PendingLock | PendingCompensation) for each in pending)


def _before(history: Sequence[Event], failure: Failure) -> Rewinding:
    """The place before the failures of calls that became this one or, where it came of the code's own, before what the
    code was told last."""
    told = {(each.type, each.message) for each in _chain(failure)}
    for index in range(len(history) - 2, 0, -1):
        event = history[index]
        final = _final(event)
        if final is not None and (final.failure.type, final.failure.message) in told:
            return _undoing(history, index)
    last = next(i for i in range(len(history) - 2, -1, -1) if isinstance(history[i], Notification))
    tail = () if isinstance(history[last], TurnStarted) else history[last:-1]
    return Rewinding(kept=last, again=(), tail=tail)


def _undoing(history: Sequence[Event], index: int) -> Rewinding:
    """Undo this failure, and those around it between which the code asked for nothing: a group that it waited for."""
    first = last = index
    while isinstance(history[first - 1], Notification) and not isinstance(history[first - 1], _BEGINNINGS):
        first -= 1
    while isinstance(history[last + 1], Notification):
        last += 1
    failed = {i: final for i in range(first, last + 1) if (final := _final(history[i])) is not None}
    kept = min(failed)
    return Rewinding(
        kept=kept, again=tuple(final.command for final in failed.values()), tail=history[kept:-1]
    )


def _final(event: Event) -> ActivityFailed | ChildFailed | None:
    """A failure that the code was told of."""
    if isinstance(event, ActivityFailed | ChildFailed) and event.retry_at is None:
        return event
    return None


def _chain(failure: Failure | None) -> Iterator[Failure]:
    while failure is not None:
        yield failure
        failure = failure.cause


def rewind(
    execution: Execution,
    rewinding: Rewinding,
    now: datetime,
    *,
    reason: str | None = None,
    max_payload_bytes: int = sys.maxsize,
) -> Turn:
    """The turn by which an instance goes on. `execution`: a replay of what is kept; it is changed.

    Raises:
        StalledError: the code does not fit what is kept, or does what no workflow may do. The execution is spoiled.
    """
    if execution.stalled is not None:
        raise execution.needs_code()
    state = execution.state
    now = now if rewinding.time is None else max(now, rewinding.time)
    builder = TurnBuilder(state, now, max_payload_bytes=max_payload_bytes)
    execution.attach(builder)
    begun, kept_commands = state.begun, state.next_command
    mark = ExecutionRewound(kept=rewinding.kept, again=list(rewinding.again), at=builder.at, reason=reason)
    try:
        builder.rewind(mark, (event for event in rewinding.tail if isinstance(event, EventSent)))
        start_at = state.awaited_start
        if start_at is None or builder.at >= start_at:
            execution.notify(
                TurnStarted(at=builder.at, version=None if begun else version_to_take(execution))
            )
        _tell_again(execution, rewinding, kept_commands)
    except NonDeterminismError as error:
        raise StalledError(str(error)) from error
    return builder.turn(execution.custom_status)


def version_to_take(execution: Execution) -> str | None:
    """The version that an instance which had none keeps from its first turn on: that of the code."""
    code = execution.code
    return code.version if code is not None and execution.state.version is None else None


def _tell_again(execution: Execution, rewinding: Rewinding, kept_commands: int) -> None:
    state = execution.state
    commands = {event.id: event for event in rewinding.tail if isinstance(event, Command)}
    for event in rewinding.tail:
        if execution.state is not state or state.status.is_terminal or execution.code is None:
            return  # it has ended once more, or continued as new
        if isinstance(event, EventRaised):
            if granted_ticket(event.name, event.payload) is None:  # what a lock granted has been given back
                execution.notify(event)
        elif (final := _final(event)) is not None and final.command in rewinding.again:
            continue
        elif isinstance(event, Notification) and _answers(state, event, commands, kept_commands):
            execution.notify(event)


def _answers(state: State, event: Notification, commands: Mapping[int, Command], kept_commands: int) -> bool:
    """Whether an answer still answers something: the same call, and the attempt that is due."""
    command = getattr(event, "command", None)
    pending = state.pending.get(command) if isinstance(command, int) else None
    if pending is None or command is None:
        return False
    if command >= kept_commands and msgspec.json.encode(pending.command) != msgspec.json.encode(
        commands.get(command)
    ):
        return False
    if isinstance(pending, PendingActivity | PendingChild):
        due = not pending.is_out if isinstance(event, ActivityRetried | ChildRetried) else pending.is_out
        return due and getattr(event, "attempt", pending.attempt) == pending.attempt
    return True
