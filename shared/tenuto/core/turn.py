"""What goes into a turn and what comes out of it: plain values, no I/O.

The orchestrator collects `Arrival`s for an instance, `advance` makes a `Turn` of them, and the turn is committed
whole or not at all. Everything that must leave the process is a function of the turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Event,
    ExecutionStarted,
    Failure,
    OptionalRaw,
)
from tenuto.core.letters import ChildEnded, Continue, Letter, Raise, Resume, Suspend, Terminate

__all__ = [
    "START_TIMER",
    "Arrival",
    "LetterOut",
    "TaskLost",
    "TaskOut",
    "TimedOut",
    "TimerDue",
    "TimerKey",
    "TimerSet",
    "Turn",
    "What",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerDue:
    """A timer's time has come: a timer or the wait before a retry. `attempt` is 0 for a timer of the code's."""

    command: int
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost:
    """An activity task came back unanswered, or is nowhere to be found (rules W1, B2).

    `counted` where it had been sent alone and its worker died with it.
    """

    command: int
    attempt: int
    counted: bool = False
    sending: int | None = None
    """Which sending of the attempt it was, as in `TaskOut`; None: the present one."""
    details: OptionalRaw = None
    """What the activity gave to its last heartbeat, as far as its owner has heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """An attempt has outrun a limit that its worker should have enforced (rule W4)."""

    command: int
    attempt: int
    limit: Literal["start_to_close", "heartbeat_timeout"]
    details: OptionalRaw = None


What: TypeAlias = (
    ActivityCompleted
    | ActivityFailed
    | TimerDue
    | TaskLost
    | TimedOut
    | ChildEnded
    | Raise
    | Suspend
    | Resume
    | Terminate
    | Continue
)


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Something that reached an instance. It counts only for the `run` and `generation` that it names (rule N1);
    None: for whichever is there (an outsider's request)."""

    what: What
    run: str | None = None
    generation: int | None = None


class TaskOut(msgspec.Struct, frozen=True, kw_only=True):
    """An activity attempt to be sent to its pool."""

    scheduled: ActivityScheduled
    attempt: int
    key: str
    """The user's idempotency key: the same for every attempt. What a rerun does again has another."""
    sending: int = 0
    """How often the attempt was sent before, and lost (rule W1)."""
    details: OptionalRaw = None
    """What an earlier attempt, or the same one before it was lost, gave to its last heartbeat."""

    @property
    def alone(self) -> bool:
        """It is not to be folded with others, since it was lost before (rule W1)."""
        return self.sending > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerKey:
    command: int
    attempt: int = 0


START_TIMER = TimerKey(command=-1)
"""The timer of a delayed start, which no command made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSet:
    key: TimerKey
    fire_at: datetime


class LetterOut(msgspec.Struct, frozen=True, kw_only=True):
    """A letter to another instance. `run` None: to whatever run is there."""

    instance: str
    letter: Letter
    run: str | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `advance`. Without `events` the arrivals were redeliveries, and nothing changes (rule C2
    still asks for a fenced commit before they are acknowledged)."""

    events: tuple[Event, ...] = ()
    tasks: tuple[TaskOut, ...] = ()
    timers_set: tuple[TimerSet, ...] = ()
    timers_cleared: tuple[TimerKey, ...] = ()
    """Rows to delete: fired, cancelled, or of an instance that is over. Never one that this turn sets."""
    letters: tuple[LetterOut, ...] = ()
    next_generation: tuple[ExecutionStarted | Event, ...] = ()
    """After continue-as-new: the first events of the new generation (`ExecutionStarted`, then the events that are
    carried over). The old history is deleted in the same commit."""
    dead: tuple[TaskOut, ...] = ()
    """Tasks that were lost too often: their activities have failed in this turn; kept as dead letters."""
    ignored: tuple[tuple[Arrival, str], ...] = ()
    """Arrivals that came too late or to nobody, with the reason in words, for the log and the sender."""
    output: msgspec.Raw | None = None
    """What the instance has come to, if it has completed or was terminated."""
    failure: Failure | None = None
    """How it has failed, if it has."""
    custom_status: bytes | None = None
    """What the code has set it to in this turn, as JSON; None: it is as it was."""
