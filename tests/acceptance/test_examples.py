"""The examples, each run on the embedded default."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tenuto.client import Client
from tenuto.core.events import ActivityCompleted, ActivityScheduled
from tenuto.core.reserved import SAGA, saga_instance
from tenuto.core.status import Status
from tenuto.errors import WorkflowFailedError
from tenuto.settings import OrchestratorSettings
from tenuto.store.protocol import InstanceFilter
from tenuto_gateway.dev import DevServer
from tenuto_gateway.targets import load_target
from tests.acceptance.command_line import EXAMPLES
from tests.support.engine import until

Serve: TypeAlias = Callable[[str], AbstractAsyncContextManager[Client]]

ORDER = {"order_id": "17", "items": ["lamp", "desk"], "amount": "129.90", "address": "12 Main Street"}
EXPENSE = {"employee": "Ada", "amount": "480.00", "purpose": "train to Leipzig"}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves an example; gives a client of it."""
    monkeypatch.setenv("WORLD_BOOKS", str(tmp_path / "outside_world.db"))
    monkeypatch.setenv("WORLD_SECONDS", "0")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    settings = OrchestratorSettings(database_url=f"sqlite+aiosqlite:///{tmp_path}/tenuto.db", partitions=4)

    @asynccontextmanager
    async def serve(name: str) -> AsyncIterator[Client]:
        server = DevServer(load_target(str(EXAMPLES / name)), settings)
        await server.start()
        try:
            async with server.client() as client:
                yield client
        finally:
            await server.stop()

    yield serve
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


def asked() -> list[str]:
    """What the outside world was asked to do."""
    return [request.what for request in sys.modules["order_fulfilment"].world.requests("17")]


async def test_an_order_is_fulfilled(serve: Serve) -> None:
    async with serve("order_fulfilment.py") as client:
        handle = await client.start("fulfil_order", ORDER)
        confirmation: Any = await handle.result(timeout=30)
    assert (confirmation.order_id, confirmation.payment, confirmation.parcel) == ("17", "charge-3", "ship-4")
    assert asked() == ["reserve lamp", "reserve desk", "charge 129.90", "ship"]


async def test_an_order_that_cannot_be_shipped_is_undone_in_reverse(serve: Serve) -> None:
    async with serve("order_fulfilment.py") as client:
        handle = await client.start("fulfil_order", ORDER | {"address": ""})
        with pytest.raises(WorkflowFailedError, match="OrderCancelledError") as caught:
            await handle.result(timeout=30)
    assert asked()[3:] == ["refund charge-3", "cancel reserve-2", "cancel reserve-1"]
    failure = caught.value.failure
    assert failure is not None
    assert failure.cause is not None


async def test_an_order_that_is_terminated_is_undone_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve("order_fulfilment.py") as client:
        world = type(sys.modules["order_fulfilment"].world)
        reached, go_on = threading.Event(), threading.Event()
        ask = world.ask

        def slow(self: Any, what: str, **more: Any) -> Any:
            if what == "ship":
                reached.set()
                go_on.wait(20)
            return ask(self, what, **more)

        monkeypatch.setattr(world, "ask", slow)
        handle = await client.start("fulfil_order", ORDER, instance_id="order-17")
        await asyncio.to_thread(reached.wait, 20)
        await handle.terminate(reason="the customer changed their mind")
        go_on.set()
        undoing = saga_instance("order-17", (await handle.status()).run)

        async def undone_all() -> bool:
            where = InstanceFilter(workflow=SAGA, statuses=frozenset({Status.COMPLETED}))
            return [one.instance_id async for one in client.list(where)] == [undoing]

        await until(undone_all)
    undone = [what for what in asked() if what.startswith(("refund", "cancel"))]
    assert undone == ["refund charge-3", "cancel reserve-2", "cancel reserve-1"]


async def test_a_quote_takes_local_steps_and_one_of_a_worker(serve: Serve) -> None:
    async with serve("local_activities.py") as client:
        handle = await client.start("quote", {"item": "lamp", "count": 3})
        assert await handle.result(timeout=30) == "3 x lamp: 71.64"
        scheduled = [event for event in await handle.history() if isinstance(event, ActivityScheduled)]
    assert [event.local for event in scheduled] == [True, True, False]


async def test_a_decision_ends_the_wait(serve: Serve) -> None:
    async with serve("approval.py") as client:
        handle = await client.start("approve_expense", EXPENSE)
        await handle.raise_event("decision", {"approved": True, "by": "Grace"})
        decision: Any = await handle.result(timeout=30)
        history = await handle.history()
        custom_status = (await handle.status()).custom_status
    assert (decision.approved, decision.by) == (True, "Grace")
    messages = [event.input for event in history if isinstance(event, ActivityScheduled)]
    assert b"asks for 480.00" in bytes(messages[0])
    assert b"was approved by Grace" in bytes(messages[1])
    assert custom_status is None


async def test_the_deadline_declines(serve: Serve) -> None:
    async with serve("approval.py") as client:
        handle = await client.start("approve_expense", EXPENSE | {"seconds_to_decide": 0.01})
        decision: Any = await handle.result(timeout=30)
    assert (decision.approved, decision.by) == (False, "deadline")


