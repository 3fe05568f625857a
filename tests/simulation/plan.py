"""What is going to go wrong, drawn from the seed: a list of faults with their times, and a level of noise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.simulation.trouble import NO_NOISE, Noise

__all__ = ["FAULT_POINTS", "FOCUSES", "Fault", "Plan", "focused", "random_plan"]

FAULT_POINTS = {
    "orchestrator": ("claim.after", "batch.advanced", "commit.before", "commit.after"),
    "worker": ("worker.received", "worker.executed", "worker.answered", "worker.held"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    at: float
    kind: str
    whom: float = 0.0
    """Of those that it may strike, which one: a fraction."""
    amount: float = 0.0
    """Seconds, mostly."""
    point: str = ""
    steps: int = 0
    """How many steps of the event loop a process has left before it crashes."""

    def __str__(self) -> str:
        point = f" at {self.point}" if self.point else ""
        return f"{self.at:.2f} s: {self.kind}{point} ({self.amount:.1f}, {self.whom:.2f}, {self.steps})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One cluster and its misfortunes."""

    orchestrators: int
    workers: int
    clients: int
    partitions: int
    stories: int
    noise: Noise
    faults: list[Fault] = field(default_factory=list)
    duration: float
    """Seconds until all faults are over."""
    lossy: bool
    """Messages may be lost without a wipe, so what is unanswered is sent again before long (rule B2)."""
    lease: float
    batch: int
    residents: int
    replay_check: bool
    concurrency: int
    horizon: float
    """Seconds ahead for which an owner keeps timers in memory."""
    prefetch: int
    skew: float
    deadly: bool
    """Some activities kill their workers, and a few such losses are too many."""
    max_losses: int
    behind: str
    """What all orchestrators but one lack that begin with an older release; see `workload.RELEASES`."""
    fan_out_window: int


_KINDS = {
    "crash": 8,
    "crash at a point": 6,
    "pause": 5,
    "leave": 3,
    "clock": 2,
    "database clock": 1,
    "database away": 2,
    "slow disk": 1,
    "broker away": 2,
    "connection": 5,
    "cancel": 2,
    "blocked": 1,
    "wipe": 1,
    "join": 1,
}
_LOSSY = {"purge": 2, "delete": 1}
_LACKS = ("workflow", "workflow", "version", "patch", "events")


def random_plan(seed: object) -> Plan:
    chance = Random(f"{seed}:plan")
    duration = chance.uniform(8, 20)
    lossy = chance.random() < 0.4
    kinds = _KINDS | (_LOSSY if lossy else {})
    count = chance.choice((0, 2, 4, 8, 12))
    deadly = chance.random() < 0.15
    return Plan(
        orchestrators=chance.choice((1, 2, 2, 3)),
        workers=chance.choice((1, 2)),
        clients=chance.choice((1, 1, 2)),
        partitions=chance.choice((1, 2, 3, 4)),
        stories=chance.choice((2, 3, 4, 6)),
        noise=_random_noise(chance),
        faults=_faults(chance, kinds, duration, count),
        duration=duration,
        lossy=lossy,
        lease=chance.choice((1.0, 2.0, 4.0)),
        batch=chance.choice((1, 3, 500)),
        residents=chance.choice((1, 3, 10_000)),
        replay_check=chance.random() < 0.25,
        concurrency=chance.choice((1, 2, 8)),
        horizon=chance.choice((5.0, 5000.0)),
        prefetch=chance.choice((1, 2, 20, 200)),
        skew=chance.choice((0.0, 0.0, 0.5, 30.0)),
        deadly=deadly,
        max_losses=2 if deadly else 100,
        behind=chance.choice(_LACKS) if chance.random() < 0.25 else "",
        fan_out_window=chance.choice((1, 2, 2_000)),
    )


