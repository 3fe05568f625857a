"""Traces of the whole engine: what is under what, what is emitted when, and that nothing is emitted twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from tenuto import App, RetryPolicy, WorkflowContext, activity
from tenuto.core.status import Status
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until
from tests.support.spans import STARTER, Recorded, from_starter, parent, span_id

app = App("traced")


@app.activity(retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def flaky(number: int) -> int:
    with trace.get_tracer("users", tracer_provider=recorded().provider).start_as_current_span("users.own"):
        if activity.context().attempt == 1:
            raise RuntimeError("once")
    return number


@app.activity
def plain(number: int) -> int:
    """In a thread."""
    with trace.get_tracer("users", tracer_provider=recorded().provider).start_as_current_span("users.thread"):
        return number


@app.workflow
async def child(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(plain, number)


@app.workflow
async def traced(ctx: WorkflowContext, number: int) -> int:
    await ctx.call_activity(flaky, number)
    await ctx.create_timer(0.01)
    await ctx.call_child_workflow(child, number, instance_id="child")
    return await ctx.wait_for_external_event("go", type=int)


@app.workflow
async def again(ctx: WorkflowContext, generation: int) -> int:
    await ctx.call_activity(plain, generation)
    if generation < 2:
        ctx.continue_as_new(generation + 1)
    return generation


@app.workflow
async def late(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(plain, 1, pool="nobodys", schedule_to_start=0.1)


@app.workflow
async def sends(ctx: WorkflowContext, target: str) -> None:
    ctx.send_event(target, "go", 7)


@app.workflow
async def fails(ctx: WorkflowContext) -> int:
    await ctx.wait_for_external_event("go", type=int)
    raise ValueError("in vain")


@app.workflow
async def tells(ctx: WorkflowContext) -> int:
    ctx.send_event("nobody", "told")
    await ctx.call_activity(plain, 1)
    return await ctx.call_activity(plain, 2)


_RECORDED: list[Recorded] = []


def recorded() -> Recorded:
    """What the present test records with: activities are found by name, so they cannot be given it."""
    return _RECORDED[-1]


@pytest.fixture
def spans() -> Iterable[Recorded]:
    made = Recorded()
    _RECORDED.append(made)
    yield made
    _RECORDED.pop()


@pytest.fixture
async def engine(make_engine: MakeEngine, spans: Recorded) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator(tracing=spans.tracing)
    await engine.worker(tracing=spans.tracing)
    return engine


async def test_a_rerun_is_a_trace_of_its_own_and_makes_no_span_of_what_it_keeps(
    engine: Engine, spans: Recorded
) -> None:
    old = await engine.client.start(tells)
    await old.result(timeout=20)
    with from_starter():
        new = await old.rerun(2)
    assert await new.result(timeout=20) == 2
    await until(spans.until("orchestration||tells", 2))
    _, root = spans.named("orchestration||tells")
    assert (parent(root), root.context.trace_id) == (STARTER.span_id, STARTER.trace_id)
    assert (await new.status()).trace_id == f"{STARTER.trace_id:032x}"
    (done_again,) = [span for span in spans.named("activity||plain") if parent(span) == span_id(root)]
    assert (done_again.attributes or {})["durabletask.task.task_id"] == 2
    assert len(spans.named("orchestration_event||told")) == 1, "it was sent once, by the old instance"


async def test_a_run_is_one_trace(engine: Engine, spans: Recorded) -> None:
    with from_starter():
        handle = await engine.client.start(traced, 1, instance_id="parent")
    await until(spans.until("orchestration||child"))
    # It still runs: what has ended can be seen already, and whose trace it is.
    assert spans.named("orchestration||traced") == []
    assert len(spans.named("activity||flaky")) == 2
    assert (await handle.status()).trace_id == f"{STARTER.trace_id:032x}"
    await engine.client.start(sends, "parent", instance_id="sender")
    assert await handle.result(timeout=20) == 7

    whole = [span for span in spans.spans if span.context.trace_id == STARTER.trace_id]
    root = spans.one("orchestration||traced")
    assert (parent(root), root.kind) == (STARTER.span_id, SpanKind.SERVER)
    first, second = spans.named("activity||flaky")
    assert [parent(first), parent(second)] == [span_id(root)] * 2
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert [parent(span) for span in spans.named("users.own")] == [span_id(first), span_id(second)]
    assert parent(spans.one("timer")) == span_id(root)
    inner = spans.one("orchestration||child")
    assert parent(inner) == span_id(root)
    deep = spans.one("activity||plain")
    assert (parent(deep), parent(spans.one("users.thread"))) == (span_id(inner), span_id(deep))
    turns = spans.named("turn||traced")
    assert turns
    assert {parent(turn) for turn in turns} == {span_id(root)}

    sent, taken = spans.named("orchestration_event||go")
    sender = spans.one("orchestration||sends")
    assert (parent(sent), parent(taken)) == (span_id(sender), span_id(root))
    assert [link.context.span_id for link in taken.links] == [span_id(sender)]

    known = {span_id(span) for span in whole} | {STARTER.span_id}
    assert all(parent(span) in known for span in whole)
    assert len({span_id(span) for span in spans.spans}) == len(spans.spans)
    _assert_times(root, first, second, inner)
    assert root.attributes is not None
    assert (
        dict(root.attributes).items()
        >= {
            "durabletask.type": "orchestration",
            "durabletask.task.name": "traced",
            "durabletask.task.instance_id": "parent",
            "durabletask.runtime_status": "COMPLETED",
        }.items()
    )


def _assert_times(whole: ReadableSpan, *parts: ReadableSpan) -> None:
    for part in parts:
        assert None not in (whole.start_time, whole.end_time, part.start_time, part.end_time)
        assert part.start_time <= part.end_time  # type: ignore[operator]
        # The worker's clock and the database's are not the same.
        assert whole.start_time <= part.start_time + 10**9  # type: ignore[operator]
        assert part.end_time <= whole.end_time + 10**9  # type: ignore[operator]


async def test_each_later_generation_is_a_trace_that_links_to_the_one_before(
    engine: Engine, spans: Recorded
) -> None:
    with from_starter():
        handle = await engine.client.start(again, 0)
    assert await handle.result(timeout=20) == 2
    first, second, third = spans.named("orchestration||again")
    assert (first.context.trace_id, parent(first)) == (STARTER.trace_id, STARTER.span_id)
    assert (parent(second), parent(third)) == (None, None)
    assert len({span.context.trace_id for span in (first, second, third)}) == 3
    assert [link.context.span_id for link in second.links] == [span_id(first), STARTER.span_id]
    assert [link.context.span_id for link in third.links] == [span_id(second), STARTER.span_id]
    assert [parent(span) for span in spans.named("activity||plain")] == [
        span_id(first),
        span_id(second),
        span_id(third),
    ]
    assert (await handle.status()).trace_id == f"{third.context.trace_id:032x}"


async def test_one_that_nobody_traces_begins_a_trace(engine: Engine, spans: Recorded) -> None:
    handle = await engine.client.start(child, 1)
    assert await handle.result(timeout=20) == 1
    root = spans.one("orchestration||child")
    assert parent(root) is None
    assert parent(spans.one("activity||plain")) == span_id(root)
    assert (await handle.status()).trace_id == f"{root.context.trace_id:032x}"


async def test_one_that_is_rewound_has_another_span_under_its_first(engine: Engine, spans: Recorded) -> None:
    handle = await engine.client.start(fails)
    await handle.raise_event("go", 1)
    await engine.status(handle.instance_id, Status.FAILED)
    await handle.rewind()  # its event is there still, so it fails once more
    await until(spans.until("orchestration||fails", 2))
    first, second = spans.named("orchestration||fails")
    assert first.status.description == "ValueError: in vain"
    assert parent(first) is None
    assert parent(second) == span_id(first)
    assert second.attributes is not None
    assert second.attributes["durabletask.runtime_status"] == "FAILED"


async def test_an_attempt_that_the_engine_ends_has_its_span_from_the_engine(
    engine: Engine, spans: Recorded
) -> None:
    handle = await engine.client.start(late)
    await engine.status(handle.instance_id, Status.FAILED)
    await until(spans.until("orchestration||late"))
    attempt = spans.one("activity||plain")
    assert attempt.status.status_code is StatusCode.ERROR
    assert "ScheduleToStart" in (attempt.status.description or "")
    assert parent(attempt) == span_id(spans.one("orchestration||late"))
    assert spans.named("users.thread") == []


async def test_a_takeover_emits_nothing_again(make_engine: MakeEngine, spans: Recorded) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator(tracing=spans.tracing)
    await engine.worker(tracing=spans.tracing)
    handle = await engine.client.start(traced, 1, instance_id="parent")
    await until(spans.until("orchestration||child"))
    before = _counted(spans)
    await first.kill()
    await engine.orchestrator(tracing=spans.tracing)
    await handle.raise_event("go", 3)
    assert await handle.result(timeout=30) == 3
    after = _counted(spans)
    for name in ("activity||flaky", "activity||plain", "timer", "orchestration||child", "turn||child"):
        assert after[name] == before[name], name
    assert after["orchestration||traced"] == 1
    assert after["orchestration_event||go"] == 1


def _counted(spans: Recorded) -> dict[str, int]:
    return {span.name: len(spans.named(span.name)) for span in spans.spans}


@pytest.mark.parametrize(
    ("sampler", "sampled"),
    [
        (ALWAYS_OFF, False),
        (ParentBased(root=ALWAYS_OFF), False),
        (ParentBased(root=ALWAYS_OFF), True),
        (TraceIdRatioBased(0), False),
    ],
    ids=["off", "parent says no", "parent says yes", "ratio"],
)
async def test_the_sampler_decides(
    make_engine: MakeEngine, sampler: Any, sampled: bool, spans: Recorded
) -> None:
    chosen = Recorded(sampler)
    _RECORDED.append(chosen)
    engine = await make_engine(app)
    await engine.orchestrator(tracing=chosen.tracing)
    await engine.worker(tracing=chosen.tracing)
    try:
        if sampled or sampler is ALWAYS_OFF:
            with from_starter():
                handle = await engine.client.start(child, 1)
        else:
            handle = await engine.client.start(child, 1)
        assert await handle.result(timeout=20) == 1
    finally:
        _RECORDED.pop()
    names = {span.name for span in chosen.spans}
    expected = (
        {"orchestration||child", "turn||child", "activity||plain", "users.thread"} if sampled else set()
    )
    assert names == expected
