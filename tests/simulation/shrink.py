"""Makes a failing case smaller: fewer faults, fewer stories, no noise, for as long as it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.simulate import Case, Verdict, simulate

__all__ = ["shrunk"]


def shrunk(verdict: Verdict, *, runs: int = 200, attempt: Callable[[Case], Verdict] = simulate) -> Verdict:
    """The smallest failure that is found within so many further runs. Any failure will do: a smaller one that breaks
    another rule mostly has the same cause."""
    found, left = verdict, runs
    while left > 0:
        for case in _smaller(found.case):
            left -= 1
            smaller = attempt(case)
            if not smaller.passed:
                found = smaller
                break
            if left <= 0:
                return found
        else:
            return found
    return found


def _smaller(case: Case) -> Iterator[Case]:
    """Smaller cases, the smallest first."""
    plan = case.plan()
    if not case.quiet:
        yield replace(case, quiet=True)
    kept = [number for number in range(len(plan.faults) + len(case.without)) if number not in case.without]
    half = len(kept) // 2
    if half > 1:
        yield replace(case, without=case.without | frozenset(kept[:half]))
        yield replace(case, without=case.without | frozenset(kept[half:]))
    for number in kept:
        yield replace(case, without=case.without | {number})
    stories = frozenset(range(plan.stories)) if case.stories is None else case.stories
    if len(stories) > 1:
        for number in sorted(stories):
            yield replace(case, stories=stories - {number})
