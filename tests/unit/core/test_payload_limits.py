"""SEMANTICS, Limits: "payload size", with errors at the door and never a stuck instance: the doors of workflow code."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import ActivityError, App, ChildWorkflowError, PayloadError, WorkflowContext
from tenuto.core.events import ActivityScheduled, ChildScheduled, EventSent
from tenuto.core.status import Status
from tests.unit.core.bench import Bench, done, names

LIMIT = 1000
BIG = "x" * LIMIT

app = App("limits")


@app.activity
async def store(text: str) -> str:
    return text


@app.workflow
async def child(_: WorkflowContext, text: str) -> str:
    return text


@app.workflow
async def calls_an_activity(ctx: WorkflowContext, text: str) -> str:
    try:
        return await ctx.call_activity(store, text)
    except ActivityError as error:
        return await ctx.call_activity(store, str(error))


@app.workflow
async def calls_a_child(ctx: WorkflowContext, text: str) -> str:
    try:
        return await ctx.call_child_workflow(child, text)
    except ChildWorkflowError as error:
        return str(error)


@app.workflow
async def sends_an_event(ctx: WorkflowContext, text: str) -> str:
    try:
        ctx.send_event("other", "news", text)
    except PayloadError as error:
        return str(error)
    return "sent"


@app.workflow
async def shows_a_status(ctx: WorkflowContext, size: int) -> str:
    try:
        ctx.set_custom_status("x" * size)
    except PayloadError as error:
        return str(error)
    return "shown"


@app.workflow
async def returns(_: WorkflowContext, size: int) -> str:
    return "x" * size


@app.workflow
async def goes_on(ctx: WorkflowContext, size: int) -> None:
    ctx.continue_as_new("x" * size)


def limited(workflow: str, value: Any) -> Bench:
    bench = Bench(app=app, workflow=workflow, input=value, max_payload_bytes=LIMIT)
    bench.go()
    return bench


@pytest.mark.semantics("the input of an activity or a child")
def test_an_activity_whose_input_is_too_large_fails_at_once_and_can_be_caught() -> None:
    bench = limited("calls_an_activity", BIG)
    refused, told = [event for event in bench.turns[0].events if isinstance(event, ActivityScheduled)]
    assert refused.refused is not None
    assert not refused.refused.retryable
    assert bytes(refused.input) == b"null", "what is too large must not be kept either"
    assert [task.scheduled.id for task in bench.turns[0].tasks] == [told.id]
    bench.go(done(told.id, "told"))
    assert bench.output == "told"
    assert b"the input of activity 'store' has 1002 bytes" in bytes(told.input)
    assert b"TENUTO_MAX_PAYLOAD_BYTES" in bytes(told.input)


@pytest.mark.semantics("Refusals are part of the history")
def test_a_limit_that_is_changed_later_changes_nothing_of_what_was_refused_or_taken() -> None:
    refused = limited("calls_an_activity", BIG)
    refused.max_payload_bytes = 10 * LIMIT
    refused.cold_start()
    refused.go(done(1, "told"))
    assert refused.output == "told"

    taken = Bench(app=app, workflow="calls_an_activity", input=BIG)
    taken.go()
    taken.max_payload_bytes = LIMIT
    taken.cold_start()
    taken.go(done(0, "stored"))
    assert taken.output == "stored"


@pytest.mark.semantics("the input of an activity or a child")
def test_a_child_whose_input_is_too_large_fails_at_once_and_can_be_caught() -> None:
    bench = limited("calls_a_child", BIG)
    assert bench.status is Status.COMPLETED
    assert "the input of child workflow 'child' has 1002 bytes" in bench.output
    (scheduled,) = [event for event in bench.history if isinstance(event, ChildScheduled)]
    assert bytes(scheduled.input) == b"null"
    assert bench.turns[0].letters == ()


@pytest.mark.semantics("send_event, set_custom_status")
def test_an_event_that_is_too_large_is_not_sent_and_the_call_raises() -> None:
    bench = limited("sends_an_event", BIG)
    assert "the payload of event 'news' has 1002 bytes" in bench.output
    (sent,) = [event for event in bench.history if isinstance(event, EventSent)]
    assert bytes(sent.payload) == b"null"
    assert bench.turns[0].letters == ()


def test_an_event_within_the_limit_is_sent() -> None:
    bench = limited("sends_an_event", "x" * (LIMIT - 2))
    assert bench.output == "sent"
    assert len(bench.turns[0].letters) == 1


@pytest.mark.semantics("send_event, set_custom_status")
def test_a_custom_status_has_a_limit_that_no_setting_changes() -> None:
    assert limited("shows_a_status", 1024 * 1024 - 2).output == "shown"
    assert "the custom status has 1048577 bytes" in limited("shows_a_status", 1024 * 1024 - 1).output


@pytest.mark.semantics("the result, the input of continue_as_new")
def test_a_result_that_is_too_large_fails_the_workflow() -> None:
    assert limited("returns", LIMIT - 2).status is Status.COMPLETED
    bench = limited("returns", LIMIT - 1)
    assert bench.status is Status.FAILED
    assert bench.failure.type == "PayloadError"
    assert bench.failure.message.startswith("the result of workflow 'returns': it has 1001 bytes")
    assert not bench.failure.retryable


@pytest.mark.semantics("the result, the input of continue_as_new")
def test_continuing_as_new_with_too_large_an_input_fails_the_workflow() -> None:
    bench = limited("goes_on", LIMIT - 1)
    assert bench.status is Status.FAILED
    assert "the input of continue_as_new has 1001 bytes" in bench.failure.message
    assert names(bench.turns[0])[-1] == "ExecutionFailed"


@pytest.mark.semantics("an activity's result")
def test_a_result_over_the_limit_fails_its_activity_whoever_sent_it() -> None:
    bench = limited("calls_an_activity", "small")
    bench.go(done(0, BIG))
    (told,) = bench.turns[1].tasks
    assert b"PayloadError: the result has 1002 bytes" in bytes(told.scheduled.input)
