"""The HTTP gateway over the whole engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import pytest

from tenuto import App, Client, Status, WorkflowContext
from tenuto.client import InstanceFilter, QueueKind
from tenuto.core.events import ExecutionCompleted
from tenuto.settings import ClientSettings, GatewaySettings
from tenuto_gateway.http.app import make_app
from tenuto_gateway.http.server import Gateway
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("http")


@app.workflow
async def approval(ctx: WorkflowContext, amount: int) -> str:
    ctx.set_custom_status("asked")
    decision = await ctx.wait_for_external_event("decision")
    return f"{amount}: {decision}"


@asynccontextmanager
async def http_of(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    served, _ = make_app(engine.client, GatewaySettings(namespace=engine.place.namespace))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(served), base_url="http://127.0.0.1:8420"
    ) as http:
        yield http


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    return engine


async def test_dapr_clients_drive_a_workflow(engine: Engine) -> None:
    async with http_of(engine) as http:
        flows = "/v1.0/workflows/dapr"
        assert (await http.post(f"{flows}/approval/start?instanceID=a1", content=b"7")).status_code == 202
        assert (await http.post(f"{flows}/a1/pause")).status_code == 202
        assert (await http.get(f"{flows}/a1")).json()["runtimeStatus"] == "SUSPENDED"
        assert (await http.post(f"{flows}/a1/raiseEvent/Decision", json="yes")).status_code == 202
        assert (await http.post(f"{flows}/a1/resume")).status_code == 202

        async def ended() -> bool:
            return (await http.get(f"{flows}/a1")).json()["runtimeStatus"] == "COMPLETED"

        await until(ended)
        shown = (await http.get(f"{flows}/a1")).json()
        assert shown["properties"] == {
            "dapr.workflow.input": "7",
            "dapr.workflow.output": '"7: yes"',
            "dapr.workflow.custom_status": '"asked"',
        }
        assert (await http.post(f"{flows}/approval/start?instanceID=a2", content=b"8")).status_code == 202
        assert (await http.post(f"{flows}/a2/terminate")).status_code == 202
        assert (await http.get(f"{flows}/a2")).json()["runtimeStatus"] == "TERMINATED"
        assert (await http.post(f"{flows}/a2/purge")).status_code == 202
        assert (await http.get(f"{flows}/a2")).status_code == 404


@pytest.mark.parametrize("max_wait", [60.0, 0.05], ids=["patient", "impatient"])
async def test_the_client_works_over_http(engine: Engine, max_wait: float) -> None:
    """The same client, through a gateway that listens: it waits, talks, looks, and follows to the end, however short
    the gateway's own waits are."""
    gateway = Gateway(engine.client, GatewaySettings(http_port=0, http_max_wait=max_wait))
    await gateway.start()
    try:
        async with Client(ClientSettings(api_url=gateway.url), app=app) as client:
            handle = await client.start(approval, 7, tags={"team": "red"})
            waiting = asyncio.create_task(handle.result(timeout=20))
            await handle.suspend("lunch")
            assert (await handle.status()).reason == "lunch"
            await handle.resume()
            await handle.raise_event("decision", "yes")
            assert await waiting == "7: yes"
            history = await handle.history()
            assert isinstance(history[-1], ExecutionCompleted)
            where = InstanceFilter(tags={"team": "red"})
            assert [one.instance_id async for one in client.list(where)] == [handle.instance_id]
            assert [one.count for one in await client.tally(where)] == [1]
            assert {queue.kind for queue in await client.queues()} >= {QueueKind.TURNS}
            assert await handle.purge() == 1
            others = [await client.start(approval, number, wait=False) for number in range(3)]
            for other in others:
                await other.started(timeout=20)
            assert (await client.terminate_all(InstanceFilter(workflow="approval"), wait=False)).asked == 3
            for other in others:
                assert (await other.ended(timeout=20)).status is Status.TERMINATED
            assert {one.name: one.live for one in (await client.registry()).workflows} == {"approval": 0}
    finally:
        await gateway.stop()


async def test_many_are_asked_at_once(engine: Engine) -> None:
    """Bulk requests: those that fit a filter; about all of them only if that is said."""
    async with http_of(engine) as http:
        for number in range(5):
            await engine.client.start(
                approval, number, instance_id=f"b{number}", tags={"odd": str(number % 2)}
            )
        unmeant = await http.post("/api/v1/bulk/terminate")
        assert (unmeant.status_code, unmeant.json()["field"]) == (422, "everything")
        suspended = await http.post("/api/v1/bulk/suspend?tag=odd=1", json={"reason": "lunch"})
        assert (suspended.status_code, suspended.json()["asked"]) == (200, 2)
        assert (await http.get("/api/v1/instances?status=SUSPENDED&counts=true")).json()["counts"] == {
            "SUSPENDED": 2
        }
        assert (await http.post("/api/v1/bulk/resume?tag=odd=1")).json()["asked"] == 2
        ended = await http.post("/api/v1/bulk/terminate?everything=true", json={"reason": "enough"})
        assert ended.json() == {"asked": 5, "refused": 0, "refusals": []}
        assert (await http.post("/api/v1/bulk/purge?tag=odd=0")).json()["asked"] == 3
        assert len((await http.get("/api/v1/instances")).json()["instances"]) == 2


async def test_schedules_are_kept_over_http(engine: Engine) -> None:
    async with http_of(engine) as http:
        schedules = "/api/v1/schedules"
        wanted = {
            "name": "each/night",
            "workflow": "approval",
            "input": 7,
            "cron": "0 3 * * *",
            "paused": True,
        }
        made = await http.post(schedules, json=wanted)
        assert (made.status_code, made.headers["location"]) == (201, f"{schedules}/each%2Fnight")
        one = made.headers["location"]
        assert (await http.post(schedules, json=wanted)).status_code == 409
        for field, value in {"cron": "never", "time_zone": "Mars", "jitter": -1, "name": ""}.items():
            wrong = await http.post(schedules, json=wanted | {"name": "x", field: value})
            assert (wrong.status_code, wrong.json()["field"]) == (422, field)
        for nobody in (await http.get(f"{schedules}/x"), await http.delete(f"{schedules}/x")):
            assert (nobody.status_code, nobody.json()["detail"][:26]) == (404, "There is no schedule 'x'; ")
        assert (await http.post(schedules, json=wanted | {"name": "x", "catch_up": "many"})).json()[
            "field"
        ] == "catch_up"

        async def begun() -> bool:
            return (await http.get(one)).status_code == 200

        await until(begun)
        assert (await http.get(one)).json()["paused"] is True
        assert (await http.patch(one, json={"time_zone": "Europe/Berlin"})).status_code == 204
        assert (await http.post(f"{one}/resume", json={"reason": "ready"})).status_code == 204

        async def changed() -> bool:
            shown = (await http.get(one)).json()
            return shown["time_zone"] == "Europe/Berlin" and not shown["paused"] and "next" in shown

        await until(changed)
        assert [found["name"] for found in (await http.get(schedules)).json()["schedules"]] == ["each/night"]
        run = (await http.post(f"{one}/trigger")).json()["instance_id"]
        await until(lambda: there(http, run))
        assert (await http.post(f"{one}/pause")).status_code == 204
        assert (await http.delete(one)).status_code == 204

        async def gone() -> bool:
            return (await http.get(one)).status_code == 404

        await until(gone)


async def there(http: httpx.AsyncClient, instance: str) -> bool:
    return (await http.get(f"/api/v1/instances/{quote(instance, safe='')}")).status_code == 200
