"""SEMANTICS, *Rerun, rewind, restart*: rerun from event."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenuto import (
    AlreadyExistsError,
    App,
    Client,
    NotFoundError,
    RequestError,
    Status,
    WorkflowContext,
    activity,
    when_all,
)
from tenuto.core.events import ActivityScheduled, ExecutionRerun
from tenuto.faults import Faults
from tenuto.settings import ClientSettings, GatewaySettings
from tenuto_gateway.http.app import make_app
from tests.integration.engine.conftest import MakeEngine
from tests.support.eavesdropper import stored
from tests.support.engine import Engine, until

app = App("rerunning")
runs: Counter[str] = Counter()
keys: dict[str, list[str]] = {}


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    runs.clear()
    keys.clear()


@asynccontextmanager
async def patient(engine: Engine) -> AsyncIterator[Client]:
    """A client that hears why something is refused, however long the notification takes."""
    broker = engine.place.broker("patient")
    await broker.open()
    settings = ClientSettings(namespace=engine.place.namespace, poll_interval=20)
    async with Client(settings, store=engine.store, broker=broker, app=app) as client:
        yield client
    await broker.close()


@app.activity
async def step(name: Any) -> str:
    runs[str(name)] += 1
    keys.setdefault(str(name), []).append(activity.context().idempotency_key)
    return f"{name} done"


@app.workflow
async def steps(ctx: WorkflowContext, names: list[str]) -> list[Any]:
    return [await ctx.call_activity(step, name) for name in names]


@app.workflow
async def child(ctx: WorkflowContext, name: str) -> str:
    return await ctx.call_activity(step, name)


@app.workflow
async def waits(ctx: WorkflowContext) -> Any:
    """A call of each kind is pending while it goes on."""
    pending = [
        ctx.call_child_workflow(child, "of mine"),
        ctx.create_timer(0.01),
        ctx.wait_for_external_event("go", timeout=600),
    ]
    first = await ctx.call_activity(step, "first")
    second = await ctx.call_activity(step, "second")
    return [first, second, await when_all(pending)]


@app.workflow
async def generations(ctx: WorkflowContext, number: int) -> list[str]:
    drawn = [str(ctx.new_uuid())]
    await ctx.call_activity(step, f"a{number}")
    await ctx.call_activity(step, f"b{number}")
    if number < 2:
        ctx.continue_as_new(number + 1)
    return drawn


@app.workflow
async def alive(ctx: WorkflowContext) -> Any:
    return await ctx.wait_for_external_event("go")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.mark.semantics("Rerun")
async def test_what_was_done_before_is_kept_and_the_rest_is_done_again(engine: Engine) -> None:
    """Rerun from event: a new instance from a terminal one, history kept up to a given command."""
    old = await engine.client.start(steps, ["a", "b", "c"], tags={"shop": "berlin"})
    assert await old.result(timeout=20) == ["a done", "b done", "c done"]
    new = await old.rerun(1)
    assert await new.result(timeout=20) == ["a done", "b done", "c done"]
    assert runs == {"a": 1, "b": 2, "c": 2}
    assert len({key for each in keys.values() for key in each}) == 5, "what is done again has other keys"
    before, after = await old.status(), await new.status()
    assert (after.input, after.tags, after.parent) == (before.input, before.tags, None)
    assert (after.instance_id != before.instance_id, after.run != before.run) == (True, True)
    (mark,) = [each for each in await new.history() if isinstance(each, ExecutionRerun)]
    assert (mark.instance, mark.run, mark.command) == (old.instance_id, before.run, 1)
    assert not [each for each in await old.history() if isinstance(each, ExecutionRerun)]


@pytest.mark.semantics("Rerun")
async def test_with_another_input_and_an_id_of_its_own(engine: Engine) -> None:
    """… optionally with another input for it."""
    old = await engine.client.start(steps, ["a", "b"], instance_id="old")
    await old.result(timeout=20)
    new = await old.rerun(1, input="better", instance_id="new")
    assert (new.instance_id, await new.result(timeout=20)) == ("new", ["a done", "better done"])
    nothing = await old.rerun(1, input=None)
    assert await nothing.result(timeout=20) == ["a done", "None done"], "null is an input too"
    once_more = await new.rerun(0)
    assert await once_more.result(timeout=20) == ["a done", "b done"]


@pytest.mark.semantics("Rerun")
async def test_what_was_pending_is_asked_for_anew_and_nothing_waits_for_ever(engine: Engine) -> None:
    old = await engine.client.start(waits, instance_id="old")
    await engine.status("old", Status.RUNNING)

    async def waited() -> bool:
        return runs["second"] == 1 and runs["of mine"] == 1

    await until(waited)
    with pytest.raises(RequestError, match="it is RUNNING, and only what has ended can be rerun"):
        await old.rerun(4)
    await old.terminate()
    second = next(
        each.id
        for each in await old.history()
        if isinstance(each, ActivityScheduled) and bytes(each.input) == b'"second"'
    )
    new = await old.rerun(second, instance_id="new")
    await new.raise_event("go", "on")
    assert await new.result(timeout=20) == ["first done", "second done", ["of mine done", None, "on"]]
    assert runs == {"first": 1, "second": 2, "of mine": 2}
    assert (await old.status()).status is Status.TERMINATED


@pytest.mark.semantics("Rerun")
async def test_a_later_generation_is_rerun_as_it_was(engine: Engine) -> None:
    old = await engine.client.start(generations, 0)
    drawn = await old.result(timeout=20)
    new = await old.rerun(1)
    assert await new.result(timeout=20) == drawn, "drawn in what is kept"
    assert (await new.status()).generation == 2
    assert runs == {"a0": 1, "b0": 1, "a1": 1, "b1": 1, "a2": 1, "b2": 2}
    assert await (await old.rerun(0)).result(timeout=20) != drawn


@pytest.mark.semantics("Rerun")
async def test_what_cannot_be_rerun_says_why(engine: Engine) -> None:
    async with patient(engine) as client:
        old = await client.start(steps, ["a"], instance_id="old")
        await old.result(timeout=20)
        await client.start(alive, instance_id="alive")
        with pytest.raises(
            RequestError, match=r"'old' cannot be rerun from event 5: its history has no event 5"
        ):
            await old.rerun(5)
        with pytest.raises(RequestError, match="event 1 is of the kind ExecutionCompleted"):
            await old.rerun(1)
        with pytest.raises(RequestError, match="needs an id of its own"):
            await old.rerun(0, instance_id="old")
        with pytest.raises(AlreadyExistsError, match="'alive' exists and is RUNNING"):
            await old.rerun(0, instance_id="alive")
        with pytest.raises(NotFoundError, match="there is no instance 'nobody'"):
            await client.get("nobody").rerun(0, instance_id="new")
    assert runs == {"a": 1}
    assert set(await engine.store.instances(["old", "alive", "new"])) == {"old", "alive"}


@pytest.mark.semantics("Rerun")
async def test_with_a_message_id_it_happens_once(engine: Engine) -> None:
    old = await engine.client.start(steps, ["a", "b"])
    await old.result(timeout=20)
    made = [await old.rerun(1, message_id="again") for _ in range(2)]
    assert len({each.instance_id for each in made}) == 1
    for each in made:
        await each.result(timeout=20)
    assert runs == {"a": 1, "b": 2}


@pytest.mark.semantics("Rerun")
async def test_it_survives_the_purge_of_what_it_came_from_and_a_change_of_owners(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app)
    orchestrator = await engine.orchestrator()
    worker = await engine.worker()
    old = await engine.client.start(steps, ["a", "b", "c"])
    await old.result(timeout=20)
    await worker.stop()
    new = await old.rerun(1)
    await old.purge()
    await orchestrator.stop()
    await engine.orchestrator()
    await engine.worker()
    assert await new.result(timeout=20) == ["a done", "b done", "c done"]
    assert runs == {"a": 1, "b": 2, "c": 2}


@pytest.mark.semantics("Rerun")
@pytest.mark.parametrize("point", ["commit.before", "commit.after"])
async def test_a_crash_on_the_way_makes_one_instance(make_engine: MakeEngine, point: str) -> None:
    engine = await make_engine(app)
    crash = _Crash(point)
    orchestrator = await engine.orchestrator(faults=crash)
    worker = await engine.worker()
    old = await engine.client.start(steps, ["a", "b"])
    await old.result(timeout=20)
    await worker.stop()
    crash.armed = True
    new = await old.rerun(1, instance_id="new", wait=False)
    async with asyncio.timeout(20):
        await crash.reached.wait()
    await orchestrator.kill()
    assert bool(await engine.store.instances(["new"])) is (point == "commit.after")
    await engine.orchestrator()
    await engine.worker()
    assert await new.result(timeout=20) == ["a done", "b done"]
    assert runs == {"a": 1, "b": 2}
    assert len(await engine.store.history("new")) == 2, (
        "the kept history and the first turn, and the last one"
    )


class _Crash(Faults):
    """Stops for ever at a point once it is armed: the process is as good as dead."""

    def __init__(self, point: str) -> None:
        self.armed = False
        self.reached = asyncio.Event()
        self._point = point

    async def reach(self, point: str) -> None:
        if self.armed and point == self._point:
            self.reached.set()
            await asyncio.Event().wait()


@pytest.mark.semantics("Rerun")
async def test_payloads_are_sealed_and_stored_apart_for_the_new_instance(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    """Neither an envelope of the old instance's nor an object of it is referred to by the new one."""
    secret, large = "4111-1111", "large" * 500
    key = base64.b64encode(b"k" * 32).decode()
    settings: dict[str, Any] = {
        "payload_store": f"file://{tmp_path / 'payloads'}",
        "payload_codec": "aes-gcm",
        "payload_keys": f"k1:{key}",
        "payload_threshold": 100,
    }
    engine = await make_engine(app)
    await engine.orchestrator(**settings)
    await engine.worker(**settings)
    broker = engine.place.broker("another client")
    await broker.open()
    engine.stack.push_async_callback(broker.close)
    made = ClientSettings(namespace=engine.place.namespace, poll_interval=0.2, **settings)
    async with Client(made, store=engine.store, broker=broker, app=app) as client:
        old = await client.start(steps, [secret, large, "last"])
        assert await old.result(timeout=20) == [f"{secret} done", f"{large} done", "last done"]
        new = await old.rerun(2, input=f"better {secret}")
        await old.purge()
        assert await new.result(timeout=20) == [f"{secret} done", f"{large} done", f"better {secret} done"]
        assert (await new.status()).input == [secret, large, "last"]
        assert not [row for row in await stored(engine.place) if secret.encode() in row]


