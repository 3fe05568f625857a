"""A turn in the making: events are added to the history, and their effects collected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from tenuto.core.effects import Effects
from tenuto.core.events import (
    Command,
    Event,
    EventRaised,
    EventSent,
    ExecutionRewound,
    ExecutionStarted,
    Notification,
    PatchRecorded,
    TurnStarted,
)
from tenuto.core.letters import Continue
from tenuto.core.state import State
from tenuto.core.turn import Arrival, LetterOut, TaskOut, Turn

__all__ = ["TurnBuilder"]

C = TypeVar("C", bound=Command)


class TurnBuilder:
    """The recorder of a live turn.

    After continue-as-new it goes on recording, into the first events of the new generation, whose code is not run
    in this turn.
    """

    __slots__ = ("_dead", "_effects", "_events", "_ignored", "_next", "at", "max_payload_bytes", "state")

    replaying = False

    def __init__(self, state: State, now: datetime, *, max_payload_bytes: int = sys.maxsize) -> None:
        self.state = state
        self.max_payload_bytes = max_payload_bytes
        self.at = now if state.time is None else max(now, state.time)  # rule T1
        """The time of the turn."""
        self._events: list[Event] = []
        self._next: list[Event] = []
        self._effects = Effects()
        self._dead: list[TaskOut] = []
        self._ignored: list[tuple[Arrival, str]] = []

    def record(self, event: Notification) -> None:
        begins = not (self._events or self._next or isinstance(event, TurnStarted))
        if begins and self.state.awaited_start is None:  # before a delayed start, things come without a turn
            self._add(TurnStarted(at=self.at))
        self._add(event)

    def rewind(self, event: ExecutionRewound, sent: Iterable[EventSent]) -> None:
        """What the kept history waits for goes out once more; events that are in `sent` do not."""
        self._add(event)
        self._effects.sent = frozenset(map(msgspec.json.encode, sent))
        self._effects.send_again(self.state)

    def issue(self, command: C, place: Callable[[], str]) -> C:
        del place  # what is new cannot fail to fit
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
