"""Where events go: on replay they are compared with the history, live they are added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from tenuto.core.events import Command, Notification, PatchRecorded
from tenuto.core.state import State

C = TypeVar("C", bound=Command)

__all__ = ["Recorder"]


class Recorder(Protocol):
    """What stands between the code of an instance and its history. `Playback` replays, `TurnBuilder` records."""

    state: State
    max_payload_bytes: int
    """The largest payload that the code may hand over."""

    @property
    def replaying(self) -> bool:
        """Whether the code only repeats what it did before."""
        ...

    def record(self, event: Notification) -> None:
        """The world answered: take the event into the state (and, live, into the turn)."""
        ...

    def issue(self, command: C, place: Callable[[], str]) -> C:
        """The code asks for something. Gives the command as it stands in the history, whose data win.

        `place` tells the line in the user's file, for the message.

        Raises:
            NonDeterminismError: the history says otherwise.
        """
        ...

    def patch(self, passed: PatchRecorded) -> bool:
        """The code is at a patch. Gives whether it is to go the new way: so it is where nothing is recorded yet, and
        where the history has the patch at this place; a history without it is from before."""
        ...
