"""What a client asks of whatever connects it to the engine: the database and the broker now, the gateway later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Protocol, TypeAlias

import msgspec

from tenuto.client.bulk import BulkResult, BulkVerb
from tenuto.client.instance import Cursor, InstanceStatus
from tenuto.client.queues import QueueStatus
from tenuto.core.events import Event
from tenuto.core.letters import FirstEvent, Purge, Raise, Resume, Rewind, Suspend, Terminate
from tenuto.core.status import ReusePolicy
from tenuto.registry import Registry
from tenuto.store.protocol import InboxRow, InstanceFilter, Tally

__all__ = [
    "Ask",
    "Milestone",
    "Order",
    "RequestPendingError",
    "RerunOrder",
    "StartPendingError",
    "Target",
    "Transport",
]

Ask: TypeAlias = Raise | Suspend | Resume | Rewind | Terminate
"""A letter to an instance that is answered with yes or no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A start, as it was asked for."""

    workflow: str
    input: msgspec.Raw
    instance: str
    version: str | None = None
    tags: dict[str, str]
    reuse: ReusePolicy
    start_at: datetime | None = None
    event: FirstEvent | None = None
    message_id: str | None = None
    trace: dict[str, str] | None = None
    """W3C headers of the span that it is made in; None: it is in none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunOrder:
    """A rerun, as it was asked for."""

    source: str
    """The instance that has ended."""
    event_id: int
    instance: str
    """The new one."""
    input: msgspec.Raw | None = None
    """Another input for the event; None: its own."""
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a handle stands for."""

    instance: str
    run: str | None = None
    """The run that it started; None: whichever is there."""
    row: str | None = None
    """The inbox row of its start, if that may not have been dealt with yet."""


class StartPendingError(TimeoutError):
    """A start has not been carried out in time. It is stored, and will be."""

    def __init__(self, words: str, target: Target) -> None:
        super().__init__(words)
        self.target = target
        """What was started, with the row by which it can be waited for."""


class RequestPendingError(TimeoutError):
    """A request has not been dealt with in time. It is stored, and will be."""

    def __init__(self, words: str, *, row: str, asked_at: datetime) -> None:
        super().__init__(words)
        self.row = row
        """Its row in the inbox, by which it can be waited for."""
        self.asked_at = asked_at
        """When it was sent."""
        self.covers = 0
        """Of a purge, how many instances it covers."""


class Milestone(Enum):
    """What in the life of an instance can be waited for."""

    STARTED = auto()
    ENDED = auto()


class Transport(Protocol):
    """A connection to the engine. Opened once, used from one event loop, closed once.

    A `timeout` is in seconds; None: the settings' for requests, for ever in `wait`. A request that ran into it is
    durable all the same.
    """

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Wake whoever still waits with an error, and let go. Tolerates repeats."""

    async def start(self, order: Order, *, wait: bool, timeout: float | None) -> Target:
        """Ask for a start; durable when it returns, with `wait` also carried out.

        Raises:
            UnknownWorkflowError: there are live orchestrators, and none knows the workflow.
            AlreadyExistsError: the id is taken (`wait` only).
            TimeoutError: it is not carried out yet (`wait` only); a `StartPendingError` where its target is known.
        """
        ...

    async def rerun(self, order: RerunOrder, *, wait: bool, timeout: float | None) -> Target:
        """Ask for a rerun; durable when it returns, with `wait` also carried out.

        Raises:
            NotFoundError: there is no instance to be rerun (`wait` only, as what follows).
            AlreadyExistsError: the new id is taken.
            RequestError: the instance cannot be rerun, or not from there.
            TimeoutError: it is not carried out yet; a `StartPendingError` where its target is known.
        """
        ...

    async def prepare(self, order: Order) -> tuple[Target, InboxRow]:
        """A start as a row for the user's own transaction. Raises as `start` without `wait`."""
        ...

    async def insert(self, row: InboxRow, connection: Any) -> None:
        """Insert a prepared row through the user's own SQLAlchemy connection or session, without committing."""

    async def ring(self, instance: str) -> None:
        """Tell the instance's owner that there is a letter. May be lost: the owner looks every few seconds."""

    async def ask(self, instance: str, letter: Ask, *, wait: bool, timeout: float | None) -> None:
        """Send a letter; durable when it returns, with `wait` also dealt with.

        Raises:
            NotFoundError: there is no such instance (`wait` only).
            InstanceOverError: it has ended (`wait` only).
            TimeoutError: it is not dealt with yet (`wait` only); a `RequestPendingError` where its row is known.
        """

    async def purge(self, instance: str, letter: Purge, *, timeout: float | None) -> int:
        """Delete an ended instance, and from `recursive` its children; how many that covers.

        Raises:
            NotFoundError: there is no such instance.
            RequestError: it is alive, and the letter does not say `force`.
            TimeoutError: it is not dealt with yet; as of `ask`.
        """
        ...

    async def dealt_with(self, target: Target, *, timeout: float | None) -> None:
        """Wait until the request in the target's row is dealt with. Where nobody remembers how, the instance must show
        whether that was a refusal.

        Raises:
            RequestError: it was refused, in the owner's words.
            TimeoutError: it is not dealt with yet.
        """

    async def bulk(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        limit: int,
        after: Cursor | None,
        wait: bool,
        timeout: float | None,
    ) -> BulkResult:
        """Send a letter to a page of the instances that fit, in a status that it applies to; durable when it returns,
        with `wait` also dealt with.

        Raises:
            TimeoutError: the page is not dealt with yet (`wait` only).
        """
        ...

    async def wait(self, target: Target, milestone: Milestone, *, timeout: float | None) -> InstanceStatus:
        """Wait for a milestone of an instance; how it stands then.

        Raises:
            NotFoundError: there is no such instance, no longer, or another run has taken its place.
            AlreadyExistsError: the target's start was refused.
            TimeoutError: it was not reached.
        """
        ...

    async def status(self, instance: str) -> InstanceStatus:
        """The instance as it is now. Raises `NotFoundError`."""
        ...

    async def changed(self, instance: str, revision: str, *, timeout: float | None) -> InstanceStatus:
        """Wait until the instance's revision is another one than this; how it stands then.

        Raises:
            NotFoundError: there is no such instance, or no longer.
            TimeoutError: it has not changed.
        """
        ...

    async def history(self, instance: str) -> list[Event]:
        """The events of the present generation. Raises `NotFoundError`."""
        ...

    async def page(
        self, where: InstanceFilter, *, limit: int, after: Cursor | None
    ) -> Sequence[InstanceStatus]:
        """At most `limit` instances after the cursor, newest first."""
        ...

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        """How many instances fit, by workflow, version and status."""
        ...

    async def registry(self) -> Registry:
        """What the live orchestrators serve, with the live instances of each workflow and version."""
        ...

    async def queues(self) -> Sequence[QueueStatus]:
        """The engine's queues.

        Raises:
            UsageError: no orchestrator has ever run on the database.
            BrokerUnavailableError: the broker cannot be asked.
        """
        ...