async def test_over_http(engine: Engine) -> None:
    old = await engine.client.start(steps, ["a", "b"], instance_id="old")
    await old.result(timeout=20)
    async with patient(engine) as client:
        served, _ = make_app(client, GatewaySettings(namespace=engine.place.namespace))
        await _over_http(engine, httpx.ASGITransport(served))


async def _over_http(engine: Engine, transport: httpx.ASGITransport) -> None:
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as http:
        path = "/api/v1/instances/old"
        made = await http.post(f"{path}/rerun", json={"event_id": 1, "instance_id": "new", "input": "x"})
        assert (made.status_code, made.headers["location"]) == (201, "/api/v1/instances/new")
        assert await engine.client.get("new").result(timeout=20) == ["a done", "x done"]
        refused = await http.post(f"{path}/rerun", json={"event_id": 7})
        assert (
            refused.status_code == 409
        )  # it says why only where the notice of it comes before the slow look
        missing = await http.post("/api/v1/instances/nobody/rerun", json={"event_id": 0})
        assert missing.status_code == 404
        wrong = await http.post(f"{path}/rerun", json={"event_id": "one"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "event_id")
        stored_only = await http.post(f"{path}/rerun?wait=false", json={"event_id": 0})
        assert (stored_only.status_code, "retry-after" in stored_only.headers) == (202, True)
        waited = await http.get(stored_only.headers["location"])
        assert (waited.status_code, waited.json()["output"]) == (200, ["a done", "b done"])


@pytest.mark.semantics("Restart")
async def test_a_restart_over_http(engine: Engine) -> None:
    """Restart: same input, new instance."""
    old = await engine.client.start(steps, ["a"], instance_id="old")
    await old.result(timeout=20)
    await engine.client.start(alive, instance_id="alive")
    served, _ = make_app(engine.client, GatewaySettings(namespace=engine.place.namespace))
    transport = httpx.ASGITransport(served)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as http:
        made = await http.post("/api/v1/instances/old/restart")
        assert made.status_code == 201
        shown = await http.get(f"{made.headers['location']}/wait?until=ended")
        assert (shown.json()["input"], shown.json()["output"]) == (["a"], ["a done"])
        in_place = await http.post("/api/v1/instances/old/restart", json={"instance_id": "old"})
        assert (in_place.status_code, in_place.headers["location"]) == (201, "/api/v1/instances/old")
        taken = await http.post("/api/v1/instances/old/restart", json={"instance_id": "alive"})
        assert taken.status_code == 409
        missing = await http.post("/api/v1/instances/nobody/restart")
        assert missing.status_code == 404
