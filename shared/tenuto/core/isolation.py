"""What Python keeps per thread, and every workflow must have to itself.

All executions of a process take turns in one thread. What one of them sets in a context variable (the precision of
`decimal` is one), and holds across an await, must not reach the others: it would change their results, and there
would be no trace of it at the next replay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context
from typing import ParamSpec, TypeVar

__all__ = ["Isolation"]

_ORIGINS = 1
"""Lines that a coroutine remembers of where it was made."""

P = ParamSpec("P")
T = TypeVar("T")


class Isolation:
    """Runs the code of one execution in a context of its own.

    A coroutine made inside remembers the line that made it, so that Python's warning of one that was never awaited
    names that line, wherever it is collected.

    The context begins empty, not as a copy of what happens to surround it, so that it is the same wherever and
    whenever the history is replayed. Async generators are left to Python: the event loop's hooks would close them
    in a task of its own, outside the turn.
    """

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = Context()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function inside. Calls do not nest."""
        hooks = sys.get_asyncgen_hooks()
        depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_asyncgen_hooks(None, None)
        sys.set_coroutine_origin_tracking_depth(_ORIGINS)
        try:
            return self._context.run(function, *args, **kwargs)
        finally:
            sys.set_coroutine_origin_tracking_depth(depth)
            sys.set_asyncgen_hooks(*hooks)
