"""How often things go wrong on the way, and how long they take. All chance is drawn from named, seeded streams."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from random import Random

__all__ = ["NO_NOISE", "Fate", "Noise", "Trouble"]


class Fate(Enum):
    """What becomes of one statement."""

    FINE = auto()
    REFUSED = auto()
    """An error, and nothing was done."""
    AMBIGUOUS = auto()
    """Done, and yet an error."""
    LATE = auto()
    """An error now, and done some time later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Chances, per statement or message."""

    refused: float = 0.0
    ambiguous: float = 0.0
    late: float = 0.0
    dropped: float = 0.0
    """A publish loses its connection on the way; a prefix of its messages arrives, and some confirms get back."""
    slow: float = 0.0
    """Something takes a hundred times as long."""
    latency: float = 0.002
    """Seconds, on the average, one way. 0: everything at once, and nothing random."""


NO_NOISE = Noise()


class Trouble:
    """Draws fates and delays. Quiet once `calm` was called: faults have to stop some time."""

    def __init__(self, seed: object, noise: Noise) -> None:
        self._chance = Random(f"{seed}:trouble")
        self._noise = noise
        self._calm = False
        self.slow_disk = False
        self.counts: dict[str, int] = {}
        """What was injected, by kind."""

    def calm(self) -> None:
        self._calm = True
        self.slow_disk = False

    @property
    def exact(self) -> bool:
        """Nothing takes any time: for contract suites."""
        return self._noise.latency == 0

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def delay(self) -> float:
        """Seconds, one way."""
        if self.exact:
            return 0.0
        usual = self._chance.expovariate(1 / self._noise.latency)
        if not self._calm and self._chance.random() < self._noise.slow:
            self.count("slow")
            return usual * 100
        return usual

    def disk(self) -> float:
        """Seconds for a commit to be stored."""
        return self._chance.uniform(0.2, 1.5) if self.slow_disk else 0.0

    def statement(self, *, write: bool) -> Fate:
        noise = self._noise
        if self._calm or self.exact:
            return Fate.FINE
        draw = self._chance.random()
        if draw < noise.refused:
            self.count("statement failed")
            return Fate.REFUSED
        if write and draw < noise.refused + noise.ambiguous:
            self.count("commit ambiguous")
            return Fate.AMBIGUOUS
        if write and draw < noise.refused + noise.ambiguous + noise.late:
            self.count("commit late")
            return Fate.LATE
        return Fate.FINE

    def lateness(self) -> float:
        """Seconds after which a late commit lands."""
        return self._chance.choice((0.01, 0.1, 1.0, 6.0)) * self._chance.random()

    def coin(self) -> bool:
        return self._chance.random() < 0.5

    def breaks(self) -> bool:
        """Whether a publish loses its connection."""
        if self._calm or self.exact or self._chance.random() >= self._noise.dropped:
            return False
        self.count("confirm lost")
        return True

    def below(self, count: int) -> int:
        """From 0 to `count`, both included."""
        return self._chance.randint(0, count)
