"""What is said when code and history do not fit: both, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard, TypeVar, assert_never

import msgspec

from tenuto import payloads
from tenuto.core.events import (
    ActivityScheduled,
    ChildScheduled,
    Command,
    CompensationAdded,
    ContinuedAsNew,
    Event,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    LockRequested,
    PatchRecorded,
    TaskCancelled,
    TimerCreated,
    WorkflowStarted,
)
from tenuto.core.failures import describe
from tenuto.core.state import State
from tenuto.errors import NonDeterminismError

__all__ = ["explain_custom_status", "explain_mismatch", "same_call"]

C = TypeVar("C", bound=Command)
_BEFORE = 4
_AFTER = 2
_WIDTH = 48
_LONGEST = 300
"""Characters of a payload that are shown."""


def same_call(recorded: Event, issued: C, *, strict: bool) -> TypeGuard[C]:
    """Whether the code asks for what history has at this place: the same kind of thing, of the same name; with
    `strict`, with the same input or output too."""
    return (
        isinstance(recorded, Command)
        and type(recorded) is type(issued)
        and _name(recorded) == _name(issued)
        and not (strict and _differ(_content(recorded), _content(issued)))
    )


def explain_mismatch(
    state: State,
    history: Sequence[Event],
    position: int,
    issued: Command | None,
    place: str,
    *,
    strict: bool = False,
) -> NonDeterminismError:
    """The error for the event at `position` (from 0; past the end: the code asks for more than history has).

    `issued` is what the code asks for there; None: it asks for nothing. `place` is the line in the user's file. With
    `strict`, what goes into and comes out of the call is shown too.
    """
    expected = _expected(history, position)
    actual = "nothing: it waits, or has ended" if issued is None else _call(issued)
    if (
        strict
        and issued is not None
        and position < len(history)
        and same_call(history[position], issued, strict=False)
    ):
        expected += _shown(history[position])
        actual += _shown(issued)
    lines = [
        f"the code of workflow {state.workflow!r} does not fit the history of instance {state.instance!r}",
        f"(run {state.run}, generation {state.generation}) at event {position + 1}:",
        f"  expected by the history: {expected}",
        f"  asked for by the code:   {actual}",
        f"  at {place}",
        "",
        f"    event  {'history':<{_WIDTH}}  code",
        *_rows(history, position, issued),
        "",
        "Bring back the code that wrote this history; changed code asks ctx.is_patched, or gets a new version.",
        "The instance goes on when code that fits arrives.",
    ]
    return NonDeterminismError("\n".join(lines))


def explain_custom_status(state: State, shown: bytes | None, found: bytes, place: str) -> NonDeterminismError:
    """The error for code that sets another custom status than the instance shows."""
    return NonDeterminismError(
        f"the code of workflow {state.workflow!r} does not fit the history of instance {state.instance!r} "
        f"(run {state.run}, generation {state.generation}):\n"
        f"  expected: custom status {'none' if shown is None else shown.decode(errors='replace')}\n"
        f"  set by the code:        {found.decode(errors='replace')}\n"
        f"  at {place}\n"
        "Bring back the code that set it; the instance goes on when code that fits arrives."
    )


def _expected(history: Sequence[Event], position: int) -> str:
    if position >= len(history):
        return "nothing more: the history ends here"
    event = history[position]
    return _call(event) if isinstance(event, Command) else f"no call before {_call(event)}"


def _rows(history: Sequence[Event], position: int, issued: Command | None) -> list[str]:
    start = max(0, position - _BEFORE)
    rows = []
    for index in range(start, min(len(history), position + _AFTER + 1)):
        event = history[index]
        if index == position:
            code = "(nothing)" if issued is None else _call(issued)
        elif index < position:
            code = _call(event) if isinstance(event, Command) else "(told)"
        else:
            code = "?" if isinstance(event, Command) else ""
        rows.append(_row(index, _call(event), code, marked=index == position))
    if position >= len(history) and issued is not None:
        rows.append(_row(position, "(the end)", _call(issued), marked=True))
    return rows


def _row(index: int, history: str, code: str, *, marked: bool) -> str:
    shown = history if len(history) <= _WIDTH else history[: _WIDTH - 1] + "…"
    return f"  {'>' if marked else ' '} {index + 1:5}  {shown:<{_WIDTH}}  {code}".rstrip()


def _call(event: Event) -> str:
    """An event in a few words: its kind, its command's number, its name."""
    if isinstance(event, Command):
        why = f"({describe(event.failure)})" if isinstance(event, ExecutionFailed) else ""
        parts = [type(event).__name__, f"#{event.id}", _name(event), why]
    else:
        answered = getattr(event, "command", None)
        parts = [
            type(event).__name__,
            "" if answered is None else f"of #{answered}",
            getattr(event, "name", ""),
        ]
    return " ".join(part for part in parts if part)


def _name(command: Command) -> str:
    """What must be the same in code and history besides the kind of the command."""
    match command:
        case ActivityScheduled():
            name = command.name
        case CompensationAdded():
            name = command.call.name
        case TimerCreated():
            name = "" if command.event is None else f"for event {command.event.casefold()!r}"
        case ChildScheduled() | WorkflowStarted():
            name = command.workflow
        case EventSent():
            name = command.name.casefold()
        case PatchRecorded():
            name = repr(command.patch)
        case LockRequested():
            name = command.key
        case TaskCancelled():
            name = f"of #{command.command}"
        case ExecutionCompleted() | ExecutionFailed() | ContinuedAsNew():
            name = ""
        case _:
            assert_never(command)
    return name


def _content(command: Command) -> msgspec.Raw | str:
    """What goes into a call, or comes out of the workflow."""
    content: msgspec.Raw | str = ""
    match command:
        case ActivityScheduled() | ChildScheduled() | WorkflowStarted() | ContinuedAsNew():
            content = command.input
        case CompensationAdded():
            content = command.call.input
        case EventSent():
            content = command.payload
        case ExecutionCompleted():
            content = command.result
        case ExecutionFailed():
            content = f"{command.failure.type}: {command.failure.message}"
        case TimerCreated():
            content = command.fire_at.isoformat()
        case TaskCancelled() | PatchRecorded() | LockRequested():
            pass
        case _:
            assert_never(command)
    return content


def _differ(one: msgspec.Raw | str, other: msgspec.Raw | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one != other
    if payloads.is_sealed(one):  # stored apart: only workers read it
        return False
    return bytes(one) != bytes(other) and msgspec.json.decode(one) != msgspec.json.decode(other)


def _shown(event: Event) -> str:
    content = _content(event) if isinstance(event, Command) else ""
    text = content if isinstance(content, str) else bytes(content).decode(errors="replace")
    return f" with {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"
