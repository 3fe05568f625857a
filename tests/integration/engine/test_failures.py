"""How failures of activities and children reach a workflow."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import ActivityError, App, ChildWorkflowError, WorkflowContext, WorkflowFailedError
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine

app = App("failures")


@app.activity
async def breaks(_: None) -> None:
    try:
        raise KeyError("the cause")  # noqa: TRY301 - what is tested
    except KeyError as error:
        raise ValueError("the failure") from error


@app.workflow
async def tells(ctx: WorkflowContext, kind: str) -> list[Any]:
    """What it was told: the error's type, and its failure with causes."""
    try:
        await (ctx.call_activity(breaks, None) if kind == "activity" else ctx.call_child_workflow(fails))
    except (ActivityError, ChildWorkflowError) as error:
        chain, failure = [], error.failure
        while failure is not None:
            chain.append([failure.type, failure.message, "raise" in failure.stack])
            failure = failure.cause
        return [type(error).__name__, *chain]
    return []


@app.workflow
async def fails(ctx: WorkflowContext) -> None:
    await ctx.call_activity(breaks, None)


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("failed activity")
async def test_an_activitys_failure_is_told_with_type_message_stack_and_causes(engine: Engine) -> None:
    handle = await engine.client.start(tells, "activity")
    assert await handle.result(timeout=20) == [
        "ActivityError",
        ["ValueError", "the failure", True],
        ["KeyError", "'the cause'", True],
    ]


@pytest.mark.semantics("failed activity")
async def test_a_childs_failure_is_told_with_all_that_caused_it(engine: Engine) -> None:
    handle = await engine.client.start(tells, "child")
    error, (kind, message, _), *causes = await handle.result(timeout=20)
    assert (error, kind) == ("ChildWorkflowError", "ActivityError")
    assert "activity 'breaks' failed: ValueError: the failure" in message
    assert [cause[:2] for cause in causes] == [["ValueError", "the failure"], ["KeyError", "'the cause'"]]


@pytest.mark.semantics("failed activity")
async def test_uncaught_they_fail_the_workflow(engine: Engine) -> None:
    handle = await engine.client.start(fails)
    with pytest.raises(WorkflowFailedError, match="the failure"):
        await handle.result(timeout=20)