async def test_petty_cash_needs_nobody(serve: Serve) -> None:
    async with serve("approval.py") as client:
        handle = await client.start("approve_expense", EXPENSE | {"amount": "12.50"})
        decision: Any = await handle.result(timeout=30)
    assert (decision.approved, decision.by) == (True, "policy")


@pytest.mark.parametrize(
    ("text", "pages", "words", "found_on"),
    [
        ("It was, it WAS\fthe worst\fof times, it was", 3, 10, {"it": [1, 3], "was": [1, 3], "worst": [2]}),
        ("", 1, 0, {}),
    ],
)
async def test_every_page_is_read(
    serve: Serve, text: str, pages: int, words: int, found_on: dict[str, list[int]]
) -> None:
    async with serve("document_pages.py") as client:
        handle = await client.start("index_document", {"title": "A tale", "text": text})
        index: Any = await handle.result(timeout=30)
    assert (index.title, index.pages, index.words) == ("A tale", pages, words)
    assert {word: index.found_on[word] for word in found_on} == found_on


async def test_the_monitor_counts_changes_and_starts_anew_each_time(serve: Serve) -> None:
    async with serve("monitor.py") as client, site([200, 503, 503, 200]) as url:
        watch = {"url": url, "interval": 0.01, "checks_left": 4}
        handle = await client.start("watch_site", watch)
        outcome: Any = await handle.result(timeout=30)
        status = await handle.status()
    assert (outcome.checks, outcome.changes, outcome.up) == (4, 2, True)
    assert status.generation == 3
    assert status.custom_status == {"up": True, "checks": 4, "changes": 2}


async def test_the_monitor_can_be_told_to_stop(serve: Serve) -> None:
    async with serve("monitor.py") as client, site([503]) as url:
        handle = await client.start("watch_site", {"url": url, "interval": 3600})
        await handle.raise_event("stop")
        outcome: Any = await handle.result(timeout=30)
    assert (outcome.checks, outcome.up) == (1, False)


@pytest.mark.parametrize(
    ("order", "event", "processed"),
    [
        ({"item": "cars", "quantity": 3, "cost": 450}, None, True),
        ({"item": "cars", "quantity": 11, "cost": 450}, None, False),
        ({"item": "cars", "quantity": 3, "cost": 4500}, {"approval": True}, True),
        ({"item": "cars", "quantity": 3, "cost": 4500}, {"approval": False}, False),
        ({"item": "cars", "quantity": 3, "cost": 4500, "seconds_to_approve": 0}, None, False),
    ],
)
async def test_the_style_of_dapr(serve: Serve, order: dict[str, Any], event: Any, processed: bool) -> None:
    async with serve("dapr_style.py") as client:
        handle = await client.start("order_processing_workflow", order)
        if event is not None:
            await handle.raise_event("approval_event", event)
        assert await handle.result(timeout=30) == {"processed": processed}


async def test_an_upgrade_with_live_instances(serve: Serve) -> None:
    """A rolling upgrade: new instances take the latest version and go the new way, live ones keep theirs."""
    async with serve("upgrade_before.py") as client:
        await client.start("subscribe", "Ada", instance_id="early")
        late = await client.start("subscribe", "Alan", instance_id="late")
        await late.raise_event("month over")
        await until_waiting_for_the_end(late)
        onboarding = await client.start("onboard", "Grace", instance_id="onboarding")
        await onboarding.started()
    async with serve("upgrade_after.py") as client:
        await client.start("subscribe", "Edsger", instance_id="fresh")
        await client.start("onboard", "Barbara", instance_id="onboarded")
        for name in ("early", "fresh"):
            await client.get(name).raise_event("month over")
        for name in ("early", "late", "fresh"):
            await client.get(name).raise_event("cancelled")
        for name in ("onboarding", "onboarded"):
            await client.get(name).raise_event("signed")
        results = {
            name: await client.get(name).result(timeout=30)
            for name in ("early", "late", "fresh", "onboarding", "onboarded")
        }
        versions = [(await client.get(name).status()).version for name in ("onboarding", "onboarded")]
    assert results == {
        "early": ["charged Ada", "mailed an invoice to Ada", "said goodbye to Ada"],
        "late": ["charged Alan", "posted an invoice to Alan", "said goodbye to Alan"],
        "fresh": ["charged Edsger", "mailed an invoice to Edsger", "said goodbye to Edsger"],
        "onboarding": ["greeted Grace", "charged Grace"],
        "onboarded": ["greeted Barbara", "charged Barbara"],
    }
    assert versions == ["1", "2"]


async def until_waiting_for_the_end(handle: Any) -> None:
    """Until its paper invoice is posted: it has passed the place that is patched later."""

    async def posted() -> bool:
        return sum(isinstance(event, ActivityCompleted) for event in await handle.history()) == 2

    await until(posted)


@asynccontextmanager
async def site(answers: list[int]) -> AsyncIterator[str]:
    """A site that answers each request with the next of these status codes."""
    left = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % next(left))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
