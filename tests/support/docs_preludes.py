"""What pages of the documentation take for granted when their code is executed, and what is looked at afterwards.

A page without a prelude is complete in itself. A prelude is entered before the first block of its page; what is in it
after the `yield` runs when the page has run to its end. This module also stands in for the reader's own `orders`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tenuto
from tenuto import App, RetryPolicy, Status, WorkflowContext, activity
from tenuto.core.histories import encode_document
from tenuto.settings import GatewaySettings
from tenuto.testing import Cluster, WorkflowEnvironment
from tenuto_gateway.http.server import Gateway

app = App("orders")
STOCK = {"lamp"}
ORDER = {"items": ["lamp"]}
charges: dict[str, dict[str, Any]] = {}
declined: list[str] = []
"""Why the next charges fail."""


@dataclass(frozen=True)
class Receipt:
    number: int


@app.activity(retry=RetryPolicy(max_attempts=3, first_interval=1))
async def charge(order: dict[str, Any]) -> Receipt:
    if declined:
        raise tenuto.NonRetryableError(declined.pop())
    charges[activity.context().idempotency_key] = order
    return Receipt(1)


@app.activity
async def check_stock(item: str) -> bool:
    return item in STOCK


@app.activity
async def ship(order: dict[str, Any]) -> None: ...


@app.activity
async def refund(receipt: Receipt) -> None: ...


@app.workflow
async def check_identity(ctx: WorkflowContext, who: str) -> str:
    return "genuine"


@app.workflow
async def fulfil(ctx: WorkflowContext, order: dict[str, Any]) -> Receipt:
    receipt = await ctx.call_activity(charge, order)
    try:
        await ctx.wait_for_external_event("approved", timeout=timedelta(days=3))
    except TimeoutError:
        await ctx.call_activity(refund, receipt)
        raise
    if await ctx.call_activity(check_stock, order["items"][0]):
        await ctx.call_child_workflow(check_identity, "Ada")
        await ctx.call_activity(ship, order)
    return receipt


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a page is executed."""

    page: ModuleType
    """Its namespace."""
    patch: pytest.MonkeyPatch
    folder: Path


@asynccontextmanager
async def readme(stage: Stage) -> AsyncIterator[None]:
    """`hello.py` is the block of that name, `Client()` one of an engine that runs it."""
    page = stage.page

    @asynccontextmanager
    async def client() -> AsyncIterator[tenuto.Client]:
        async with Cluster(page.app) as cluster:
            yield cluster.client

    stage.patch.setitem(sys.modules, "hello", page)
    stage.patch.setattr(tenuto, "Client", client)
    yield
    orders = App("orders")
    orders.workflow(page.fulfil)
    env = WorkflowEnvironment(orders)
    env.mock("charge", returns="a receipt")
    env.mock("pack", returns="packed")
    run = env.start("fulfil", {"items": ["lamp", "shade"]})
    run.raise_event("approved", after=timedelta(days=2))
    assert await run.result() == "a receipt"
    assert env.inputs("pack") == ["lamp", "shade"]
    assert page.greeted == ["hello Ada", "hello Grace"]


@asynccontextmanager
async def activities(stage: Stage) -> AsyncIterator[None]:
    """Where the page speaks of a running activity there is one, of an instance that waits for its event."""
    films = App("films")

    @films.workflow
    async def film(ctx: WorkflowContext) -> float:
        return await ctx.wait_for_external_event("progress", type=float)

    copied: list[str] = []
    async with Cluster(films) as cluster:
        handle = await cluster.client.start(film, instance_id="film-1")
        running = activity.ActivityContext(
            instance_id="film-1",
            workflow="film",
            activity="bake",
            idempotency_key="key",
            started_at=datetime.now(UTC),
        )
        page = stage.page
        vars(page).update(client=cluster.client, copy_one=copied.append)
        with activity.provide(running):
            yield
            await page.charge({})
            await page.use_the_licence("a job")
            assert page.copy(["a", "b"]) == 2
        assert copied == ["a", "b"]
        assert running.pulse.details is not None
        assert bytes(running.pulse.details) == b"2"
        assert await handle.result(timeout=30) == 0.5
    env = WorkflowEnvironment(page.app)
    env.mock(page.render, returns="a reel")
    assert await env.run(page.release, "Metropolis") == "a reel"


@asynccontextmanager
async def children(stage: Stage) -> AsyncIterator[None]:
    yield
    env = WorkflowEnvironment(stage.page.app)
    assert await env.run(stage.page.sell, {"customer": "Ada"}) == "the invoice for Ada"
    await env.run(stage.page.subscribe, "Ada")
    await env.sleep(1)
    await env.get("newsletter-Ada").result()


