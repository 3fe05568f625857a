"""Who holds which lock, as the histories say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tenuto.core.events import (
    Event,
    EventRaised,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRewound,
    ExecutionTerminated,
    LockRequested,
    TaskCancelled,
)
from tenuto.core.reserved import Ticket, granted_ticket

__all__ = ["LockBook"]


class LockBook:
    """Complains when a lock has two holders. Commits come one after the other, so a lock that is granted was given
    back in an earlier one."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._wanted: dict[Ticket, str] = {}
        """The key of what each ticket asks for, until it is given back."""
        self._holders: dict[str, Ticket] = {}
        self._rewound: dict[tuple[str, str, int], datetime] = {}
        """When a generation was rewound last."""

    def follow(self, instance: str, run: str, generation: int, event: Event) -> None:
        place = (instance, run, generation)
        match event:
            case LockRequested(id=command, key=key):
                self._wanted[self._ticket(place, command)] = key
            case EventRaised(name=name, payload=payload):
                self._grant(granted_ticket(name, payload))
            case TaskCancelled(command=command):
                self._give_back(self._ticket(place, command))
            case ExecutionRewound(at=at):
                self._rewound[place] = at
            case ExecutionCompleted() | ExecutionFailed() | ExecutionTerminated():
                self.end(instance, run)
            case _:
                pass

    def end(self, instance: str, run: str) -> None:
        """Whatever the run holds or waits for is given back: it, or its generation, is over."""
        for ticket in [one for one in self._wanted if (one.instance, one.run) == (instance, run)]:
            self._give_back(ticket)

    def _ticket(self, place: tuple[str, str, int], command: int) -> Ticket:
        instance, run, generation = place
        return Ticket(
            instance=instance,
            run=run,
            generation=generation,
            command=command,
            rewound_at=self._rewound.get(place),
        )

    def _grant(self, ticket: Ticket | None) -> None:
        key = None if ticket is None else self._wanted.get(ticket)
        if ticket is None or key is None:
            return  # it was given back meanwhile
        holder = self._holders.setdefault(key, ticket)
        if holder != ticket:
            self._complain(f"lock {key!r} is held by {holder} and was granted to {ticket}")

    def _give_back(self, ticket: Ticket) -> None:
        key = self._wanted.pop(ticket, None)
        if key is not None and self._holders.get(key) == ticket:
            del self._holders[key]
