"""Values of every kind on their whole way: client, workflow, activity, child, event, and back."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from tenuto import App, WorkflowContext
from tests.integration.engine.conftest import MakeEngine


class Colour(enum.Enum):
    RED = "red"


class Struct(msgspec.Struct):
    at: datetime
    flags: frozenset[int]


class Model(BaseModel):
    due: date
    patience: timedelta


@dataclasses.dataclass
class Order:
    id: UUID
    price: Decimal
    photo: bytes
    colour: Colour
    struct: Struct
    model: Model
    pair: tuple[int, str]
    note: str | None = None


ORDER = Order(
    id=UUID(int=7),
    price=Decimal("1.10"),
    photo=b"\x00\xff\x80",
    colour=Colour.RED,
    struct=Struct(at=datetime(2026, 11, 20, 12, 30, 0, 5, tzinfo=UTC), flags=frozenset({1, 2})),
    model=Model(due=date(2026, 12, 24), patience=timedelta(days=1, microseconds=3)),
    pair=(1, "one"),
)

app = App("types")


@app.activity
async def same(order: Order) -> Order:
    assert order == ORDER
    return order


@app.workflow
async def child(_: WorkflowContext, order: Order) -> Order:
    assert order == ORDER
    return order


@app.workflow
async def round_trip(ctx: WorkflowContext, order: Order) -> list[Order]:
    assert order == ORDER
    return [
        await ctx.call_activity(same, order),
        await ctx.call_child_workflow(child, order),
        await ctx.wait_for_external_event("order", type=Order),
    ]


@app.activity
async def echo(value: Any) -> Any:
    return value


@app.workflow
async def falsy(ctx: WorkflowContext, value: Any) -> list[Any]:
    ctx.set_custom_status(value)
    return [value, await ctx.call_activity(echo, value), await ctx.wait_for_external_event("value")]


@pytest.mark.semantics("the type that the hint names")
async def test_values_of_every_kind_arrive_as_what_they_are(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(round_trip, ORDER)
    await handle.raise_event("order", ORDER)
    assert await handle.result() == [ORDER, ORDER, ORDER]


@pytest.mark.semantics("Payloads arrive")
@pytest.mark.parametrize("value", [0, "", False, None])
async def test_falsy_payloads_arrive_as_sent(make_engine: MakeEngine, value: object) -> None:
    """SEMANTICS, External events: "Falsy payloads (0, "", false, null) arrive as sent"; so do all others."""
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    handle = await engine.client.start(falsy, value)
    await handle.raise_event("value", value)
    result = await handle.result()
    assert [(type(each), each) for each in result] == [(type(value), value)] * 3
    assert (await handle.status()).custom_status == value
