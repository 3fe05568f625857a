"""The searches of the board of traces find what the engine emits. Jaeger finds a trace by one span that has all tags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from tenuto import App, WorkflowContext
from tests.integration.engine.conftest import MakeEngine
from tests.support.spans import Recorded, from_starter

BOARD = json.loads(
    (Path(__file__).resolve().parents[3] / "k8s/observability/dashboards/tenuto-tracing.json").read_text()
)
VARIABLES: Mapping[str, Any] = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
SEARCHES = {
    panel["title"]: target["tags"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
    if "tags" in target
}

app = App("searched")


@app.workflow
async def count(ctx: WorkflowContext, left: int) -> int:
    if left:
        ctx.continue_as_new(left - 1)
    return left


@app.workflow
async def fails(ctx: WorkflowContext) -> int:
    raise ValueError("in vain")


@app.workflow
async def waits(ctx: WorkflowContext) -> int:
    return await ctx.wait_for_external_event("go", type=int)


def found(spans: list[ReadableSpan], tags: str, **choices: str) -> list[ReadableSpan]:
    """The spans that Jaeger would find by these tags, once Grafana has put the choices in."""
    chosen = re.sub(r"\$(\w+)", lambda name: choices[name[1]], tags)
    wanted = dict(re.findall(r'([\w.]+)="?([^"\s]*)"?', chosen))
    return [span for span in spans if wanted.items() <= tags_of(span).items()]


def tags_of(span: ReadableSpan) -> dict[str, str]:
    """As Jaeger has them: a span whose status is an error has the tag `error`."""
    error = {"error": "true"} if span.status.status_code is StatusCode.ERROR else {}
    return {name: str(value) for name, value in (span.attributes or {}).items()} | error


@pytest.fixture
async def spans(make_engine: MakeEngine) -> list[ReadableSpan]:
    """Of instances that ended in each way that there is to choose."""
    recorded = Recorded()
    engine = await make_engine(app)
    await engine.orchestrator(tracing=recorded.tracing)
    with from_starter():
        await (await engine.client.start(count, 1, instance_id="i-1")).ended()
        await (await engine.client.start(fails, instance_id="i-2")).ended()
        ended = await engine.client.start(waits, instance_id="i-3")
        await ended.terminate()
        await ended.ended()
    return recorded.spans


async def test_the_searches_of_the_board_of_traces_find_them(spans: list[ReadableSpan]) -> None:
    by_instance, by_workflow = (
        SEARCHES["Traces of the instance"],
        SEARCHES["Traces of the workflow, by status"],
    )
    assert found(spans, by_instance, instance="i-1")
    assert not found(spans, by_instance, instance="i-4")
    status = {option["text"]: option["value"] for option in VARIABLES["status"]["options"]}
    for workflow, ways in {
        "count": {"any", "COMPLETED", "CONTINUED_AS_NEW"},
        "fails": {"any", "FAILED"},
        "waits": {"any", "TERMINATED"},
    }.items():
        for way, tags in status.items():
            assert bool(found(spans, by_workflow, workflow=workflow, status=tags)) == (way in ways), way
    assert SEARCHES["How long they took, µs"] == by_workflow
    names = {span.name for span in found(spans, SEARCHES["Traces with errors"])}
    assert names == {"orchestration||fails", "orchestration||waits"}
