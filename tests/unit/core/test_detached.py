"""Detached starts: an instance begins, and nobody waits for it."""

from __future__ import annotations

import pytest

from tenuto import App, WorkflowContext
from tenuto.core import ids
from tenuto.core.letters import Start, Terminate
from tenuto.core.status import LIVE, ReuseAction, Status
from tests.unit.core.bench import RUN, begun, event, letters_of, raw, starts, terminate

app = App("detached")


@app.workflow
async def other(ctx: WorkflowContext, number: int) -> int:
    return number


@app.workflow
async def starts_others(ctx: WorkflowContext, instance_id: str | None) -> list[str]:
    found = [
        ctx.start_workflow(other, 1, instance_id=instance_id, tags={"a": "b"}),
        ctx.start_workflow("unknown here", 2, version="3"),
    ]
    ctx.call_child_workflow(other, 3)
    if await ctx.wait_for_external_event("go") == "again":
        ctx.continue_as_new(None)
    return found


def test_a_detached_start_is_a_letter_without_a_parent() -> None:
    bench = begun(app, "starts_others", "mine")
    first, second, child = starts(bench.turns[0])
    assert first == (
        "mine",
        Start(
            workflow="other",
            input=raw(1),
            run=ids.child_run(RUN, 0, 0, 1),
            seed=ids.child_seed(RUN, 0, 0, 1),
            tags={"a": "b"},
        ),
    )
    assert (first[1].reuse.action, first[1].reuse.statuses) == (ReuseAction.ERROR, LIVE)
    assert (second[0], second[1].version) == (f"order-17:{RUN[:8]}:2", "3")
    assert child[0] == f"order-17:{RUN[:8]}:3", "detached starts and children are counted together"
    bench.go(event("go"))
    assert bench.output == ["mine", second[0]]


@pytest.mark.parametrize("how", ["again", "return", "terminate"])
def test_the_end_of_its_starter_does_not_concern_a_detached_instance(how: str) -> None:
    bench = begun(app, "starts_others", None)
    turn = bench.go(terminate() if how == "terminate" else event("go", how))
    (out,) = letters_of(turn, Terminate)
    assert out.instance == f"order-17:{RUN[:8]}:3"


@pytest.mark.parametrize("instance_id", ["", "x" * 257, "a\nb"])
def test_a_detached_start_needs_a_valid_id(instance_id: str) -> None:
    bench = begun(app, "starts_others", instance_id)
    assert (bench.status, bench.failure.type) == (Status.FAILED, "ValueError")
