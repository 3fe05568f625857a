"""What must hold for every workflow and every order of what happens to it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tenuto.core.events import encode_events
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.errors import StalledError
from tests.unit.core.bench import Bench, terminate
from tests.unit.core.programs import DEPENDENT, INDEPENDENT, Program, chapters_of, expected, live

THOROUGH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
SEEDS = st.integers(0, 2**32)


def outcome(bench: Bench) -> tuple[Status, Any]:
    if bench.status is Status.COMPLETED:
        return bench.status, bench.output
    return bench.status, bench.state.failure.message if bench.state.failure else None


def expected_outcome(chapters: list[Program]) -> tuple[Status, Any]:
    try:
        return Status.COMPLETED, [expected(program, str(number)) for number, program in enumerate(chapters)]
    except ValueError as error:
        return Status.FAILED, str(error)


def ends_as_expected(chapters: list[Program], seed: int) -> None:
    """Any order, batching and duplication of the same answers gives the same outcome."""
    bench = live(chapters, Random(seed))
    assert outcome(bench) == expected_outcome(chapters)
    assert bench.state.pending == {}


@pytest.mark.semantics("Branches number their commands")
@THOROUGH
@given(chapters_of(INDEPENDENT), SEEDS)
def test_any_order_batching_and_duplication_gives_the_same_outcome(
    chapters: list[Program], seed: int
) -> None:
    ends_as_expected(chapters, seed)


@THOROUGH
@given(chapters_of(st.one_of(INDEPENDENT, st.just(["fail"]))), SEEDS)
def test_also_of_workflows_that_fail(chapters: list[Program], seed: int) -> None:
    ends_as_expected(chapters, seed)


@THOROUGH
@given(chapters_of(DEPENDENT), SEEDS)
def test_a_replay_after_each_turn_asks_for_nothing_new(chapters: list[Program], seed: int) -> None:
    """The bench compares after every turn; races, cancelling, pauses and continue-as-new among them."""
    bench = live(chapters, Random(seed))
    assert outcome(bench)[0] is not Status.STALLED


@THOROUGH
@given(chapters_of(DEPENDENT), SEEDS)
def test_an_execution_from_the_history_goes_on_like_the_resident_one(
    chapters: list[Program], seed: int
) -> None:
    """The same arrivals make the same history, whether the execution stayed or was made again each time."""
    resident = live(chapters, Random(seed), cold_starts=0.0)
    made_again = live(chapters, Random(seed), cold_starts=1.0)
    assert encode_events(resident.history) == encode_events(made_again.history)


@THOROUGH
@given(chapters_of(DEPENDENT), SEEDS, st.integers(0, 6))
def test_terminate_ends_it_at_any_point(chapters: list[Program], seed: int, turns: int) -> None:
    bench = live(chapters, Random(seed), turns=turns)
    over = bench.status.is_terminal
    turn = bench.go(terminate("enough"))
    assert bench.status.is_terminal
    assert over == (turn.events == ())
    assert bench.state.pending == {}
    assert bench.go(terminate("again")).events == ()


def test_without_deduplication_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties would notice if redeliveries counted."""
    monkeypatch.setattr(State, "is_pending", lambda _self, _command, _attempt: True)
    careless = settings(THOROUGH, database=None, phases=[Phase.generate], report_multiple_bugs=False)(
        given(chapters_of(INDEPENDENT), SEEDS)(ends_as_expected)
    )
    # A wrong outcome, or a bookkeeping that breaks down over an answer nobody waits for.
    with pytest.raises((AssertionError, StalledError, KeyError)):
        careless()
