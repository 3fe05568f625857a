"""What waits to be done: items for instances, in the parcels they came in.

A parcel is what arrived at once: one delivery from a turn queue, one inbox row, one due timer. Its items are for
instances of one partition. A delivery is acknowledged when all of its items are committed (rule C2), so they are taken
into a batch together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tenuto.core.letters import Purge, Raise, Repeat, Rerun, Rewind, Start
from tenuto.core.turn import Arrival
from tenuto.store.protocol import InboxRow, TimerRow

if TYPE_CHECKING:
    from tenuto.messages import TaskRef
    from tenuto_orchestrator.change import Post
    from tenuto_orchestrator.partition import Partition

__all__ = [
    "Claimed",
    "Expire",
    "Inspect",
    "Intake",
    "Item",
    "MarkStalled",
    "Parcel",
    "Resend",
    "Retire",
    "Watching",
    "Work",
    "first_event",
]


@dataclass(frozen=True, slots=True)
class Watching:
    """A client's process wants to hear of the instance's start and end."""

    queue: str


@dataclass(frozen=True, slots=True)
class Resend:
    """The broker was wiped: every task of the instance that is pending goes out again (rule B1)."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """The instance has waited long: tasks that no worker reports as held go out again (rule B2)."""

    empty: frozenset[str]
    """The pools whose queues are empty: what waits in another may still be taken."""
    until: float
    """Loop time after which that is no longer to be relied on."""


@dataclass(frozen=True, slots=True)
class MarkStalled:
    """No code for the instance came within the grace period (rule O5)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker says for the first time that it has tasks of the instance: see whether anybody waits for them."""

    held: tuple[TaskRef, ...] = ()
    """Those among them for which beats are to stand from now on (rule W2)."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Events that were kept for an instance which nobody has started in time (rule C7)."""

    rows: frozenset[str]


@dataclass(frozen=True, slots=True)
class Retire:
    """The run ended so long ago that nobody needs it any more: purge it, unless another has taken its place."""

    run: str


Work: TypeAlias = (
    Arrival
    | Start
    | Rewind
    | Rerun
    | Purge
    | Repeat
    | Watching
    | Resend
    | Inspect
    | MarkStalled
    | Expire
    | Retire
    | Claimed
)


@dataclass(slots=True, eq=False, kw_only=True)
class Item:
    """One thing to be done for one instance, and what is used up by doing it."""

    partition: Partition
    instance: str
    work: Work
    row: InboxRow | None = None
    """The inbox row that brought it, deleted in the commit."""
    timer: TimerRow | None = None
    fresh: bool = False
    """The row came from a commit of this process's own and not by reading the inbox, so there may be older ones that
    are not in memory yet."""
    on_commit: Callable[[], None] | None = None


def first_event(item: Item, letter: Start) -> list[Item]:
    """What a start brings with it for the turn of the instance that it makes, or finds."""
    if letter.event is None:
        return []
    event = Raise(name=letter.event.name, payload=letter.event.payload, sender=letter.event.sender)
    return [Item(partition=item.partition, instance=item.instance, work=Arrival(what=event))]


@dataclass(slots=True, eq=False, kw_only=True)
class Parcel:
    partition: Partition
    items: Sequence[Item] = field(default_factory=tuple)
    tag: int | None = None
    """The delivery to acknowledge after the commit."""
    post: Post | None = None
    """To be published with the commit: a message that nobody could read, on its way to the dead letters."""
    unreadable: str | None = None
    """The id of an inbox row that nobody could read: to be held, out of the way of the others, until somebody can."""
    token: str | None = None
    """All that was pending has been sent to the broker of this token, and confirmed (rule B1)."""
    on_commit: Callable[[], None] | None = None


class Intake:
    """First come, first served, over all partitions of the process: no instance can starve another."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: Parcel) -> None:
        self._parcels.append(parcel)
        self._wake.set()

    def put_back(self, parcels: Sequence[Parcel]) -> None:
        """To the front, in this order: what a batch could not take on yet."""
        self._parcels.extendleft(reversed(parcels))
        self._wake.set()

    def wake(self) -> None:
        """There is something to do that is no parcel: confirmed outbox rows to delete, an inbox to read."""
        self._wake.set()

    async def wait(self, timeout: float | None) -> None:
        """Until something is there or was signalled, or `timeout` seconds have passed."""
        if not self._parcels:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return
        self._wake.clear()

    def take(self, limit: int) -> list[Parcel]:
        """The oldest parcels of partitions that are still owned, holding about `limit` items."""
        taken: list[Parcel] = []
        items = 0
        while self._parcels and items < limit:
            parcel = self._parcels.popleft()
            if parcel.partition.open and not parcel.partition.retiring:
                taken.append(parcel)
                items += max(1, len(parcel.items))
        return taken
