"""Many seeds, on many cores."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulation.simulate import Case, Verdict, simulate

__all__ = ["verdicts"]

_CHUNK = 20
"""Seeds that one process is given at a time."""


def verdicts(
    seeds: Iterable[int], case: Case, *, until: float | None, jobs: int, at_least: int = 0
) -> Iterator[Verdict]:
    """Simulate the case under each of the seeds, for as long as there are seeds and, but for the first `at_least`, until
    that moment of `time.monotonic()`."""
    chunks = _chunks(iter(seeds))
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = [pool.submit(_simulate, chunk, case) for chunk in itertools.islice(chunks, 2 * jobs)]
        begun = _CHUNK * len(pending)
        while pending:
            yield from pending.pop(0).result()
            if until is None or time.monotonic() < until or begun < at_least:
                pending += [pool.submit(_simulate, chunk, case) for chunk in itertools.islice(chunks, 1)]
                begun += _CHUNK


def _chunks(source: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(itertools.islice(source, _CHUNK)):
        yield chunk


def _simulate(seeds: list[int], case: Case) -> list[Verdict]:
    return [simulate(replace(case, seed=seed)) for seed in seeds]
