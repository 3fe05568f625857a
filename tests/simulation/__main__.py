"""Run simulations by hand.

python -m tests.simulation --seed 123 --watch      one seed, with all that happens
python -m tests.simulation --runs 1000             that many seeds from 0 on
python -m tests.simulation --minutes 60            new seeds for so long, on every core
"""
# ruff: noqa: T201 - it is a command line

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from random import SystemRandom

from tests.simulation.many import verdicts
from tests.simulation.plan import FOCUSES
from tests.simulation.shrink import shrunk
from tests.simulation.simulate import Case, Verdict, simulate


def main() -> int:
    arguments = _arguments()
    first = arguments.seed if arguments.seed is not None else SystemRandom().randrange(10**9)
    if arguments.minutes is not None:
        seeds: Iterable[int] = itertools.count(first)
    else:
        seeds = range(first, first + arguments.runs)
    case = Case(
        seed=0,
        without=frozenset(arguments.without),
        stories=None if arguments.stories is None else frozenset(arguments.stories),
        quiet=arguments.quiet,
        focus=arguments.focus,
    )
    if arguments.watch:
        return _watch(
            Case(seed=first, without=case.without, stories=case.stories, quiet=case.quiet, focus=case.focus)
        )
    return _many(seeds, case, arguments.minutes, arguments.jobs, shrink=not arguments.no_shrink)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="the first seed; by default a random one")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds")
    parser.add_argument("--minutes", type=float, help="in place of a number of runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--watch", action="store_true", help="print all that happens")
    parser.add_argument("--without", type=_numbers, default=[], help="faults to leave out, by their numbers")
    parser.add_argument("--stories", type=_numbers, help="stories to keep, by their numbers")
    parser.add_argument("--quiet", action="store_true", help="no noise: only the faults of the plan")
    parser.add_argument("--focus", choices=FOCUSES, default="", help="more of one kind of trouble")
    parser.add_argument("--no-shrink", action="store_true", help="leave failures as they are")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _watch(case: Case) -> int:
    verdict = simulate(case, watch=print)
    _report(verdict)
    return 0 if verdict.passed else 1


def _many(seeds: Iterable[int], case: Case, minutes: float | None, jobs: int, *, shrink: bool) -> int:
    begin = time.monotonic()
    until = None if minutes is None else begin + 60 * minutes
    total, bad, counts = 0, 0, Counter[str]()
    sums: Counter[str] = Counter()
    for verdict in verdicts(seeds, case, until=until, jobs=jobs):
        total += 1
        counts.update(verdict.counts)
        sums.update(instances=verdict.instances, turns=verdict.turns, seconds=int(verdict.seconds))
        if not verdict.passed:
            bad += 1
            _report(shrunk(verdict) if shrink else verdict)
    spent = time.monotonic() - begin
    print(f"{total} runs in {spent:.0f} s ({total / spent:.1f} a second), {bad} failed")
    print(f"{sums['instances']} instances, {sums['turns']} turns, {sums['seconds']} simulated seconds")
    print("faults: " + ", ".join(f"{kind} {count}" for kind, count in counts.most_common()))
    return 1 if bad else 0


def _report(verdict: Verdict) -> None:
    if not verdict.passed:
        print(f"FAILED: {verdict.case.command()}")
        for text in verdict.violations:
            print(f"    {text[:300]}")
    else:
        print(f"passed: {verdict.case.command()} ({verdict.digest}, {verdict.steps} steps)")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
