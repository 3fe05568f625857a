"""The options of a start, which the client and its synchronous twin share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypedDict, TypeVar

from tenuto.core.durations import after
from tenuto.core.letters import FirstEvent
from tenuto.core.reserved import event_fault
from tenuto.core.retry import Duration
from tenuto.core.status import ReusePolicy
from tenuto.errors import UsageError
from tenuto.naming import check_name
from tenuto.payloads import check_size, encode

__all__ = [
    "StartOptions",
    "WorkflowFunction",
    "WorkflowOfInput",
    "WorkflowWithoutInput",
    "check_options",
    "check_outside",
    "first_event",
    "start_time",
    "utc",
]

In = TypeVar("In")
T = TypeVar("T")

WorkflowFunction: TypeAlias = Callable[..., Coroutine[Any, Any, T] | Generator[Any, Any, T]]
"""A decorated workflow that returns a T: `async def` with `await`, or a generator with `yield`."""
WorkflowOfInput: TypeAlias = Callable[[Any, In], Coroutine[Any, Any, T] | Generator[Any, Any, T]]
"""One that takes an In."""
WorkflowWithoutInput: TypeAlias = Callable[[Any], Coroutine[Any, Any, T] | Generator[Any, Any, T]]
"""One that takes no input, or need not be given any."""


class StartOptions(TypedDict, total=False):
    """The keyword arguments of `Client.start`."""

    instance_id: str | None
    """1 to 256 printable characters; random by default (derived from `message_id`, if that is given)."""
    version: str | None
    """Of the workflow; by default the latest."""
    tags: Mapping[str, str] | None
    """To find the instance by."""
    reuse: ReusePolicy | None
    """What to do if the id has an instance; by default that is an error while it is alive."""
    message_id: str | None
    """Makes the start idempotent: with the same one nothing is started again, even after the first has ended, and the
    handle is of the instance that is there."""
    start_at: datetime | None
    """An aware time: the instance is PENDING until then. Past ones start at once."""
    delay: Duration | None
    """Instead of `start_at`: how long from now, as a `timedelta` or in seconds."""
    event: tuple[str, Any] | None
    """A name and a payload: an external event that reaches the instance with its start, in one step. Where the reuse
    policy IGNOREs the start, the living instance gets it; one that has ended refuses it (`InstanceOverError`)."""
    connection: Any
    """Your own SQLAlchemy connection or session on the same database: the workflow starts if and only if your
    transaction commits. Nothing is waited for; `handle.ring()` after the commit makes it quick."""
    wait: bool
    """Until the start has taken effect (the default)."""
    timeout: float | None
    """Seconds to wait; by default the settings' `request_timeout`."""


def check_options(options: StartOptions) -> None:
    """Raises TypeError for a keyword that no start takes, as a plain signature would."""
    for unknown in options.keys() - StartOptions.__annotations__.keys():
        raise TypeError(f"start() got an unexpected keyword argument {unknown!r}")


def check_outside(message_id: str | None, tags: Mapping[str, str]) -> None:
    """Raises UsageError for a message id, or the name of a tag, that is empty or cannot be printed."""
    if message_id is not None:
        check_name("The message id", message_id, field="message_id")
    for name in tags:
        check_name("The name of a tag", name, field="tags")


def start_time(start_at: datetime | None, delay: Duration | None, now: datetime) -> datetime | None:
    """When a delayed start is due, in UTC; None: at once.

    Raises:
        UsageError: the time has no time zone, the delay is no number, or both are given.
    """
    if start_at is not None and delay is not None:
        raise UsageError("a start takes start_at or delay, not both")
    if start_at is not None:
        return utc(start_at)
    if delay is None:
        return None
    try:
        return after(now, delay)
    except ValueError as error:
        raise UsageError(f"the delay of a start: {error}") from error


def utc(start_at: datetime) -> datetime:
    """The time of a delayed start in UTC. Raises UsageError if it has no time zone, or lies beyond the calendar."""
    if start_at.tzinfo is None:
        raise UsageError(f"start_at needs a time zone, and {start_at.isoformat()} has none", field="start_at")
    try:
        return start_at.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(
            f"start_at {start_at.isoformat()} lies beyond the calendar in UTC", field="start_at"
        ) from error


def first_event(event: tuple[str, Any] | None, limit: int) -> FirstEvent | None:
    """The event of a start.

    Raises:
        UsageError: its name is none, or one of Tenuto's own.
        PayloadError: its payload cannot become JSON, or has more bytes than `limit`.
    """
    if event is None:
        return None
    name, payload = event
    check_name("The event's name", name, field="event")
    if (fault := event_fault(name)) is not None:
        raise UsageError(fault, field="event")
    return FirstEvent(name=name, payload=check_size(encode(payload), limit, f"The payload of event {name!r}"))
