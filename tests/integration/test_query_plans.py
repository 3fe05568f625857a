"""No statement of the running engine reads a table that grows from end to end, however many instances have ended."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection, create_engine, make_url, text

from tenuto import App, WorkflowContext
from tenuto.client import InstanceFilter
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto.store import make_store
from tenuto_gateway.dev import DevServer
from tests.support.engine import until

app = App("plans")
GROWING = ("instances", "history", "timers", "inbox", "outbox", "seen", "tags", "payloads")


@app.activity
async def step(number: int) -> int:
    return number + 1


@app.workflow
async def leaf(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(step, number)


@app.workflow
async def everything(ctx: WorkflowContext, number: int) -> Any:
    await ctx.create_timer(0.01)
    number = await ctx.call_child_workflow(leaf, number)
    return number + await ctx.wait_for_external_event("go", type=int)


async def run(url: str) -> None:
    settings = OrchestratorSettings(database_url=url, broker_url="memory://", partitions=4, residents=2)
    server = DevServer(app, settings, WorkerSettings(), ClientSettings())
    await server.start()
    async with server.client() as client:
        handles = [await client.start(everything, number, tags={"n": str(number)}) for number in range(6)]
        for handle in handles:
            await handle.raise_event("go", 1)
        assert await asyncio.gather(*(handle.result(timeout=30) for handle in handles)) == list(range(2, 8))
        for where in (InstanceFilter(workflow="leaf"), InstanceFilter(tags={"n": "3"}), InstanceFilter()):
            page = await client.list_page(where, limit=3)
            assert page.instances
            if page.next is not None:
                await client.list_page(where, limit=3, after=page.next)
        await handles[0].purge()
    await server.stop()


def scans(connection: Connection) -> dict[str, tuple[int, int]]:
    """By table, how often it was read from end to end, and how often by an index."""
    connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    rows = connection.execute(
        text("SELECT relname, seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables")
    )
    return {name.removeprefix("tenuto_"): (whole, by_index) for name, whole, by_index in rows}


async def test_every_statement_finds_its_rows_by_an_index(postgres_url: str) -> None:
    """A database of many finished instances does not slow the hot path, and listings go by keyset."""
    store = make_store(postgres_url)
    await store.upgrade()  # making an index reads its table
    await store.close()
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        before = scans(connection)
        await run(postgres_url)

        async def counted() -> bool:
            """A session tells what it has done when it ends."""
            return scans(connection)["history"][1] > before["history"][1]

        await until(counted)
        after = scans(connection)
    engine.dispose()
    read_whole = {name: after[name][0] - before[name][0] for name in GROWING}
    assert read_whole == dict.fromkeys(GROWING, 0)
    assert after["instances"][1] > before["instances"][1]
