"""Random programs."""

from __future__ import annotations

from random import Random

from tests.simulation.program import (
    ALWAYS,
    Branches,
    Call,
    Cancelled,
    Child,
    Children,
    Deadly,
    Echo,
    Expect,
    Fail,
    FanOut,
    Locked,
    Overdue,
    Race,
    Renew,
    Sleep,
    Step,
)

__all__ = ["random_steps"]


def random_steps(
    chance: Random, name: str, *, depth: int = 2, top: bool = True, deadly: bool = False
) -> list[Step]:
    """A program. `name` makes the names of its events unique; `top`: not a child's or a branch's; `deadly`: it may kill
    workers."""
    steps: list[Step] = [
        _random_step(chance, f"{name}.{number}", depth, top=top)
        for number in range(chance.randint(1, 5 if top else 2))
    ]
    if depth and chance.random() < 0.3:
        steps.insert(chance.randint(0, len(steps)), Renew())
    if deadly and chance.random() < 0.5:
        steps.insert(chance.randint(0, len(steps)), _random_deadly(chance))
    if chance.random() < 0.08:
        steps.append(Fail(message=f"{name} has failed"))
    return steps


def _random_step(chance: Random, name: str, depth: int, *, top: bool) -> Step:
    kinds = {
        "call": 6,
        "fan": 3,
        "sleep": 3,
        "race": 1,
        "cancel": 2,
        "echo": 1,
        "deaf": 1,
        "overdue": 1,
        "lock": 2,
    }
    if top:
        kinds["event"] = 4
    if depth:
        kinds |= {"child": 3, "children": 1, "branches": 2}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    if kind in {"child", "children", "branches"}:
        return _random_nest(chance, kind, name, depth, top=top)
    return _random_leaf(chance, kind, name)


def _random_leaf(chance: Random, kind: str, name: str) -> Step:
    match kind:
        case "call":
            return _random_call(chance)
        case "fan":
            return FanOut(values=[chance.randint(0, 9) for _ in range(chance.randint(0, 5))])
        case "sleep":
            return Sleep(seconds=chance.choice((0.0, 0.3, 1.0, 4.0)))
        case "cancel":
            what = chance.choice(("activity", "timer", "child"))
            return Cancelled(what=what, later=chance.random() < 0.5)
        case "deaf":
            return Expect(name=name, timeout=chance.choice((0.0, 0.5, 2.0)), sent=False)
        case _:
            return _random_other(chance, kind, name)


def _random_other(chance: Random, kind: str, name: str) -> Step:
    match kind:
        case "event":
            return Expect(name=name, timeout=chance.choice((None, None, 1.5)))
        case "overdue":
            limit = chance.choice(("start_to_close", "schedule_to_close", "heartbeat_timeout"))
            return Overdue(limit=limit, value=chance.randint(0, 9))
        case "race":
            return Race(value=chance.randint(0, 9))
        case "lock":
            return _random_lock(chance, name)
        case _:
            return Echo()


def _random_lock(chance: Random, name: str) -> Locked:
    """What is done meanwhile asks for no other lock, so nobody waits for somebody who waits for him."""
    kinds = [chance.choice(("call", "fan", "sleep", "cancel")) for _ in range(chance.randint(1, 2))]
    return Locked(
        key=chance.choice(("one", "other")),
        steps=[_random_leaf(chance, kind, name) for kind in kinds],
        timeout=chance.choice((None, None, 0.5)),
    )


def _random_deadly(chance: Random) -> Deadly:
    """Killers among others, which are folded with them."""
    calls = [
        Call(
            value=chance.randint(0, 9),
            kills=chance.choice((0, 0, 1, 2, ALWAYS)),
            attempts=1,
            seconds=chance.choice((0.0, 0.3, 1.0)),
        )
        for _ in range(chance.randint(1, 4))
    ]
    return Deadly(calls=calls)


def _random_nest(chance: Random, kind: str, name: str, depth: int, *, top: bool) -> Step:
    match kind:
        case "child":
            return Child(steps=random_steps(chance, name, depth=depth - 1, top=False))
        case "children":
            count = chance.randint(1, 3)
            return Children(
                programs=[random_steps(chance, f"{name}.{n}", depth=0, top=False) for n in range(count)]
            )
        case _:
            return Branches(parts=[_branch(chance, f"{name}.{n}", top=top) for n in range(2)])


def _branch(chance: Random, name: str, *, top: bool) -> list[Step]:
    count = chance.randint(1, 2)
    return [_random_step(chance, f"{name}.{number}", 0, top=top) for number in range(count)]


def _random_call(chance: Random) -> Call:
    return Call(
        value=chance.randint(0, 99),
        fails=chance.choice((0, 0, 0, 0, 1, 2, 3)),
        attempts=chance.choice((1, 3, 3)),
        seconds=chance.choice((0.0, 0.0, 0.1, 1.0, 4.0)),
        wait=chance.choice((0.05, 0.5)),
    )