@asynccontextmanager
async def http(stage: Stage) -> AsyncIterator[None]:
    """A gateway, to which the environment points."""
    async with Cluster(app) as cluster:
        gateway = Gateway(cluster.client, GatewaySettings(http_port=0))
        await gateway.start()
        stage.patch.setenv("TENUTO_API_URL", gateway.url)
        try:
            yield
        finally:
            await gateway.stop()
            await gateway.wait()
        assert stage.page.receipt == {"number": 1}


@asynccontextmanager
async def locks(stage: Stage) -> AsyncIterator[None]:
    yield
    for workflow in (stage.page.move, stage.page.print_and_book):
        env = WorkflowEnvironment(stage.page.app)
        await env.run(workflow, {"account": 1})
        assert env.inputs(stage.page.book) == [{"account": 1}]


@asynccontextmanager
async def management(stage: Stage) -> AsyncIterator[None]:
    """A running shop, with an order that has failed and one that is done."""
    stage.patch.setitem(sys.modules, "orders", sys.modules[__name__])
    async with Cluster(app) as cluster:
        client = cluster.client
        vars(stage.page).update(client=client, order=ORDER, receipt=Receipt(1))
        declined.append("the bank is down")
        failed = await client.start(fulfil, ORDER, instance_id="order-18", tags={"shop": "berlin"})
        assert (await failed.ended(timeout=30)).status is Status.FAILED
        done = await client.start(fulfil, ORDER, instance_id="order-19", event=("approved", None))
        assert (await done.ended(timeout=30)).status is Status.COMPLETED
        yield
        assert (await failed.status()).status is Status.RUNNING
        assert stage.page.again.instance_id == "order-19"
        assert stage.page.better.instance_id == "order-19b"
        assert charges[f"{(await stage.page.better.history())[1].seed}:0:0"]["coupon"] == "SORRY"
        assert (await done.status()).status is not Status.COMPLETED
        assert [each.name for each in stage.page.registry.workflows] == ["check_identity", "fulfil"]


@asynccontextmanager
async def sagas(stage: Stage) -> AsyncIterator[None]:
    yield
    page = stage.page
    env = WorkflowEnvironment(page.app)
    env.mock(page.charge, raises=ValueError("declined"))
    env.start(page.book_trip, "Rome")
    await env.sleep(1)
    assert env.inputs(page.cancel) == ["a room in Rome, booked", "a flight to Rome, booked"]
    env = WorkflowEnvironment(page.app)
    env.start(page.hold_a_room, "Rome").terminate(after=5)
    await env.sleep(10)
    assert env.inputs(page.cancel) == ["a room in Rome, booked"]


@asynccontextmanager
async def schedules(stage: Stage) -> AsyncIterator[None]:
    reports = App("reports")

    @reports.workflow
    async def report(ctx: WorkflowContext, of: dict[str, str]) -> dict[str, str]:
        return of

    async with Cluster(reports) as cluster:
        vars(stage.page).update(client=cluster.client, report=report)
        yield
        found = await cluster.client.schedules.get("nightly-report")
        assert (found.cron, found.time_zone) == ("0 3 * * *", "Europe/Berlin")


@asynccontextmanager
async def testing(stage: Stage) -> AsyncIterator[None]:
    """A suite with the reader's `orders`, and a folder of histories."""
    stage.patch.setitem(sys.modules, "orders", sys.modules[__name__])
    stage.patch.chdir(stage.folder)
    charges.clear()
    run = WorkflowEnvironment(app).start(fulfil, ORDER)
    run.raise_event("approved")
    await run.result()
    charges.clear()
    histories = stage.folder / "tests" / "histories"
    histories.mkdir(parents=True)
    (histories / "order.json").write_bytes(encode_document(run.export()))
    yield


@asynccontextmanager
async def versioning(stage: Stage) -> AsyncIterator[None]:
    yield
    page = stage.page
    env = WorkflowEnvironment(page.app)
    assert await env.run("onboard", "Ada") == "welcome, Ada"
    assert await env.start("onboard", "Ada", version="1").result() == "hello Ada"
    await env.run(page.bill, "Ada")
    assert env.inputs(page.mail_invoice) == ["Ada"]
    assert env.inputs(page.send_paper_invoice) == []


PRELUDES: dict[str, Callable[[Stage], AbstractAsyncContextManager[None]]] = {
    "README.md": readme,
    "activities.md": activities,
    "children.md": children,
    "http.md": http,
    "locks.md": locks,
    "management.md": management,
    "sagas.md": sagas,
    "schedules.md": schedules,
    "testing.md": testing,
    "versioning.md": versioning,
}
