"""Tags that the workflow upserts."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, PayloadError, WorkflowContext
from tests.unit.core.bench import begun, event, with_parent

app = App("tagged")


@app.workflow
async def stages(ctx: WorkflowContext, left: int = 1) -> None:
    ctx.upsert_tags({"stage": f"first of {left}", "gone": None})
    await ctx.wait_for_external_event("go")
    ctx.upsert_tags({"stage": "second", "paid": "yes"})
    if left:
        ctx.continue_as_new(left - 1)


def test_tags_are_added_changed_and_taken_away() -> None:
    bench = begun(app, "stages", 0, started=with_parent("stages", 0, tags={"shop": "berlin", "gone": "soon"}))
    assert bench.execution.tags == {"shop": "berlin", "stage": "first of 0"}
    bench.cold_start()
    assert bench.execution.tags == {"shop": "berlin", "stage": "first of 0"}, "a replay makes the same"
    bench.go(event("go"))
    assert bench.execution.tags == {"shop": "berlin", "stage": "second", "paid": "yes"}


@pytest.mark.semantics("Tags")
def test_tags_are_kept_when_it_continues_as_new() -> None:
    bench = begun(app, "stages", 1, started=with_parent("stages", 1, tags={"shop": "berlin"}))
    bench.go(event("go"))
    expected = {"shop": "berlin", "stage": "second", "paid": "yes"}
    assert (bench.state.tags, bench.execution.tags) == (expected, expected)
    bench.go()
    assert bench.execution.tags == expected | {"stage": "first of 0"}


@pytest.mark.parametrize("tags", [{"n": 1}, {"n": ["a"]}, {"n": "\ud800"}])
def test_a_tag_that_is_no_string_is_refused(tags: Any) -> None:
    tags_app = App("one")

    @tags_app.workflow
    async def tags_itself(ctx: WorkflowContext) -> str:
        try:
            ctx.upsert_tags(tags)
        except PayloadError:
            return "refused"
        return "taken"

    assert begun(tags_app, "tags_itself").output == "refused"
