"""Histories and workflows as drawings."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tenuto import App, WorkflowContext
from tenuto.core.events import (
    ActivityCompleted,
    ActivityScheduled,
    Event,
    EventRaised,
    ExecutionCompleted,
    ExecutionStarted,
    TurnStarted,
)
from tenuto_gateway.drawing import sequence_diagram
from tenuto_gateway.graph import flowchart

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
app = App("drawn")


@app.activity
async def reserve(item: str) -> str:
    raise NotImplementedError


@app.activity(name="ship-it")
async def ship(item: str) -> str:
    raise NotImplementedError


async def helper(ctx: WorkflowContext, item: str) -> str:
    return await ctx.call_activity(ship, item)


@app.workflow
async def child(ctx: WorkflowContext, item: str) -> str:
    await ctx.create_timer(1.0)
    return await helper(ctx, item)


@app.workflow
async def parent(ctx: WorkflowContext, name: str) -> None:
    for step in (reserve, ship):
        await ctx.call_activity(step, name)
    await ctx.call_activity(reserve, name)
    await ctx.call_activity("by-name", name)
    await ctx.call_child_workflow(child, name)
    await ctx.wait_for_external_event("approved")
    ctx.continue_as_new(name)


def test_a_graph_shows_what_the_code_can_call() -> None:
    lines = flowchart(app, "parent").splitlines()
    assert lines[0] == "flowchart TD"
    drawing = "\n".join(lines)
    names = {
        '[["parent"]]': "workflow",
        '["reserve"]': "activity",
        '["by-name"]': "activity",
        '["chosen at run time"]': "activity",
        '[["child"]]': "workflow",
        '>"approved"]': "event",
        '["ship-it"]': "activity of a helper",
        '(("timer"))': "timer",
    }
    for shape in names:
        assert shape in drawing
    assert "n0 -->|continues as new| n0" in drawing
    assert len([line for line in lines if "-->" in line]) == 8
    assert len(set(lines)) == len(lines)


def test_a_history_is_drawn_as_a_sequence() -> None:
    raw = msgspec.Raw
    events: list[Event] = [
        ExecutionStarted(workflow="parent", input=raw(b'"#1; <b>"'), seed="s", at=NOON),
        TurnStarted(at=NOON),
        ActivityScheduled(id=0, name="reserve", input=raw(b'"lamp"'), pool="default"),
        ActivityCompleted(command=0, attempt=1, result=raw(b"7")),
        EventRaised(name="approved", payload=raw(b"true")),
        ExecutionCompleted(id=1, result=raw(b"null")),
    ]
    assert sequence_diagram(events).splitlines() == [
        "sequenceDiagram",
        "    participant W as workflow",
        "    participant P0 as reserve",
        "    participant P1 as outside",
        "    Note over W: parent #34;#35;1#59; #60;b#62;#34;",
        "    W->>P0: #34;lamp#34;",
        "    P0-->>W: 7",
        "    P1-)W: approved true",
        "    Note over W: completed parent",
    ]
