"""What workers say that they hold, by their beats (rule W2). In memory only: a new owner hears it anew.

Only tasks that take long are in beats, so this is small however many activities there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tenuto.core.events import OptionalRaw
from tenuto.core.turn import TimedOut
from tenuto.messages import Held, TaskRef, task_ref

__all__ = ["Beats", "Holding"]

Limit: TypeAlias = Literal["start_to_close", "heartbeat_timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One task in a worker's hands, as of the last beat about it."""

    heard: float
    """When that beat came, in loop time."""
    worker: str
    """Whose hands."""
    pool: str
    """Which it serves; empty if it does not say."""
    began: float | None
    """Since when the task has been running, in loop time; None: it waits for a slot."""
    details: OptionalRaw
    """What the activity gave to its last heartbeat."""
    held: bool
    """The beats stand for it, and not the broker."""
    start_to_close: float | None
    heartbeat_timeout: float | None

    def over(self, now: float, life: float) -> Limit | None:
        """Which limit it has outrun, though its worker was given time to say so itself."""
        if self.start_to_close is not None and self.began is not None:
            end = self.began + self.start_to_close + life
            if end < now:
                return "start_to_close"
        if self.heartbeat_timeout is not None and self.heard + max(self.heartbeat_timeout, life) < now:
            return "heartbeat_timeout"
        return None


class Beats:
    """The beats of one partition's tasks."""

    def __init__(self) -> None:
        self._by_instance: dict[str, dict[TaskRef, Holding]] = {}

    def __contains__(self, task: TaskRef) -> bool:
        return self.get(task) is not None

    def hear(self, worker: str, held: Held, now: float, *, pool: str = "") -> bool:
        """A beat of this worker names the task. True if that is new, or that it is held, so that nobody has looked yet
        whether somebody waits for it."""
        task = task_ref(held)
        began = None if held.seconds is None else now - held.seconds
        holdings = self._by_instance.setdefault(held.instance, {})
        known = holdings.get(task)
        holdings[task] = Holding(
            heard=now,
            worker=worker,
            pool=pool,
            began=began,
            details=held.details,
            held=held.held,
            start_to_close=held.start_to_close,
            heartbeat_timeout=held.heartbeat_timeout,
        )
        return known is None or (held.held and not known.held)

    def get(self, task: TaskRef) -> Holding | None:
        return self._by_instance.get(task.instance, {}).get(task_ref(task))

    def forget(self, task: TaskRef) -> Holding | None:
        """Nobody has it any more. Gives what was known of it."""
        holdings = self._by_instance.get(task.instance)
        if holdings is None:  # nearly always: most tasks are never in a beat
            return None
        known = holdings.pop(task_ref(task), None)
        if not holdings:
            del self._by_instance[task.instance]
        return known

    def of(self, instance: str) -> list[tuple[TaskRef, Holding]]:
        """The tasks of one instance that are held."""
        return list(self._by_instance.get(instance, {}).items())

    def pools(self) -> Counter[str]:
        """How many tasks are held, by pool."""
        return Counter(
            holding.pool for holdings in self._by_instance.values() for holding in holdings.values()
        )

    def over(self, now: float, life: float) -> Iterator[tuple[TaskRef, TimedOut]]:
        """Forget what has been silent for `life` seconds, save holds: their timers are for that. What has outrun a
        limit is given, with what its instance is to be told (rule W4)."""
        for holdings in list(self._by_instance.values()):
            for task, holding in list(holdings.items()):
                limit = holding.over(now, life)
                if limit is not None:
                    self.forget(task)
                    yield (
                        task,
                        TimedOut(
                            command=task.command, attempt=task.attempt, limit=limit, details=holding.details
                        ),
                    )
                elif not holding.held and holding.heard + max(life, holding.heartbeat_timeout or 0.0) < now:
                    self.forget(task)
