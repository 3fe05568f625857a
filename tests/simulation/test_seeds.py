"""New seeds for as long as there is time, and every seed that ever failed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import SystemRandom

import pytest

from tests.simulation.many import verdicts
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import shrunk
from tests.simulation.simulate import Case, Verdict, simulate

_ROOT = Path(__file__).parents[2]
_SEEDS = Path(__file__).with_name("seeds.txt")
_CI = os.environ.get("CI") == "true"
SECONDS = float(os.environ.get("TENUTO_TEST_SIMULATION_SECONDS", "300" if _CI else "30"))
AT_LEAST = 1000 if _CI else 1
"""Runs, however long they take."""


def known_seeds() -> list[int]:
    lines = _SEEDS.read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def explain(verdict: Verdict) -> str:
    small = shrunk(verdict)
    return "\n".join(
        [
            f"found by:      {verdict.case.command()}",
            f"reproduced by: {small.case.command()} --watch",
            *(f"    {text[:400]}" for text in small.violations),
        ]
    )


@pytest.mark.parametrize("seed", known_seeds())
def test_a_seed_that_failed_once(seed: int) -> None:
    verdict = simulate(Case(seed=seed))
    assert verdict.passed, explain(verdict)


@pytest.mark.semantics("Whatever is killed, restarted or wiped")
@pytest.mark.timeout(SECONDS + 900)
def test_new_seeds() -> None:
    seeds = itertools.count(SystemRandom().randrange(10**9))
    until = time.monotonic() + SECONDS
    runs = 0
    for verdict in verdicts(seeds, Case(seed=0), until=until, jobs=os.cpu_count() or 1, at_least=AT_LEAST):
        assert verdict.passed, explain(verdict)
        runs += 1
    assert runs >= AT_LEAST


def test_a_case_takes_the_same_course_every_time() -> None:
    case = Case(seed=7)
    first, second = simulate(case), simulate(case)
    assert (first.digest, first.steps, first.violations) == (second.digest, second.steps, second.violations)
    assert first.digest != simulate(Case(seed=8)).digest


def test_also_in_another_process() -> None:
    """Where strings hash otherwise, and objects lie elsewhere in memory."""
    here = [simulate(Case(seed=seed)).digest for seed in range(5)]
    program = "from tests.simulation.simulate import Case, simulate\nfor n in range(5): print(simulate(Case(seed=n)).digest)"
    there = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


def test_faults_of_every_kind_are_injected() -> None:
    seen: set[str] = set()
    for seed in range(150):
        seen |= simulate(Case(seed=seed)).counts.keys()
    assert seen >= {
        "crash",
        "crash at a point",
        "pause",
        "leave",
        "join",
        "clock",
        "database clock",
        "database away",
        "slow disk",
        "broker away",
        "connection",
        "cancel",
        "blocked",
        "wipe",
        "purge",
        "delete",
        "statement failed",
        "commit ambiguous",
        "commit late",
        "confirm lost",
        "slow",
    }


def test_a_failure_shrinks_and_names_its_command() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "tasks that come back are not sent again")
    with mutant.apply():
        failure = next(v for seed in range(mutant.within) if not (v := simulate(Case(seed=seed))).passed)
        small = shrunk(failure, runs=60)
    assert not small.passed
    plan, before = small.case.plan(), failure.case.plan()
    assert len(plan.faults) < len(before.faults) or small.case.quiet
    command = small.case.command()
    assert f"--seed {failure.case.seed}" in command
    assert (
        replace(small.case, seed=0, without=frozenset(), stories=None, quiet=False)
        .command()
        .endswith("--seed 0")
    )
