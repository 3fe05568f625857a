"""What workflows do: small programs that one workflow function interprets, and what may come out of them.

A program is the workflow's input, so it is deterministic whatever else happens. `outcome` tells its result without the
engine; where two things race, that result has alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "ALWAYS",
    "LOCKED_OUT",
    "LOST",
    "POISON",
    "WORKFLOW",
    "Branches",
    "Call",
    "Cancelled",
    "Child",
    "Children",
    "Deadly",
    "Echo",
    "Expect",
    "Expected",
    "Fail",
    "FanOut",
    "Fragile",
    "Job",
    "Locked",
    "OneOf",
    "Outcome",
    "Overdue",
    "Poison",
    "Race",
    "Renew",
    "Send",
    "Sleep",
    "Step",
    "broken",
    "doubled",
    "events_expected",
    "fits",
    "outcome",
]


class _Step(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Call(_Step, frozen=True, kw_only=True, tag=True):
    """An activity that fails `fails` times, and is tried `attempts` times."""

    value: int
    fails: int = 0
    attempts: int = 3
    seconds: float = 0.0
    wait: float = 0.1
    """Seconds before the second attempt."""
    kills: int = 0
    """How often it ends its worker's process before it lets it live."""


class FanOut(_Step, frozen=True, kw_only=True, tag=True):
    """Activities at the same time."""

    values: list[int]


class Sleep(_Step, frozen=True, kw_only=True, tag=True):
    seconds: float


class Expect(_Step, frozen=True, kw_only=True, tag=True):
    """An external event. With a timeout and a sender either may win."""

    name: str
    timeout: float | None = None
    sent: bool = True
    """Somebody will send it."""


class Send(_Step, frozen=True, kw_only=True, tag=True):
    """An event to another instance."""

    to: str
    name: str


class Child(_Step, frozen=True, kw_only=True, tag=True):
    steps: list[Step]


class Children(_Step, frozen=True, kw_only=True, tag=True):
    programs: list[list[Step]]


class Branches(_Step, frozen=True, kw_only=True, tag=True):
    """Concurrent branches of the same workflow."""

    parts: list[list[Step]]


class Race(_Step, frozen=True, kw_only=True, tag=True):
    """An activity against a timer that is much too long, which is then cancelled."""

    value: int


class Cancelled(_Step, frozen=True, kw_only=True, tag=True):
    """Something that is begun and cancelled at once, or a moment later."""

    what: str
    """`activity`, `timer` or `child`."""
    later: bool


class Deadly(_Step, frozen=True, kw_only=True, tag=True):
    """Activities at the same time, some of which kill their worker (rule W1)."""

    calls: list[Call]


class Overdue(_Step, frozen=True, kw_only=True, tag=True):
    """An activity that takes longer than it may (rule W4)."""

    limit: str
    """Which of its limits: `start_to_close`, `schedule_to_close` or `heartbeat_timeout`."""
    value: int


class Poison(_Step, frozen=True, kw_only=True, tag=True):
    """An activity with a result that the database refuses to keep in a history (rule C6)."""


class Locked(_Step, frozen=True, kw_only=True, tag=True):
    """Steps that are taken while a lock is held. With a timeout it may not be free in time."""

    key: str
    steps: list[Step]
    timeout: float | None = None


class Echo(_Step, frozen=True, kw_only=True, tag=True):
    """A uuid and a random number make the trip to an activity and back, and must still be the same."""


class Renew(_Step, frozen=True, kw_only=True, tag=True):
    """Continue as new with what is left."""


class Fragile(_Step, frozen=True, kw_only=True, tag=True):
    """An activity, or a child with one, that fails until somebody has mended it; then the workflow is rewound."""

    name: str
    nested: bool


class Fail(_Step, frozen=True, kw_only=True, tag=True):
    message: str


