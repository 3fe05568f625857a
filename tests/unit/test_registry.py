"""The registry of served workflows: names, versions, parameter schemas."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from tenuto import App, Status, WorkflowContext
from tenuto.registry import RegisteredWorkflow, describe_app, registry_of
from tenuto.store.protocol import Member, Tally

app = App("registered")


@dataclass
class Order:
    item: str
    count: int = 1


class Receipt(BaseModel):
    number: int


@app.workflow(version="1")
async def fulfil(ctx: WorkflowContext, order: Order) -> Receipt:
    raise NotImplementedError


@app.workflow(name="fulfil", version="2")
async def fulfil_again(ctx: WorkflowContext, order: Order) -> Receipt:
    raise NotImplementedError


@app.workflow
async def plain(ctx: WorkflowContext):  # type: ignore[no-untyped-def]  # noqa: ANN201 - what is not said
    raise NotImplementedError


@app.activity(pool="payments")
def charge(amount: int) -> str:
    return str(amount)


@pytest.mark.semantics("What a deployment can run")
def test_a_deployment_can_be_asked_what_it_runs() -> None:
    member = Member(owner="a", workflows={}, activities={}, schemas=describe_app(app))
    live = [
        Tally(workflow="fulfil", version="1", status=Status.RUNNING, count=2),
        Tally(workflow="fulfil", version="1", status=Status.SUSPENDED, count=1),
        Tally(workflow="gone", version=None, status=Status.STALLED, count=4),
    ]
    registry = registry_of([member], live)
    first, second, gone, bare = registry.workflows
    assert [(w.name, w.version, w.live, w.served) for w in (first, second, gone, bare)] == [
        ("fulfil", "1", 3, True),
        ("fulfil", "2", 0, True),
        ("gone", None, 4, False),
        ("plain", None, 0, True),
    ]
    assert first.input is not None
    assert first.input["$defs"]["Order"]["properties"]["count"] == {"type": "integer", "default": 1}
    assert first.output is not None
    assert first.output["properties"]["number"]["type"] == "integer"
    assert (bare.input, bare.output) == (None, None)
    (activity,) = registry.activities
    assert (activity.name, activity.pool, activity.input) == ("charge", "payments", {"type": "integer"})


def test_a_member_of_an_older_release_tells_names_only() -> None:
    member = Member(owner="a", workflows={"w": [], "v": ["1"]}, activities={"charge": "payments"})
    registry = registry_of([member], [])
    assert registry.workflows == [
        RegisteredWorkflow(name="v", version="1"),
        RegisteredWorkflow(name="w"),
    ]
    assert [activity.pool for activity in registry.activities] == ["payments"]
