"""A turn in the making: events are added to the history, and their effects collected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from tenuto.core.effects import Effects
from tenuto.core.events import (
    ActivityScheduled,
    ChildScheduled,
    Command,
    Event,
    EventRaised,
    EventSent,
    ExecutionRerun,
    ExecutionRewound,
    ExecutionStarted,
    Notification,
    PatchRecorded,
    TurnStarted,
)
from tenuto.core.letters import Continue
from tenuto.core.pending import PendingChild
from tenuto.core.state import State
from tenuto.core.turn import Arrival, LetterOut, TaskOut, Turn

__all__ = ["TurnBuilder"]

C = TypeVar("C", bound=Command)


class TurnBuilder:
    """The recorder of a live turn.

    After continue-as-new it goes on recording, into the first events of the new generation, whose code is not run
    in this turn.
    """

    __slots__ = (
        "_dead",
        "_effects",
        "_events",
        "_ignored",
        "_next",
        "_replacing",
        "at",
        "max_payload_bytes",
        "state",
    )

    replaying = False

    def __init__(self, state: State, now: datetime, *, max_payload_bytes: int = sys.maxsize) -> None:
        self.state = state
        self.max_payload_bytes = max_payload_bytes
        self.at = now if state.time is None else max(now, state.time)  # rule T1
        """The time of the turn."""
        self._events: list[Event] = []
        self._next: list[Event] = []
        self._effects = Effects()
        self._replacing: tuple[int, msgspec.Raw] | None = None
        self._dead: list[TaskOut] = []
        self._ignored: list[tuple[Arrival, str]] = []

    def record(self, event: Notification) -> None:
        begins = not (self._events or self._next or isinstance(event, TurnStarted | ExecutionRerun))
        if begins and self.state.awaited_start is None:  # before a delayed start, things come without a turn
            self._add(TurnStarted(at=self.at))
        self._add(event)

    def rewind(self, event: ExecutionRewound, sent: Iterable[EventSent]) -> None:
        """What the kept history waits for goes out once more; events that are in `sent` do not."""
        self._add(event)
        self._effects.sent = frozenset(map(msgspec.json.encode, sent))
        self._effects.send_again(self.state)
        self._effects.start_again(self.state, self.state.children_out(), rewind=True)

    def keep(self, events: Iterable[Event], replacing: tuple[int, msgspec.Raw] | None) -> None:
        """Begin with what another instance's history has. Nothing comes of these events, and the state has taken them
        already. `replacing`: a command to be issued, and its input in place of the code's."""
        self._events.extend(events)
        self._replacing = replacing

    def take_over(self, children: Iterable[PendingChild]) -> None:
        """What is pending goes out under this run, and of the children those."""
        self._effects.send_again(self.state)
        self._effects.start_again(self.state, children)

    def issue(self, command: C, place: Callable[[], str]) -> C:
        del place  # what is new cannot fail to fit
        if self._replacing is not None and isinstance(command, ActivityScheduled | ChildScheduled):
            number, given = self._replacing
            if command.id == number:
                command = msgspec.structs.replace(command, input=given, refused=None)
        self._add(command)
        return command

    def patch(self, passed: PatchRecorded) -> bool:
        self._add(passed)
        return True

    def ignore(self, arrival: Arrival, reason: str) -> None:
        self._ignored.append((arrival, reason))

    def bury(self, task: TaskOut) -> None:
        """A task that was lost too often."""
        self._dead.append(task)

    def continue_as(self, started: ExecutionStarted, carried: Sequence[EventRaised]) -> State:
        """A new generation follows. Gives its state, which later events of this turn go to."""
        self.state = State(self.state.instance, self.state.run)
        self._next = [started, *carried]
        for event in self._next:
            self.state.apply(event)
        return self.state

    def turn(self, custom_status: bytes | None) -> Turn:
        """What has come of it all. `custom_status` is what the code has set it to."""
        letters = self._effects.letters
        if self._next and not self.state.status.is_terminal:
            onward = Continue(generation=self.state.generation)
            letters = [*letters, LetterOut(instance=self.state.instance, letter=onward, run=self.state.run)]
        return Turn(
            events=tuple(self._events),
            tasks=tuple(self._effects.tasks.values()),
            timers_set=tuple(self._effects.timers_set.values()),
            timers_cleared=tuple(self._effects.timers_cleared),
            letters=tuple(letters),
            next_generation=tuple(self._next),
            dead=tuple(self._dead),
            ignored=tuple(self._ignored),
            output=self.state.output,
            failure=self.state.failure,
            custom_status=custom_status,
        )

    def _add(self, event: Event) -> None:
        self._effects.add(event, self.state)
        (self._next or self._events).append(event)
        self.state.apply(event)
