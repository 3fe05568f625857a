"""Child workflows."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, ChildWorkflowError, WorkflowContext, when_all
from tenuto.core import ids
from tenuto.core.events import ChildScheduled, ExecutionStarted, Parent
from tenuto.core.letters import ChildEnded, Start, Terminate
from tenuto.core.pending import LiveChild
from tenuto.core.retry import RetryPolicy
from tenuto.core.status import LIVE, ReuseAction, Status
from tenuto.core.turn import LetterOut, TimerKey
from tests.unit.core.bench import (
    PARENT,
    RUN,
    Bench,
    begun,
    child_done,
    child_failed,
    due,
    event,
    letters_of,
    raw,
    starts,
    terminate,
    with_parent,
)

app = App("children")


@app.workflow
async def child(ctx: WorkflowContext, number: int) -> int:
    return number


@app.workflow
def generator_child(ctx: WorkflowContext, number: int) -> Any:
    yield ctx.create_timer(1)
    return number


@app.workflow
async def parent(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_child_workflow(child, number)


@app.workflow
async def parent_of_many(ctx: WorkflowContext) -> list[Any]:
    return await when_all(
        [
            ctx.call_child_workflow("child", 1, instance_id="mine", version="2", tags={"a": "b"}),
            ctx.call_child_workflow(generator_child, 2),
            ctx.call_child_workflow("unknown here", 3, type=str),
        ]
    )


@app.workflow
async def catches(ctx: WorkflowContext) -> list[str]:
    try:
        await ctx.call_child_workflow(child, 1)
    except ChildWorkflowError as error:
        return [str(error), error.failure.type if error.failure else "unknown"]
    return []


@app.workflow
async def leaves_children(ctx: WorkflowContext, how: str) -> str:
    ctx.call_child_workflow(child, 1, instance_id="kept", abandon=True)
    ctx.call_child_workflow(child, 2, instance_id="dropped")
    await ctx.wait_for_external_event("go")
    if how == "again":
        ctx.continue_as_new("again")
    if how == "fail":
        raise RuntimeError(how)
    return how


@app.workflow
async def retries(ctx: WorkflowContext, instance_id: str | None) -> int:
    policy = RetryPolicy(max_attempts=3, first_interval=10)
    return await ctx.call_child_workflow(child, 1, instance_id=instance_id, retry=policy)


@app.workflow
async def chooses_id(ctx: WorkflowContext, instance_id: str) -> int:
    return await ctx.call_child_workflow(child, 1, instance_id=instance_id)


@pytest.mark.semantics("child")
def test_a_child_is_started_by_a_letter_and_answers() -> None:
    bench = begun(app, "parent", 5)
    ((instance, start),) = starts(bench.turns[0])
    assert instance == f"order-17:{RUN[:8]}:1"
    assert start == Start(
        workflow="child",
        input=raw(5),
        run=ids.child_run(RUN, 0, 0, 1),
        seed=ids.child_seed(RUN, 0, 0, 1),
        parent=Parent(instance="order-17", run=RUN, generation=0, command=0, attempt=1),
    )
    assert start.reuse.action is ReuseAction.ERROR
    assert start.reuse.statuses == LIVE
    bench.go(child_done(0, 7))
    assert bench.output == 7


def test_children_by_name_generator_and_with_options() -> None:
    bench = begun(app, "parent_of_many")
    first, second, third = starts(bench.turns[0])
    assert first[0] == "mine"
    assert (first[1].version, first[1].tags) == ("2", {"a": "b"})
    assert (second[1].workflow, second[0]) == ("generator_child", f"order-17:{RUN[:8]}:2")
    assert (third[1].workflow, third[0]) == ("unknown here", f"order-17:{RUN[:8]}:3")
    bench.go(child_done(2, "c"), child_done(0, 1), child_done(1, {"any": 2}))
    assert bench.output == [1, {"any": 2}, "c"]


def test_a_childs_failure_can_be_caught() -> None:
    bench = begun(app, "catches")
    bench.go(child_failed(0, "Terminated"))
    assert bench.output == [
        f"child workflow 'child' (order-17:{RUN[:8]}:1) failed: Terminated: broken",
        "Terminated",
    ]


def test_a_result_that_does_not_fit_fails_the_call() -> None:
    bench = begun(app, "catches")
    bench.go(child_done(0, "no number"))
    assert bench.output[1] == "PayloadError"


@pytest.mark.semantics("child")
@pytest.mark.parametrize(
    "late",
    [child_done(0, 8), child_failed(0), child_done(0, 8, attempt=2), child_done(0, 8, generation=1)],
    ids=["again", "otherwise", "attempt", "generation"],
)
def test_only_the_pending_childs_outcome_counts(late: ChildEnded) -> None:
    bench = begun(app, "parent_of_many")
    bench.go(child_done(0, 7))
    turn = bench.go(late)
    assert turn.events == ()
    assert len(turn.ignored) == 1


@pytest.mark.semantics("The parent-close policy")
@pytest.mark.parametrize("how", ["return", "fail", "again", "terminate"])
def test_children_alive_at_the_end_follow_the_parent_close_policy(how: str) -> None:
    """Rule N3."""
    bench = begun(app, "leaves_children", how)
    assert bench.state.children_alive() == [
        LiveChild(instance="kept", run=ids.child_run(RUN, 0, 0, 1), abandon=True),
        LiveChild(instance="dropped", run=ids.child_run(RUN, 0, 1, 1), abandon=False),
    ]
    turn = bench.go(terminate("enough") if how == "terminate" else event("go"))
    (out,) = letters_of(turn, Terminate)
    assert (out.instance, out.run) == ("dropped", ids.child_run(RUN, 0, 1, 1))
    assert isinstance(out.letter, Terminate)
    assert out.letter.reason is not None
    assert "parent" in out.letter.reason
    assert bench.state.children_alive() == []


def test_the_parent_is_told_of_a_result() -> None:
    bench = Bench(app=app, workflow="child", started=with_parent("child", 5))
    turn = bench.go()
    answer = ChildEnded(generation=2, command=7, attempt=1, result=raw(5))
    assert turn.letters == (LetterOut(instance="mother", letter=answer, run=PARENT.run),)


def test_the_parent_is_told_of_a_failure() -> None:
    bench = Bench(app=app, workflow="leaves_children", started=with_parent("leaves_children", "fail"))
    bench.go()
    ((letter),) = letters_of(bench.go(event("go")), ChildEnded)
    assert isinstance(letter.letter, ChildEnded)
    assert letter.letter.failure == bench.failure


@pytest.mark.parametrize(
    ("reason", "message"),
    [(None, "the workflow was terminated"), ("enough", "the workflow was terminated: enough")],
)
def test_the_parent_is_told_of_a_termination_and_why(reason: str | None, message: str) -> None:
    bench = Bench(app=app, workflow="leaves_children", started=with_parent("leaves_children", "return"))
    bench.go()
    (letter,) = letters_of(bench.go(terminate(reason)), ChildEnded)
    assert isinstance(letter.letter, ChildEnded)
    assert letter.letter.failure is not None
    assert (letter.letter.failure.type, letter.letter.failure.message) == ("Terminated", message)
    assert not letter.letter.failure.retryable


@pytest.mark.parametrize(
    ("chosen", "second"), [(None, f"order-17:{RUN[:8]}:1:2"), ("mine", "mine:2")], ids=["default", "chosen"]
)
def test_a_retry_is_a_child_of_its_own(chosen: str | None, second: str) -> None:
    bench = begun(app, "retries", chosen)
    turn = bench.go(child_failed(0))
    assert turn.timers_set[0].key == TimerKey(command=0, attempt=2)
    assert bench.state.children_alive() == []
    assert bench.go(child_done(0, 1)).events == ()
    turn = bench.go(due(0, attempt=2))
    ((instance, start),) = starts(turn)
    assert instance == second
    assert start.run == ids.child_run(RUN, 0, 0, 2)
    assert start.parent is not None
    assert start.parent.attempt == 2
    assert turn.timers_cleared == (TimerKey(command=0, attempt=2),)
    assert bench.go(child_done(0, 1)).events == ()
    bench.go(child_done(0, 3, attempt=2))
    assert bench.output == 3


def test_a_child_that_waits_for_its_retry_is_not_alive() -> None:
    bench = begun(app, "retries")
    bench.go(child_failed(0))
    turn = bench.go(terminate())
    assert turn.letters == ()
    assert turn.timers_cleared == (TimerKey(command=0, attempt=2),)


@pytest.mark.semantics("default id")
def test_default_ids_do_not_repeat_across_generations() -> None:
    """Rule N3."""
    started = ExecutionStarted(workflow="parent", input=raw(1), seed="seed", generation=3, children=41)
    bench = Bench(app=app, workflow="parent", started=started)
    assert starts(bench.go())[0][0] == f"order-17:{RUN[:8]}:42"


@pytest.mark.semantics("default id")
def test_a_long_id_becomes_a_digest() -> None:
    bench = begun(app, "parent", 1, instance="x" * 256)
    ((instance, _),) = starts(bench.turns[0])
    assert len(instance) <= ids.MAX_INSTANCE_ID
    assert instance.endswith(f":{RUN[:8]}:1")


@pytest.mark.parametrize("instance_id", ["", "x" * 257, "a\nb", "\x00"])
def test_a_child_needs_a_valid_id(instance_id: str) -> None:
    bench = begun(app, "chooses_id", instance_id)
    assert (bench.status, bench.failure.type) == (Status.FAILED, "ValueError")


def test_what_the_history_says_of_a_child_wins() -> None:
    bench = begun(app, "parent", 5)
    bench.history[-1] = ChildScheduled(id=0, workflow="child", instance="from an older release", input=raw(1))
    bench.cold_start()
    assert bench.state.children_alive()[0].instance == "from an older release"


def test_the_trace_goes_on_in_the_child() -> None:
    trace = {"traceparent": "00-1-2-01"}
    started = ExecutionStarted(workflow="parent", input=raw(1), seed="seed", trace=trace)
    bench = Bench(app=app, workflow="parent", started=started)
    assert starts(bench.go())[0][1].trace == trace
