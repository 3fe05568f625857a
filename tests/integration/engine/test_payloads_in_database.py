"""Large payloads in a table of the engine's database, which workers do not reach (`TENUTO_PAYLOAD_STORE=database`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tenuto import App, Client, RetryPolicy, WorkflowContext, activity
from tenuto.payload_store import KeepsPayloads, PayloadStore
from tenuto.settings import ClientSettings
from tenuto_orchestrator import Orchestrator
from tenuto_orchestrator.sweeper import Sweeper
from tests.integration.engine.conftest import MakeEngine
from tests.support.eavesdropper import stored
from tests.support.engine import Engine, Running, until, wipe

BIG = "large" * 2000
THRESHOLD = 1000
IN_DATABASE: dict[str, Any] = {"payload_store": "database", "payload_threshold": THRESHOLD}

app = App("in the database")


@app.activity(retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def second_time_lucky(text: str) -> str:
    if activity.context().attempt == 1:
        raise RuntimeError("again, please")
    return text + text


@app.activity(local=True)
async def shorten(text: str) -> str:
    return text[: len(BIG)]


@app.workflow
async def pipeline(ctx: WorkflowContext, text: str) -> str:
    doubled = await ctx.call_activity(second_time_lucky, text)
    await ctx.wait_for_external_event("go")
    return await ctx.call_activity(shorten, doubled)


@app.workflow
async def calls(ctx: WorkflowContext, text: str) -> str:
    return await ctx.call_activity(second_time_lucky, text)


@app.workflow
async def generations(ctx: WorkflowContext, text: str) -> str:
    news = await ctx.wait_for_external_event("news", type=str)
    if news:
        ctx.continue_as_new(text + news)
    return text


def table_of(engine: Engine) -> PayloadStore:
    assert isinstance(engine.store, KeepsPayloads)
    return engine.store.payloads


async def scopes(engine: Engine) -> list[str]:
    """To what the objects of the deployment belong: to a start, or a generation by its number."""
    return sorted(
        [key.split("/")[-2] async for key, _ in table_of(engine).keys(f"{engine.place.namespace}/")]
    )


def sweeper_of(running: Running) -> Sweeper:
    service = running.service
    assert isinstance(service, Orchestrator)
    assert service._running is not None
    [sweeper] = [part for part in service._running.parts.others if isinstance(part, Sweeper)]
    return sweeper


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    return await make_engine(app, **IN_DATABASE)


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    settings = ClientSettings(namespace=engine.place.namespace, poll_interval=0.2, **IN_DATABASE)
    broker = engine.place.broker("client")
    await broker.open()
    async with Client(settings, store=engine.store, broker=broker, app=app) as client:
        yield client
    await broker.close()


@pytest.mark.semantics("payload store", "Large payloads in the database")
async def test_rows_stay_small_and_workers_get_values(engine: Engine, client: Client) -> None:
    """Each attempt too, and what is sent again after a takeover; a local activity gets them as well."""
    first = await engine.orchestrator()
    handle = await client.start(pipeline, BIG, instance_id="one")
    await first.kill()  # before any worker was there: the task is sent again, from the history
    second = await engine.orchestrator()
    await engine.worker(**IN_DATABASE)

    async def doubled() -> bool:
        return any(type(event).__name__ == "ActivityCompleted" for event in await handle.history())

    await until(doubled)
    await second.kill()
    await engine.orchestrator()
    await handle.raise_event("go", None)
    assert await handle.result(timeout=20) == BIG
    assert (await handle.status()).input == BIG
    tables = [row for row in await stored(engine.place) if row.startswith(b"('one'")]
    assert tables
    assert max(len(row) for row in tables) < 3 * THRESHOLD
    assert (await scopes(engine)).count("0") == 4, "two inputs, two results; the output is the last result"


@pytest.mark.semantics("Large payloads in the database")
async def test_a_wiped_broker_is_given_values_again(engine: Engine, client: Client) -> None:
    """Rule B1: what is pending is sent again, from what memory has of it."""
    await engine.orchestrator()
    handle = await client.start(calls, BIG)
    await wipe(engine)
    await engine.worker(**IN_DATABASE)
    assert await handle.result(timeout=30) == BIG * 2


@pytest.mark.semantics("Large payloads in the database")
async def test_they_go_with_their_generation_and_their_run(engine: Engine, client: Client) -> None:
    await engine.orchestrator()
    handle = await client.start(generations, BIG, instance_id="one")
    for news in (BIG, BIG, ""):
        await handle.raise_event("news", news)
    assert await handle.result(timeout=20) == BIG * 3

    async def only_the_last() -> bool:
        return set(await scopes(engine)) == {"start", "2"}

    await until(only_the_last)
    await handle.purge()

    async def gone() -> bool:
        return not await scopes(engine)

    await until(gone)


async def test_a_sweep_deletes_what_a_crash_left(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await engine.orchestrator()
    handle = await client.start(generations, BIG, instance_id="one")
    record = await engine.record("one")
    shelf = sweeper_of(running)._env.shelf
    left = {f"{shelf.prefix('one', run, 0)}x": b"x" for run in ("another-run", "no-run")}
    kept = f"{shelf.prefix('one', record.run, 0)}y"
    await table_of(engine).put({**left, kept: b"y"})
    assert await sweeper_of(running).sweep() == 0, "they are young"
    monkeypatch.setattr("tenuto_orchestrator.sweeper._GRACE", timedelta(hours=-1))
    assert await sweeper_of(running).sweep() == 2
    assert [*await table_of(engine).get([*left, kept])] == [kept]
    await handle.raise_event("news", "")
    assert await handle.result(timeout=20) == BIG


@pytest.mark.semantics("Large payloads in the database")
async def test_what_no_message_can_carry_to_a_worker_fails_its_activity(
    engine: Engine, client: Client
) -> None:
    await engine.orchestrator(broker=engine.place.broker("narrow", max_message_bytes=5000))
    await engine.worker(**IN_DATABASE)
    handle = await client.start(calls, BIG)
    with pytest.raises(Exception, match="too large") as caught:
        await handle.result(timeout=20)
    assert "second_time_lucky" in str(caught.value)
