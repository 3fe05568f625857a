"""What `tenuto check` finds."""

from __future__ import annotations

from enum import Enum

import msgspec

__all__ = ["Finding", "Kind"]


class Kind(Enum):
    """A kind of finding. The value is its code, why it breaks a workflow, and what to do instead."""

    CLOCK = (
        "T101",
        "a replay reads another time than the first run did",
        "use ctx.current_utc_datetime",
    )
    RANDOM = ("T102", "a replay draws other values than the first run did", "use ctx.random")
    UUID = ("T103", "a replay draws another id than the first run did", "use ctx.new_uuid()")
    ENVIRONMENT = (
        "T104",
        "a replay may run on another machine, or after a change",
        "pass it with the input, or read it in an activity",
    )
    FILE = ("T105", "a replay would do it again, and may find something else", "do it in an activity")
    NETWORK = ("T106", "a replay would do it again, and may be told something else", "do it in an activity")
    THREAD = (
        "T107",
        "threads run in an order that no replay repeats",
        "use ctx.spawn and when_all for branches, an activity for work",
    )
    PROCESS = ("T108", "a replay would start it again", "do it in an activity")
    ASYNCIO = (
        "T109",
        "a workflow is not driven by an event loop; what it waits for must be in its history",
        "wait for tasks of the context",
    )
    SLEEP = ("T110", "it blocks every workflow of the process", "await ctx.create_timer(…)")
    GLOBAL = (
        "T111",
        "what is kept outside of the workflow is not in its history, and other workflows see it",
        "keep it in a local variable",
    )
    SET_ORDER = (
        "T112",
        "the order of a set differs from process to process",
        "iterate over sorted(…), or use a list or dict",
    )
    IDENTITY = (
        "T113",
        "it differs from process to process",
        "compare by a value of your own, or use hashlib",
    )
    UNAWAITED = (
        "T114",
        "nobody sees its result or its failure",
        "await it, or keep the task and await it later",
    )
    AWAITED = ("T115", "there is nothing to wait for", "leave the `await` (or `yield`) out")
    DIRECT_CALL = (
        "T116",
        "it would run inside the workflow, again on every replay",
        "give the function to the context's call_activity or call_child_workflow",
    )
    UNSERIALISABLE = ("T117", "it cannot become JSON", "pass plain data")
    WRONG_TYPE = ("T118", "it does not fit what the function takes", "pass what its type hint says")
    OUTPUT = ("T119", "every replay would write it again", "use ctx.logger, which is silent while replaying")
    SWALLOWED = (
        "T120",
        "it also catches what the engine ends abandoned code with",
        "catch Exception, or raise it again",
    )

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def why(self) -> str:
        return self.value[1]

    @property
    def remedy(self) -> str:
        return self.value[2]


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One line of code that would not replay."""

    file: str
    line: int
    column: int
    """From 1."""
    code: str
    what: str
    """What the code does."""
    why: str
    remedy: str
    workflow: str
    """The workflow that gets there."""
    via: str | None = None
    """The helper function that it is in, if it is not the workflow itself."""
