"""One owned partition, from the moment `recover` has read it until it is let go.

Nothing here outlives the epoch: whoever loses a partition throws the object away, and a new epoch makes a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tenuto.broker.protocol import Subscription
from tenuto.core.events import ReplyTo
from tenuto.messages import TaskRef
from tenuto.store.protocol import InboxRow, TimerRow
from tenuto_orchestrator.backlog import Backlog
from tenuto_orchestrator.beats import Beats

__all__ = ["Acknowledger", "Partition", "Stall", "TimerId", "timer_id"]

TimerId = tuple[str, str, int, int, int]


def timer_id(row: TimerRow) -> TimerId:
    """What tells timers apart: instance, run, generation, command, attempt (rule N1)."""
    return row.instance, row.run, row.generation, row.key.command, row.key.attempt


class Acknowledger:
    """Acknowledges the deliveries of one subscription, many at a time.

    `multiple` is used only up to the tag below which everything is committed (rule C8).
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._committed: set[int] = set()
        self._low = 0

    def commit(self, tag: int) -> None:
        self._committed.add(tag)

    def flush(self) -> None:
        low = self._low
        while low + 1 in self._committed:
            low += 1
            self._committed.discard(low)
        if low > self._low:
            self._low = low
            self._subscription.ack(low, multiple=True)  # rule C8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    reason: str
    mark_at: float
    """Loop time at which STALLED is to be recorded; infinity: it is recorded."""
    cause: str
    """The name of the error that stands in the way."""


@dataclass(eq=False, kw_only=True)
class Partition:
    """Everything the process knows of a partition that it owns."""

    number: int
    epoch: int
    deadline: float
    """Loop time after which the lease may be somebody else's (rule O1)."""
    token: str
    """The broker that everything pending was sent to (rule B1)."""
    lost: Callable[[Partition, str], None]
    """Told once when the partition must be given up."""

    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    """Loop time at which it was recovered: workers' beats are known from then on (rule W2)."""
    open: bool = True
    retiring: bool = False
    """It takes on nothing new, and finishes what it has, to be handed over."""
    subscription: Subscription | None = None
    acks: Acknowledger | None = None
    known: set[str] = field(default_factory=set)
    """Inbox rows that are in memory or held; a read of the inbox passes over them."""
    inbox_due: bool = False
    """There may be inbox rows that are not in memory."""
    timers: dict[TimerId, TimerRow] = field(default_factory=dict)
    """The timers up to `timers_until`, those fired and not yet committed excepted."""
    timers_until: float = 0.0
    """Seconds since the epoch up to which `timers` is complete."""
    confirmed: list[tuple[int, int]] = field(default_factory=list)
    """(epoch, seq) of outbox rows to be deleted with the next commit (rule C4)."""
    watchers: dict[str, set[str]] = field(default_factory=dict)
    stalled: dict[str, Stall] = field(default_factory=dict)
    """Instances whose arrivals are held (rule O5)."""
    unconfirmed: set[tuple[int, int]] = field(default_factory=set)
    """(epoch, seq) of outbox rows that are being published."""
    held_back: dict[str, int] = field(default_factory=dict)
    """By instance, the first command of the end of a wide fan-out that is still to be published (`fan_out`)."""
    resending: asyncio.Task[None] | None = None
    """Sends all that is pending to a new broker (rule B1)."""
    held: dict[str, dict[str, None]] = field(default_factory=dict)
    """Ids of the inbox rows that are held for an instance, and not in memory: they go when it ends (rule O5)."""
    kept: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Held rows, by id, that wait for an instance to be started: for which, and until when (rule C7)."""
    replies: dict[str, list[ReplyTo]] = field(default_factory=dict)
    """Who else wants to hear how an instance ends; each has a held row."""
    beats: Beats = field(default_factory=Beats)
    """What workers say that they hold (rule W2)."""
    backlog: Backlog = field(default_factory=Backlog)
    """Tasks that are out, by pool; counted only if metrics are."""
    counting: asyncio.Task[None] | None = None
    """Counts those that were out when it was recovered."""
    local: set[TaskRef] = field(default_factory=set)
    """The tasks that this process executes itself, until their answers are committed."""
    _seq: int = 0

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def usable(self) -> bool:
        """Whether the lease surely still holds."""
        return self.open and asyncio.get_running_loop().time() < self.deadline

    def note(self, row: InboxRow) -> bool:
        """Remember an inbox row; False if it was known."""
        if row.id in self.known:
            return False
        self.known.add(row.id)
        return True

    def give_up(self, reason: str) -> None:
        """Stop using the partition at once; its owner hears of it and may recover it under a new epoch."""
        if self.open:
            self.open = False
            self.lost(self, reason)

    async def close(self) -> None:
        """Let the broker have back what is not acknowledged (rule O4)."""
        self.open = False
        for task in (self.resending, self.counting):
            if task is not None:
                task.cancel()
        if self.subscription is not None:
            await self.subscription.close()
