"""The state of an instance: a fold over its history, with no code involved.

What is awaited, what has been sent and not answered, and how it ended follow from the events alone, so they are
known also for an instance whose code is nowhere to be found.

    pending[c]      from                  until
    activity        ActivityScheduled     ActivityCompleted, ActivityFailed without retry_at, TaskCancelled
    timer           TimerCreated          TimerFired, TaskCancelled
    child           ChildScheduled        ChildCompleted, ChildFailed without retry_at, TaskCancelled
    lock            LockRequested         TaskCancelled
    compensation    CompensationAdded     TaskCancelled

An activity or child is *out* (its task or start has been sent, and an answer counts) unless it waits for a retry.
`ActivityFailed`/`ChildFailed` with `retry_at` begins such a wait, and `attempt` is from then on the attempt to
come; `ActivityRetried`/`ChildRetried` ends it. A wait that ends while the instance is suspended leaves the attempt
*deferred*: it goes out at `ExecutionResumed`. An end of any kind, and continue-as-new, leave nothing pending.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self

import msgspec

from tenuto.core import ids
from tenuto.core.events import Event, Failure, Parent, ReplyTo, rewound
from tenuto.core.fold import FOLD
from tenuto.core.pending import (
    LiveChild,
    Pending,
    PendingActivity,
    PendingChild,
    PendingTimer,
)
from tenuto.core.reserved import Ticket
from tenuto.core.status import Status
from tenuto.core.turn import START_TIMER, TaskOut, TimerKey, TimerSet

__all__ = ["LiveChild", "Pending", "PendingActivity", "PendingChild", "PendingTimer", "State"]


class State:
    """What one generation of a run has come to. `apply` takes its events in order, each once."""

    __slots__ = (
        "begun",
        "children",
        "deferred_commands",
        "failure",
        "generation",
        "input",
        "instance",
        "length",
        "next_command",
        "output",
        "parent",
        "pending",
        "reason",
        "replaced",
        "reply",
        "rewound_at",
        "run",
        "seed",
        "start_at",
        "started",
        "status",
        "tags",
        "tasks_by_pool",
        "tasks_pending",
        "time",
        "trace",
        "version",
        "workflow",
    )

    def __init__(self, instance: str, run: str) -> None:
        self.instance = instance
        self.run = run
        self.status = Status.PENDING
        self.workflow = ""
        self.version: str | None = None
        self.seed = ""
        self.generation = 0
        self.parent: Parent | None = None
        self.tags: dict[str, str] = {}
        self.reply: ReplyTo | None = None
        self.trace: dict[str, str] = {}
        self.input = msgspec.Raw(b"null")
        self.start_at: datetime | None = None
        """Of a delayed start."""
        self.time: datetime | None = None
        """The time of the last turn or, before this generation has had one, of the start: none goes back behind it."""
        self.started: datetime | None = None
        """When this generation began or, if it was rewound, when that was."""
        self.rewound_at: datetime | None = None
        """When it was rewound last, in this generation."""
        self.begun = False
        """Whether this generation has had a turn."""
        self.output: msgspec.Raw | None = None
        self.failure: Failure | None = None
        self.reason: str | None = None
        """Why it was last suspended, resumed or terminated."""
        self.replaced: int | None = None
        """The command that was given another input than the code gave it (`ExecutionRerun`)."""
        self.length = 0
        """How many events the history has."""
        self.next_command = 0
        self.children = 0
        """Children and detached workflows started by this run, earlier generations included (rule N3)."""
        self.pending: dict[int, Pending] = {}
        self.tasks_pending = 0
        """Activities whose task is out and unanswered."""
        self.tasks_by_pool: dict[str, int] = {}
        """How many of those are with each pool, local ones left out."""
        self.deferred_commands: list[int] = []
        """Retries that fell due while the instance was suspended."""

    @classmethod
    def fold(cls, instance: str, run: str, history: Iterable[Event]) -> Self:
        """The state that a whole history comes to."""
        state = cls(instance, run)
        for event in rewound(history):
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """Take the next event."""
        self.length += 1
        FOLD[type(event)](self, event)

    def is_pending(self, command: int, attempt: int) -> bool:
        """Whether the task of exactly this activity attempt is out and unanswered (rule N1)."""
        pending = self.pending.get(command)
        return isinstance(pending, PendingActivity) and pending.attempt == attempt and pending.is_out

    def task(self, pending: PendingActivity) -> TaskOut:
        """The task of a pending activity's present attempt."""
        return TaskOut(
            scheduled=pending.command,
            attempt=pending.attempt,
            key=ids.idempotency_key(self.seed, self.generation, pending.command.id),
            sending=pending.sending,
            details=pending.details,
        )

    def tasks_out(self) -> list[TaskOut]:
        """Every activity attempt that is out, to be sent again after a wipe or a loss (rules B1, B2, O2)."""
        return [
            self.task(pending)
            for pending in self.pending.values()
            if isinstance(pending, PendingActivity) and pending.is_out
        ]

    def timers(self) -> list[TimerSet]:
        """Every timer of the code's, wait for a retry, deadline of an activity and wait for a delayed start that is
        pending."""
        start = self.awaited_start
        first = [] if start is None else [TimerSet(key=START_TIMER, fire_at=start)]
        return first + [
            TimerSet(key=TimerKey(command=command, attempt=timer[0]), fire_at=timer[1])
            for command, pending in self.pending.items()
            if (timer := pending.timer) is not None
        ]

    @property
    def awaited_start(self) -> datetime | None:
        """When the first turn is due, if the instance waits for that."""
        return None if self.begun or self.status.is_terminal else self.start_at

    def ticket(self, command: int) -> Ticket:
        """That of a request for a lock. None outlives a rewinding, so it is the same until it is given back."""
        return Ticket(
            instance=self.instance,
            run=self.run,
            generation=self.generation,
            command=command,
            rewound_at=self.rewound_at,
        )

    def child(self, pending: PendingChild) -> LiveChild:
        """The child of a pending call's present attempt."""
        run = ids.child_run(self.run, self.generation, pending.command.id, pending.attempt)
        return LiveChild(instance=pending.instance, run=run, abandon=pending.command.abandon)

    def children_alive(self) -> list[LiveChild]:
        """Every child that has been started and has not answered."""
        return [self.child(pending) for pending in self.children_out()]

    def children_out(self) -> list[PendingChild]:
        """The calls of those."""
        return [each for each in self.pending.values() if isinstance(each, PendingChild) and each.is_out]

    def deferred(self) -> list[PendingActivity | PendingChild]:
        """The attempts that a resume sends out."""
        found = (self.pending.get(command) for command in self.deferred_commands)
        return [
            pending
            for pending in found
            if isinstance(pending, PendingActivity | PendingChild) and pending.deferred
        ]

    def forget_all(self) -> None:
        """Nothing is awaited any more: the generation is over."""
        self.pending = {}
        self.tasks_pending = 0
        self.tasks_by_pool = {}
        self.deferred_commands = []
