"""What stands in for activities and child workflows in a test, and a record of how they were called."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

__all__ = ["Call", "Mock", "Mocks"]


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()
"""Where None could be meant."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt of an activity, or one start of a child workflow."""

    name: str
    """Of the activity or workflow."""
    input: Any
    """Converted to the type that the function asks for; plain JSON values where nothing is known of it."""
    instance_id: str
    """Of the workflow that called."""
    attempt: int
    at: datetime
    """Virtual time."""
    idempotency_key: str = ""
    """Of an activity."""


@dataclass(frozen=True, kw_only=True)
class Mock:
    """What is to happen instead of a call. All fields None: the real thing."""

    returns: Any = NOTHING
    raises: BaseException | type[BaseException] | None = None
    calls: Callable[..., Any] | None = None
    takes: timedelta | None = None
    on: Collection[int] | None = None
    """For which calls it is, 1 being the first; None: for all."""

    @property
    def stands_in(self) -> bool:
        """Whether the real thing is not to run."""
        return self.returns is not NOTHING or self.raises is not None or self.calls is not None

    async def outcome(self, value: Any) -> Any:
        """What it returns for an input; raises what it is to raise."""
        if self.raises is not None:
            raise self.raises
        if self.calls is None:
            return self.returns
        result = self.calls(value) if inspect.signature(self.calls).parameters else self.calls()
        return await result if inspect.isawaitable(result) else result


class Mocks:
    """By name of activity or workflow. Later ones go before earlier ones."""

    def __init__(self) -> None:
        self._mocks: dict[str, list[Mock]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, name: str, mock: Mock) -> None:
        self._mocks.setdefault(name, []).insert(0, mock)

    def next(self, name: str) -> tuple[Mock, timedelta]:
        """What stands in for the next call of this name, and how long that call takes."""
        self._counts[name] += 1
        number = self._counts[name]
        fitting = [mock for mock in self._mocks.get(name, ()) if mock.on is None or number in mock.on]
        stand_in = next((mock for mock in fitting if mock.stands_in), Mock())
        takes = next((mock.takes for mock in fitting if mock.takes is not None), timedelta())
        return stand_in, takes