Step: TypeAlias = (
    Call
    | FanOut
    | Sleep
    | Expect
    | Send
    | Child
    | Children
    | Branches
    | Race
    | Cancelled
    | Deadly
    | Echo
    | Locked
    | Overdue
    | Poison
    | Renew
    | Fail
    | Fragile
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The input of the workflow."""

    label: str = ""
    """Tells starts apart."""
    steps: list[Step]
    so_far: list[Any] = []
    """What the steps of earlier generations came to."""


ALWAYS = 1000
"""As a number of kills."""
LOCKED_OUT = "locked out"
"""The result of a lock that was not free in time."""
LOST = "lost"
"""The result of an activity that was given up because its workers died with it."""
WORKFLOW = "interpret"
"""The name of the one workflow."""
POISON = "indigestible"
"""What the simulated database refuses to keep in a history."""


def broken(name: str) -> str:
    """How a fragile activity fails."""
    return f"{name} is broken"


def doubled(value: int) -> int:
    """What the activity makes of a number."""
    return 2 * value + 1


# What may come out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of these."""

    values: tuple[Any, ...]


Expected: TypeAlias = Any
"""JSON values with `OneOf`s in them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ends, if nobody terminates it."""

    failed: str | None
    """The message."""
    results: list[Expected]


def outcome(steps: Sequence[Step], *, mended: bool = True) -> Outcome:
    """`mended`: whether what is fragile was mended before it ended."""
    results: list[Expected] = []
    for step in steps:
        if isinstance(step, Fragile) and not mended:
            return Outcome(broken(step.name), results)
        if isinstance(step, Fail):
            return Outcome(step.message, results)
        value = _value(step)
        if value is not None:
            results.append(value)
    return Outcome(None, results)


def _value(step: Step) -> Expected | None:
    """What a step adds to the results; None: nothing."""
    match step:
        case Call(value=value, fails=fails, attempts=attempts):
            return "failed" if fails >= attempts else doubled(value)
        case Race(value=value):
            return doubled(value)
        case FanOut(values=values):
            return sum(map(doubled, values))
        case Expect():
            return _event(step)
        case Deadly() | Child() | Children() | Branches() | Locked():
            return _nested_value(step)
        case _:
            return _WORDS.get(type(step))


def _nested_value(step: Deadly | Child | Children | Branches | Locked) -> Expected:
    match step:
        case Locked(steps=steps, timeout=timeout):
            held = outcome(steps).results
            return held if timeout is None else OneOf((held, LOCKED_OUT))
        case Deadly(calls=calls):
            return [LOST if call.kills >= ALWAYS else doubled(call.value) for call in calls]
        case Child(steps=steps):
            return _child(steps)
        case Children(programs=programs):
            return [_child(program) for program in programs]
        case Branches(parts=parts):
            return [outcome(part).results for part in parts]


_WORDS: Mapping[type, str] = MappingProxyType(
    {Sleep: "slept", Cancelled: "cancelled", Echo: "same", Overdue: "timed out", Fragile: "mended"}
)


def _event(step: Expect) -> Expected:
    if not step.sent:
        return "timeout"
    return step.name if step.timeout is None else OneOf((step.name, "timeout"))


def _child(steps: Sequence[Step]) -> Expected:
    end = outcome(steps)
    return "child failed" if end.failed is not None else end.results


def fits(expected: Expected, actual: Any) -> bool:
    """Whether a result is one of those that may come out. Any activity may be lost with its workers; the audit sees to it
    that none is without good reason."""
    if isinstance(expected, OneOf):
        return any(fits(value, actual) for value in expected.values)
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(fits(e, a) for e, a in zip(expected, actual, strict=True))
        )
    return bool(actual in (expected, LOST))


def events_expected(steps: Sequence[Step]) -> list[Expect]:
    """The events that somebody has to send to the instance itself, those of its branches included."""
    found: list[Expect] = []
    for step in steps:
        match step:
            case Expect(sent=True):
                found.append(step)
            case Branches(parts=parts):
                for part in parts:
                    found += events_expected(part)
            case _:
                pass
    return found
