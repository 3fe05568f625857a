"""Which kinds of events may be written: those that every live orchestrator reads (rule U1).

During a rolling upgrade an orchestrator of the older release may take over any partition, and must be able to go on
with every history that it finds there.
"""

from __future__ import annotations

from collections.abc import Iterable

from tenuto.core.events import EVENT_FORMAT, newest
from tenuto.core.turn import Turn
from tenuto.errors import StalledError
from tenuto.store.protocol import Member

__all__ = ["Readers", "UnreadYetError"]


class UnreadYetError(StalledError):
    """A turn would write a kind of event that some live orchestrator cannot read yet."""


class Readers:
    """What the live orchestrators read, as of the last beat."""

    def __init__(self) -> None:
        self._level = 1
        self._oldest = "an orchestrator"

    def note(self, members: Iterable[Member]) -> bool:
        """Take over from a beat who is alive. True: kinds of events may be written now that could not be before."""
        before = self._level
        oldest = min(members, key=lambda member: member.event_format, default=None)
        if oldest is not None:
            self._level = oldest.event_format
            self._oldest = f"orchestrator {oldest.owner} (release {oldest.release or 'unknown'})"
        return self._level > before

    def check(self, instance: str, turn: Turn) -> None:
        """Let a turn pass whose events all can be read.

        Raises:
            UnreadYetError: somebody cannot read them yet, so they must not be written.
        """
        if self._level >= EVENT_FORMAT:
            return
        level, kind = newest((*turn.events, *turn.next_generation))
        if level > self._level:  # rule U1
            raise UnreadYetError(
                f"instance {instance!r} would write an event {kind} (event format {level}), which {self._oldest} "
                f"cannot read: it reads format {self._level}. The instance goes on by itself once that one is "
                "upgraded or stopped"
            )