_QUIET: dict[str, Any] = {"faults": [], "noise": NO_NOISE}
_FOCUSES: dict[str, tuple[dict[str, int], int, dict[str, Any]]] = {
    "behind": ({"crash": 1, "leave": 1}, 6, {"orchestrators": 3, "behind": "workflow"}),
    "bells": ({"connection": 1}, 12, {}),
    "clocks": (
        {"clock": 2, "database clock": 1, "crash": 1, "leave": 1},
        16,
        {"orchestrators": 3, "skew": 30.0, "lease": 1.0},
    ),
    "commits": ({}, 0, {"orchestrators": 2, "partitions": 3}),
    "crowds": ({}, 0, {"stories": 12, **_QUIET}),
    "deadly": (
        {},
        0,
        {"deadly": True, "max_losses": 2, "faults": [], "noise": Noise(ambiguous=0.1, dropped=0.1)},
    ),
    "events": ({"crash": 1}, 2, {"orchestrators": 3, "behind": "events", "stories": 12}),
    "letters": ({}, 0, {"orchestrators": 1, "partitions": 4, "stories": 12, "lease": 1.0, "faults": []}),
    "losses": (_LOSSY, 10, {"lossy": True}),
    "takeovers": (
        {"pause": 1},
        12,
        {
            "orchestrators": 2,
            "partitions": 1,
            "stories": 6,
            "lease": 0.5,
            "noise": NO_NOISE,
            "horizon": 5000.0,
        }
        | {"residents": 10_000, "prefetch": 20, "concurrency": 8, "duration": 30.0},
    ),
    "wipes": (
        {"wipe": 3, "crash": 3, "pause": 3, "leave": 1, "crash at a point": 2},
        20,
        {"orchestrators": 3, "lossy": False, "lease": 1.0, "clients": 1},
    ),
}
"""The faults, how many of them (0: those of the plan), and what else is otherwise."""
FOCUSES = tuple(_FOCUSES)


def focused(plan: Plan, focus: str, seed: object) -> Plan:
    """The plan with much of one kind of trouble, for what is rarely seen otherwise."""
    if not focus:
        return plan
    chance = Random(f"{seed}:{focus}")
    kinds, count, changes = _FOCUSES[focus]
    plan = replace(plan, **changes)
    if count:
        plan = replace(plan, faults=_faults(chance, kinds, plan.duration, count))
    match focus:
        case "bells":
            return replace(plan, noise=replace(plan.noise, dropped=0.3))
        case "commits":
            return replace(plan, noise=replace(plan.noise, refused=0.02, ambiguous=0.05, late=0.1))
        case "letters":
            return replace(plan, noise=replace(NO_NOISE, ambiguous=0.15, latency=plan.noise.latency))
        case "takeovers":  # long enough that the other takes over, short enough that the first comes back
            struck = [
                replace(fault, amount=chance.uniform(1.2, 3.0), whom=chance.choice((0.0, 0.99)))
                for fault in plan.faults
            ]
            return replace(plan, faults=struck)
        case _:
            return plan


def _faults(chance: Random, kinds: dict[str, int], duration: float, count: int) -> list[Fault]:
    faults = [_random_fault(chance, kinds, duration) for _ in range(count)]
    return sorted(faults, key=lambda fault: fault.at)


def _random_noise(chance: Random) -> Noise:
    level = chance.choice((0.0, 0.0, 0.01, 0.04))
    return Noise(
        refused=level * chance.random(),
        ambiguous=level * chance.random(),
        late=level * chance.random(),
        dropped=level * chance.random(),
        slow=chance.choice((0.0, 0.02)),
        latency=chance.choice((0.0005, 0.003, 0.02)),
    )


def _random_fault(chance: Random, kinds: dict[str, int], duration: float) -> Fault:
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    point = ""
    if kind == "crash at a point":
        points = FAULT_POINTS[chance.choice(("orchestrator", "orchestrator", "worker"))]
        point = chance.choice(points)
    return Fault(
        at=chance.uniform(0.2, duration),
        kind=kind,
        whom=chance.random(),
        amount=chance.choice((0.2, 1.0, 3.0, 7.0)) * chance.uniform(0.5, 1.5),
        point=point,
        steps=int(chance.choice((0, 10, 60, 300)) * chance.random()),
    )
