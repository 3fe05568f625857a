"""Replay: the history is walked once; notifications are told to the code, commands are compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from tenuto.core.events import (
    Command,
    Event,
    ExecutionTerminated,
    Notification,
    PatchRecorded,
    TurnStarted,
)
from tenuto.core.mismatch import explain_mismatch, same_call
from tenuto.core.state import State
from tenuto.errors import NonDeterminismError

__all__ = ["Playback"]

C = TypeVar("C", bound=Command)


class Playback:
    """The recorder of a replay."""

    __slots__ = ("_history", "_position", "max_payload_bytes", "state", "strict")

    replaying = True

    def __init__(
        self, state: State, history: Sequence[Event], *, max_payload_bytes: int = sys.maxsize
    ) -> None:
        self.state = state
        self.max_payload_bytes = max_payload_bytes
        self._history = history
        self._position = 0
        self.strict = False
        """Whether inputs and outputs are compared too (`Registry.strict_replay`)."""

    def next(self, place: Callable[[], str]) -> Notification | None:
        """The next notification to tell the code; None at the end.

        Raises:
            NonDeterminismError: the history has a command here that the code did not ask for.
        """
        self._pass_over_deprecated()
        if self._position >= len(self._history):
            return None
        event = self._history[self._position]
        if isinstance(event, Command):
            raise self._mismatch(None, place)
        return event

    @property
    def version_taken(self) -> str | None:
        """The version that the instance has taken with a turn, not having been started with one."""
        turns = (event.version for event in self._history if isinstance(event, TurnStarted))
        return next((version for version in turns if version is not None), None)

    @property
    def ends_there(self) -> bool:
        """Whether the instance is terminated directly after the event that `next` gave."""
        following = self._history[self._position + 1 : self._position + 2]
        return len(following) == 1 and isinstance(following[0], ExecutionTerminated)

    def record(self, event: Notification) -> None:
        self._position += 1
        self.state.apply(event)

    def issue(self, command: C, place: Callable[[], str]) -> C:
        self._pass_over_deprecated()
        if self._position < len(self._history):
            recorded = self._history[self._position]
            strict = self.strict and command.id != self.state.replaced
            if same_call(recorded, command, strict=strict):
                self._position += 1
                self.state.apply(recorded)
                return recorded
        raise self._mismatch(command, place)

    def patch(self, passed: PatchRecorded) -> bool:
        """A history that does not have the patch here is from before it, or was written by code that passes its patches
        elsewhere; that shows at the next command."""
        position = self._position
        while position < len(self._history) and isinstance(event := self._history[position], PatchRecorded):
            position += 1
            if event.patch == passed.patch:
                self._take(position)
                return True
            if not event.deprecated:
                break
        return False

    def fold_rest(self) -> None:
        """Take the rest into the state, without the code, and let go of the history: the state outlives it.

        Raises:
            Exception: an event makes no sense where it stands; the state is that before it.
        """
        rest, self._history, self._position = self._history[self._position :], (), 0
        for event in rest:
            self.state.apply(event)

    def _mismatch(self, issued: Command | None, place: Callable[[], str]) -> NonDeterminismError:
        return explain_mismatch(
            self.state, self._history, self._position, issued, place(), strict=self.strict
        )

    def _pass_over_deprecated(self) -> None:
        """Patches here that no code need ask for any more."""
        position = self._position
        while position < len(self._history) and isinstance(event := self._history[position], PatchRecorded):
            if not event.deprecated:
                break
            position += 1
        self._take(position)

    def _take(self, end: int) -> None:
        """The history up to there fits."""
        while self._position < end:
            self.state.apply(self._history[self._position])
            self._position += 1
