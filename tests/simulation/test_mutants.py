"""Each rule, left out, is noticed within the stated number of seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.mutation import Mutant
from tests.simulation.simulate import Case, simulate


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.name}")
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    with mutant.apply():
        caught = any(
            not simulate(Case(seed=seed, focus=mutant.focus)).passed for seed in range(mutant.within)
        )
    assert caught, f"{mutant.within} seeds did not notice that {mutant.name} (rule {mutant.rule})"


def test_the_documentation_lists_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (.+) \| (\d+) \|$", page, re.MULTILINE)
    assert rows == [(mutant.rule, mutant.name, str(mutant.within)) for mutant in MUTANTS]
