"""Where users' code stands, for messages. Never on the way of a healthy turn."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Coroutine, Generator, Iterator
from itertools import takewhile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = [
    "awaited_codes",
    "calling_line",
    "executing_line",
    "is_core",
    "is_running",
    "raising_line",
    "suspended_line",
]

_CORE = Path(__file__).parent
_STDLIB = Path(inspect.__file__).parent


def is_core(file: str) -> bool:
    """Whether a source file is one of the core's own, whose frames tell a user nothing."""
    return Path(file).is_relative_to(_CORE)


def calling_line() -> str:
    """The line of the user's that called into the core just now."""
    frame = inspect.currentframe()
    while frame is not None and is_core(frame.f_code.co_filename):
        frame = frame.f_back
    return "an unknown line" if frame is None else _line(frame)


def suspended_line(routine: Any, inside: CodeType | None = None) -> str:
    """The innermost line of the user's at which a suspended coroutine or generator stands.

    That is the last in the chain of awaits that lies neither in the standard library, nor in an installed package,
    nor in the core; else the routine's own. With `inside`, it is the line that called that code.
    """
    frames = [frame for part in _chain(routine) if (frame := _frame(part)) is not None]
    callers = list(takewhile(lambda frame: frame.f_code is not inside, frames))
    if not callers:
        return "an unknown line"
    users = [frame for frame in callers if _is_users(frame.f_code.co_filename)]
    return _line(users[-1] if users else callers[0])


def executing_line(frame: FrameType) -> str | None:
    """The innermost line of the user's among those that are executing in a thread, whose innermost frame is given; None
    where the core is at work and has not called the user's code."""
    place: FrameType | None = frame
    while place is not None and not is_core(place.f_code.co_filename):
        if _is_users(place.f_code.co_filename):
            return _line(place)
        place = place.f_back
    return None


def raising_line(error: BaseException) -> str | None:
    """The innermost line of the user's that an exception went through; None if there is none."""
    steps = [step for step in traceback.walk_tb(error.__traceback__) if _is_users(step[0].f_code.co_filename)]
    if not steps:
        return None
    frame, line = steps[-1]
    return f"{frame.f_code.co_filename}:{line}, in {frame.f_code.co_name}"


def awaited_codes(routine: Any) -> list[CodeType]:
    """The code of each function in the chain of awaits, outermost first."""
    return [frame.f_code for part in _chain(routine) if (frame := _frame(part)) is not None]


def is_running(routine: Any) -> bool:
    """Whether a coroutine or generator, or what it awaits, is executing just now."""
    return any(
        getattr(part, "cr_running", False) or getattr(part, "gi_running", False) for part in _chain(routine)
    )


def _chain(routine: Any) -> Iterator[Any]:
    while isinstance(routine, Coroutine | Generator):
        yield routine
        routine = getattr(routine, "cr_await", None) or getattr(routine, "gi_yieldfrom", None)


def _frame(routine: Any) -> FrameType | None:
    frame = getattr(routine, "cr_frame", None) or getattr(routine, "gi_frame", None)
    return frame if isinstance(frame, FrameType) else None


def _is_users(file: str) -> bool:
    return not (is_core(file) or Path(file).is_relative_to(_STDLIB) or "site-packages" in file)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
