"""External events: who waits for which name, and what came before anybody waited.

Names are compared by `casefold`. Per name, events are served first in, first out, to waiters in the order in which
they began to wait; one event completes one waiter. At no time does a name have both.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

from tenuto import payloads
from tenuto.core.driver import Driver
from tenuto.core.events import EventRaised, TaskCancelled
from tenuto.core.tasks import Task
from tenuto.errors import PayloadError

__all__ = ["EventTask", "Mailbox"]

T = TypeVar("T")


class EventTask(Task[T]):
    """Waits for an external event, perhaps with a timer beside it."""

    __slots__ = ("_hint", "_mailbox", "name", "timer")

    def __init__(self, driver: Driver, mailbox: Mailbox, name: str, hint: Any) -> None:
        super().__init__(driver)
        self._mailbox = mailbox
        self._hint = hint
        self.name = name
        self.timer: int | None = None
        """The command of the timer that ends the wait."""

    def receive(self, event: EventRaised) -> None:
        """The wait is over, and its timer with it."""
        self._clear_timer()
        try:
            value = payloads.decode(event.payload, self._hint)
        except PayloadError as error:
            self.fail(PayloadError(f"external event {event.name!r}: {error}"))
        else:
            self.resolve(value)

    def expire(self) -> None:
        """The time is over; the wait takes nothing."""
        self._mailbox.withdraw(self)
        self.fail(TimeoutError(f"no external event {self.name!r} came in time"))

    def _withdraw(self) -> None:
        self._mailbox.withdraw(self)
        self._clear_timer()
        super()._withdraw()

    def _clear_timer(self) -> None:
        if self.timer is not None:
            self._driver.forget(self.timer)
            self._driver.issue(TaskCancelled(id=self._driver.next_id, command=self.timer))
            self.timer = None


class Mailbox:
    """The external events of one generation."""

    __slots__ = ("_arrived", "_events", "_waiters", "kept")

    def __init__(self) -> None:
        self.kept = 0
        """Events that nobody has taken."""
        self._arrived = 0
        self._events: dict[str, deque[tuple[int, EventRaised]]] = {}
        self._waiters: dict[str, dict[EventTask[Any], None]] = {}

    def put(self, event: EventRaised) -> None:
        """An event came: it goes to whoever has waited longest, or is kept."""
        name = event.name.casefold()
        waiters = self._waiters.get(name)
        if waiters:
            waiter = next(iter(waiters))
            self.withdraw(waiter)
            waiter.receive(event)
            return
        self._arrived += 1
        self.kept += 1
        self._events.setdefault(name, deque()).append((self._arrived, event))

    def take(self, name: str) -> EventRaised | None:
        """The oldest event of that name that is kept."""
        name = name.casefold()
        kept = self._events.get(name)
        if kept is None:
            return None
        _, event = kept.popleft()
        self.kept -= 1
        if not kept:
            del self._events[name]
        return event

    def wait(self, waiter: EventTask[Any]) -> None:
        self._waiters.setdefault(waiter.name.casefold(), {})[waiter] = None

    def withdraw(self, waiter: EventTask[Any]) -> None:
        """It waits no longer, if it did."""
        name = waiter.name.casefold()
        waiters = self._waiters.get(name, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(name, None)

    def awaited(self) -> list[str]:
        """The names, as the code gave them, of the events that are waited for; one for each waiter."""
        return [waiter.name for waiters in self._waiters.values() for waiter in waiters]

    def unconsumed(self) -> list[EventRaised]:
        """What is kept, of every name, in the order of its arrival."""
        kept = sorted(
            (entry for entries in self._events.values() for entry in entries), key=lambda entry: entry[0]
        )
        return [event for _, event in kept]
