"""What is wrong with one instance, or with the engine, stalls that instance; `replay` raises nothing."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.core.definitions import WorkflowDefinition
from tenuto.core.events import ActivityCompleted, ActivityScheduled, ExecutionStarted, TurnStarted
from tenuto.core.execution import advance, replay
from tenuto.core.status import Status
from tenuto.errors import NonDeterminismError, StalledError
from tests.unit.core.bench import RUN, START, anybody, begun, done, event, raw, terminate

app = App("damaged")
refuses: list[bool] = []


@dataclass
class Fussy:
    number: int

    def __post_init__(self) -> None:
        if refuses:
            raise KeyError("no such number")


@pytest.fixture(autouse=True)
def _calm() -> None:
    refuses.clear()


@app.activity
def fussy() -> Fussy:
    return Fussy(1)


@app.workflow
async def takes_fussy(ctx: WorkflowContext) -> int:
    found = await ctx.call_activity(fussy)
    await ctx.wait_for_external_event("go")
    return found.number


@app.workflow
async def two_steps(ctx: WorkflowContext) -> None:
    await ctx.call_activity("x")
    await ctx.wait_for_external_event("go")


def test_a_recorded_result_that_breaks_its_type_now_is_a_mismatch() -> None:
    bench = begun(app, "takes_fussy")
    bench.go(done(0, {"number": 1}))
    refuses.append(True)
    again = bench.replayed()
    assert isinstance(again.stalled, NonDeterminismError)
    assert "KeyError" in str(again.stalled)
    turn = advance(again, [anybody(terminate())], START)
    assert again.state.status is Status.TERMINATED
    assert turn.events


def test_a_live_result_that_breaks_its_type_fails_the_call() -> None:
    bench = begun(app, "takes_fussy")
    refuses.append(True)
    bench.go(done(0, {"number": 1}))
    assert bench.failure.type == "ActivityError"
    assert bench.failure.cause is not None
    assert "KeyError: 'no such number'" in bench.failure.cause.message


def test_an_input_that_breaks_its_type_fails_the_workflow() -> None:
    other = App("other")

    @other.workflow
    async def given(ctx: WorkflowContext, value: Fussy) -> None: ...

    refuses.append(True)
    bench = begun(other, "given", {"number": 1})
    assert bench.failure.type == "PayloadError"


def test_an_error_of_the_engine_stalls_the_instance() -> None:
    def broken(name: str, version: str | None) -> WorkflowDefinition | None:
        raise ZeroDivisionError(f"looking for {name}")

    bench = begun(app, "two_steps")
    again = replay(broken, bench.instance, RUN, bench.history)
    assert isinstance(again.stalled, StalledError)
    assert "ZeroDivisionError: looking for two_steps" in str(again.stalled)
    assert isinstance(again.stalled.__cause__, ZeroDivisionError)
    assert list(again.state.pending) == [0], "the state is that of the whole history"
    advance(again, [anybody(terminate())], START)
    assert again.state.status is Status.TERMINATED


def test_a_history_that_makes_no_sense_stalls_the_instance() -> None:
    started = ExecutionStarted(workflow="two_steps", input=raw(None), seed="seed")
    scheduled = ActivityScheduled(id=0, name="x", input=raw(None), pool="default")
    again = replay(app.resolve, "order-17", RUN, [started, scheduled, TurnStarted(at=START)])
    assert isinstance(again.stalled, NonDeterminismError)

    def nobody(name: str, version: str | None) -> WorkflowDefinition | None:
        raise ZeroDivisionError

    again = replay(nobody, "order-17", RUN, [started, scheduled, TurnStarted(at=START)])
    assert isinstance(again.stalled, StalledError)
    advance(again, [anybody(terminate())], START)
    assert again.state.status is Status.TERMINATED


def test_a_replayed_execution_does_not_keep_its_history() -> None:
    bench = begun(app, "two_steps")
    bench.go(done(0, "x" * 1000))
    bench.cold_start()
    assert not _reachable(bench.execution, ActivityCompleted)
    bench.go(event("go"))
    assert bench.status is Status.COMPLETED


def _reachable(root: Any, kind: type[Any]) -> bool:
    """Whether an object of a kind is kept alive by another."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if isinstance(found, kind):
            return True
        if id(found) not in seen and not isinstance(found, type):
            seen.add(id(found))
            waiting += [part for part in gc.get_referents(found) if type(part).__name__ not in _ELSEWHERE]
    return False


_ELSEWHERE = frozenset({"module", "function", "type", "ABCMeta", "getset_descriptor"})
"""What leads out of the execution, into the whole process."""
