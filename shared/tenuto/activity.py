"""What an activity can learn and say while it runs.

    from tenuto import activity

    @app.activity(pool="payments")
    async def charge(order: Order) -> Receipt:
        key = activity.context().idempotency_key        # the same on every attempt
        ...

Everything here works in `async def` activities and in `def` ones, which run in a thread. Code that an
activity calls finds the context too; outside of an activity there is none, and asking for it is a
`UsageError`. A test provides one:

    with activity.provide(ActivityContext(instance_id="order-17", ...)):
        charge(order)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tenuto import payloads
from tenuto.errors import ActivityCancelledError, UsageError

__all__ = ["ActivityContext", "ActivityLogger", "Pulse", "context", "heartbeat", "is_cancelled", "provide"]

_logger = logging.getLogger("tenuto.activity")
_monotonic = time.monotonic


class Pulse:
    """What the worker and a running activity tell each other.

    Each attribute has one writer and is replaced whole, so neither side needs a lock when the activity runs
    in a thread.
    """

    __slots__ = ("beaten", "cancelled", "details", "time")

    def __init__(self, clock: Callable[[], float] = _monotonic) -> None:
        self.time = clock
        """The worker's clock."""
        self.cancelled = False
        """The worker's: nobody waits for the activity any more."""
        self.details: msgspec.Raw | None = None
        """The activity's: what it gave to its last heartbeat."""
        self.beaten: float | None = None
        """The activity's: when that was, by that clock."""


class ActivityLogger(logging.LoggerAdapter[logging.Logger]):
    """Says in each line which activity of which instance speaks, also as fields of the record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        fields = self.extra or {}
        speaker = f"[{fields['instance_id']} {fields['activity']}#{fields['attempt']}]"
        # The line that logs is the activity's, not this one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        # With arguments the message is a format, in which a percent sign of an instance id must stand for itself.
        super().log(level, f"{speaker.replace('%', '%%') if args else speaker} {msg}", *args, **kwargs)


@dataclass(frozen=True, kw_only=True)
class ActivityContext:
    """One attempt of one activity. Activities in Dapr's style `(ctx, input)` get it as `ctx`."""

    instance_id: str
    """The workflow instance that asked for the activity."""
    workflow: str
    """The name of its workflow."""
    activity: str
    """The name of the activity."""
    attempt: int = 1
    """1, 2, …: raised by retries, not by a redelivery of the same attempt."""
    idempotency_key: str
    """The same on every attempt and every redelivery: give it to whatever must not happen twice."""
    generation: int = 0
    """How often the instance has continued as new."""
    command: int = 0
    """The number of the call among the commands of its generation."""
    started_at: datetime
    """When the worker began the attempt: aware, by the worker's own clock."""
    deadline: datetime | None = None
    """When its start-to-close timeout runs out, by the same clock; None: it has none."""
    last_details: msgspec.Raw | None = field(default=None, repr=False)
    """What `heartbeat_details` gives, as JSON."""
    pulse: Pulse = field(default_factory=Pulse, repr=False, compare=False)
    """The worker's side of `heartbeat` and `is_cancelled`."""

    @property
    def workflow_id(self) -> str:
        """The instance id, by the name that Dapr gives it."""
        return self.instance_id

    @property
    def task_id(self) -> int:
        """The command, by the name that Dapr gives it."""
        return self.command

    @property
    def logger(self) -> ActivityLogger:
        """A logger whose lines tell instance, activity and attempt."""
        fields = {"instance_id": self.instance_id, "activity": self.activity, "attempt": self.attempt}
        return ActivityLogger(_logger, fields)

    def heartbeat(self, details: Any = None) -> None:
        """Say that the activity is alive, and how far it is.

        It costs next to nothing: the worker reports the latest details with its next beat, all activities in
        one message. The next attempt gets them as `heartbeat_details`. An activity with a `heartbeat_timeout` must
        call this more often than that.

        Args:
            details: anything that can become JSON; None leaves what was said before.

        Raises:
            ActivityCancelledError: nobody waits for the outcome any more (see `is_cancelled`).
            PayloadError: the details cannot become JSON.
        """
        if self.pulse.cancelled:
            raise ActivityCancelledError(
                f"nobody waits any more for activity {self.activity!r} of instance {self.instance_id!r} (attempt "
                f"{self.attempt}); clean up and end it"
            )
        if details is not None:
            self.pulse.details = payloads.encode(details)
        self.pulse.beaten = self.pulse.time()

    def heartbeat_details(self, type: Any = Any) -> Any:  # noqa: A002  as in `call_activity`
        """What the last attempt gave to its last heartbeat: how far it got. None if there was none.

        When an attempt failed, or was cancelled by a timeout, those are its very last details. When its worker died,
        they are those of the last beat that the instance's orchestrator had heard (a few seconds old), and older ones
        if that orchestrator has died as well: so they may be behind the truth, never ahead of it.

        Args:
            type: what they are converted to.

        Raises:
            PayloadError: they do not fit the type.
        """
        return None if self.last_details is None else payloads.decode(self.last_details, type)

    def is_cancelled(self) -> bool:
        """Whether nobody waits for the outcome any more.

        A timeout has passed, the workflow has ended or has cancelled the call, or the worker stops. An `async def`
        activity is cancelled besides; one in a thread must look here, or call `heartbeat`, and end by itself.
        """
        return self.pulse.cancelled


_current: ContextVar[ActivityContext] = ContextVar("tenuto_activity")


def context() -> ActivityContext:
    """The running activity's context.

    Raises:
        UsageError: no activity is running here. Threads that an activity starts by itself do not inherit it,
            unless they run in a copy of its `contextvars` context, as `asyncio.to_thread` does.
    """
    found = _current.get(None)
    if found is None:
        raise UsageError(
            "There is no running activity here. Call tenuto.activity from the code of an activity while a "
            "worker runs it (a workflow has its own context, ctx); in a test, provide one with "
            "activity.provide(ActivityContext(…))."
        )
    return found


def heartbeat(details: Any = None) -> None:
    """As `ActivityContext.heartbeat`, of the running activity.

    Raises:
        UsageError: no activity is running here.
        ActivityCancelledError: nobody waits for the outcome any more.
        PayloadError: the details cannot become JSON.
    """
    context().heartbeat(details)


def is_cancelled() -> bool:
    """As `ActivityContext.is_cancelled`, of the running activity.

    Raises:
        UsageError: no activity is running here.
    """
    return context().is_cancelled()


@contextmanager
def provide(running: ActivityContext) -> Iterator[ActivityContext]:
    """Make `running` the context of the code in the block. For workers, and for unit tests of activities."""
    token = _current.set(running)
    try:
        yield running
    finally:
        with suppress(ValueError):  # a coroutine that is thrown away unfinished is closed in another context
            _current.reset(token)
