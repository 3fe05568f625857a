"""Rerunning: a new instance begins with the history of one that has ended, up to something that the code asked for,
and goes on from there by itself.

The history is kept up to what the code was told when it asked for that. This is told to it again, now, so that it asks
once more: for the activity, timer or child in question, and for all else that it asked for in the same breath. What was
answered before stays answered. What is pending there goes out anew, under the new instance's run; so no answer of the
old one can count for the new one.

`plan` finds the place, `rerun` makes the first turn. Its events are the kept history, then `ExecutionRerun`, which says
where that came from and brings a seed: uuids, chance and idempotency keys are new ones from there on, and the same as
ever in the kept part. So the history of the new instance is complete, and every replay comes to the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from tenuto.core import ids
from tenuto.core.events import (
    ActivityScheduled,
    ChildRetried,
    ChildScheduled,
    Command,
    Event,
    ExecutionRerun,
    ExecutionStarted,
    Notification,
    TimerCreated,
    TurnStarted,
    WorkflowStarted,
)
from tenuto.core.execution import Execution
from tenuto.core.mismatch import same_call
from tenuto.core.pending import PendingChild
from tenuto.core.rewinding import owes, version_to_take
from tenuto.core.state import State
from tenuto.core.turn import Turn
from tenuto.core.turn_builder import TurnBuilder
from tenuto.errors import NonDeterminismError, RequestError, StalledError

__all__ = ["Rerunning", "Run", "own_events", "plan", "rerun"]

Repeatable: TypeAlias = ActivityScheduled | TimerCreated | ChildScheduled


class Run(NamedTuple):
    """One run of an instance."""

    instance: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerunning:
    """How a new instance is to begin."""

    source: Run
    started: ExecutionStarted
    """Its first event, with the seed of the old one."""
    kept: Sequence[Event]
    """What follows of the old history."""
    cause: Notification
    """What is told to the code again."""
    command: Repeatable
    """What it asks for then."""


def plan(history: Sequence[Event], command: int, *, source: Run, target: Run) -> Rerunning:
    """Find the place from where a new instance goes on. `history`: those of the old one's events that count.

    Raises:
        RequestError: nothing of that number was asked for, or nothing that can be done again, or what was held there
            has been given away since.
    """
    index, found = _find(history, command)
    cause_index = next(i for i in range(index - 1, -1, -1) if isinstance(history[i], Notification))
    started, cause = history[0], history[cause_index]
    if not isinstance(started, ExecutionStarted) or not isinstance(cause, Notification) or cause is started:
        raise RequestError("its history makes no sense")
    if owes(history[:cause_index]):
        raise RequestError(
            f"before event {command} it held locks, or waited for some, or owed compensations, and a new instance "
            "does not have them; rerun it from an earlier event, or restart it"
        )
    return Rerunning(
        source=source,
        started=replace(
            started, version=State.fold(*source, history).version, parent=None, reply=None, start_at=None
        ),
        kept=_adopted(history[:cause_index], cause, source, target)[1:],
        cause=cause,
        command=found,
    )


def own_events(turn: Turn) -> tuple[Event, ...]:
    """Of the first turn after a rerun: what the instance has done itself."""
    marks = [index for index, event in enumerate(turn.events) if isinstance(event, ExecutionRerun)]
    return turn.events[marks[-1] :]


def _find(history: Sequence[Event], command: int) -> tuple[int, Repeatable]:
    """The command of this number, with its place."""
    for index, event in enumerate(history):
        if isinstance(event, Command) and event.id == command:
            if isinstance(event, Repeatable):
                return index, event
            raise RequestError(
                f"event {command} is of the kind {type(event).__name__}: only activities, timers and children can be "
                "rerun"
            )
    possible = [event.id for event in history if isinstance(event, Repeatable)]
    known = f"those are {', '.join(map(str, possible[:20]))}{' …' if len(possible) > 20 else ''}"  # noqa: PLR2004
    raise RequestError(
        f"its history has no event {command} of an activity, a timer or a child: "
        + (known if possible else "it asked for none")
    )


def _adopted(history: Sequence[Event], cause: Notification, source: Run, target: Run) -> list[Event]:
    """The events as the new instance has them: children that are pending behind the cause, and whose ids came of the
    old one's, get such as come of its own. Else they would take the place of the old one's children."""
    pending = State.fold(*source, [*history, cause]).pending
    adopted: list[Event] = []
    children = 0
    renamed: dict[int, str] = {}
    for event in history:
        match event:
            case ExecutionStarted():
                children = event.children
                adopted.append(event)
            case ChildScheduled() | WorkflowStarted():
                children += 1
                default = event.instance == ids.child_instance(*source, children)
                if default and isinstance(pending.get(event.id), PendingChild):
                    renamed[event.id] = ids.child_instance(*target, children)
                    adopted.append(replace(event, instance=renamed[event.id]))
                else:
                    adopted.append(event)
            case ChildRetried() if event.command in renamed:
                instance = ids.retried_instance(renamed[event.command], event.attempt)
                adopted.append(replace(event, instance=instance))
            case _:
                adopted.append(event)
    return adopted


def rerun(
    execution: Execution,
    rerunning: Rerunning,
    now: datetime,
    *,
    seed: str,
    given: msgspec.Raw | None = None,
    max_payload_bytes: int = sys.maxsize,
) -> Turn:
    """The first turn of the new instance: all of its history but the first event.

    Args:
        execution: a replay of `started` and `kept`, as the new instance; it is changed.
        rerunning: what `plan` has found.
        now: the present time, aware.
        seed: random, for what follows.
        given: another input for the command.
        max_payload_bytes: as of `advance`.

    Raises:
        RequestError: the command takes no input, or the code does not ask for it any more.
        StalledError: the code does not fit what is kept, or does what no workflow may do. The execution is spoiled.
    """
    command = rerunning.command
    if given is not None and isinstance(command, TimerCreated):
        raise RequestError(f"event {command.id} is a timer, which takes no input")
    if execution.stalled is not None:
        raise execution.needs_code()
    state = execution.state
    builder = TurnBuilder(state, now, max_payload_bytes=max_payload_bytes)
    execution.attach(builder)
    builder.keep(rerunning.kept, None if given is None else (command.id, given))
    mark = ExecutionRerun(
        instance=rerunning.source.instance,
        run=rerunning.source.run,
        command=command.id,
        replaced=given is not None,
        seed=seed,
        at=builder.at,
    )
    try:
        _go_on(execution, builder, mark, rerunning.cause)
    except NonDeterminismError as error:
        raise StalledError(str(error)) from error
    turn = builder.turn(execution.custom_status)
    if given is not None and not any(
        same_call(event, command, strict=False) and event.id == command.id for event in own_events(turn)
    ):
        raise RequestError(
            f"it was given another input for event {command.id}, and the code of now does not ask for that there"
        )
    return turn


def _go_on(execution: Execution, builder: TurnBuilder, mark: ExecutionRerun, cause: Notification) -> None:
    state = execution.state
    execution.notify(mark)
    children = state.children_out()
    execution.notify(TurnStarted(at=builder.at, version=None if state.begun else version_to_take(execution)))
    if not isinstance(cause, TurnStarted):
        execution.notify(cause)
    if execution.state is state:  # else the generation is over, and nothing of it is pending
        builder.take_over(
            each for each in children if state.pending.get(each.command.id) is each and each.is_out
        )
