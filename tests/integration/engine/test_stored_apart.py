"""Large payloads are stored apart and referred to; references survive replay, and go with what they belong to."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tenuto import App, Client, WorkflowContext
from tenuto.broker.protocol import Outgoing
from tenuto.core.events import ActivityScheduled
from tenuto.core.status import Status
from tenuto.errors import PayloadSealedError, StoreUnavailableError
from tenuto.naming import Names
from tenuto.payload_store import ObjectStore
from tenuto.settings import ClientSettings
from tenuto_orchestrator import Orchestrator
from tenuto_orchestrator.sweeper import Sweeper
from tests.integration.engine.conftest import MakeEngine
from tests.support.eavesdropper import Eavesdropper, stored
from tests.support.engine import Engine, Running, until

BIG = "large" * 2000
THRESHOLD = 1000
KEYS = f"k1:{base64.b64encode(b'k' * 32).decode()}"

app = App("apart")


@app.activity
async def double(text: str) -> str:
    return text + text


@app.workflow
async def child(ctx: WorkflowContext, text: str) -> str:
    return await ctx.call_activity(double, text)


@app.workflow
async def pipeline(ctx: WorkflowContext, text: str) -> list[int]:
    doubled = await ctx.call_activity(double, text)
    again = await ctx.call_activity(double, doubled)
    below = await ctx.call_child_workflow(child, text)
    news = await ctx.wait_for_external_event("news", type=str)
    return [len(text), len(doubled), len(again), len(below), len(news)]


@app.workflow
async def echo(_: WorkflowContext, text: str) -> str:
    return text


@app.workflow
async def generations(ctx: WorkflowContext, text: str) -> str:
    news = await ctx.wait_for_external_event("news", type=str)
    if news:
        ctx.continue_as_new(text + news)
    return text


@app.workflow
async def parent(ctx: WorkflowContext, text: str) -> int:
    return len(await ctx.call_child_workflow(generations, text, instance_id="below"))


class Scene:
    """An engine with a payload store in a directory."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.settings: dict[str, Any] = {
            "payload_store": f"file://{folder}",
            "payload_threshold": THRESHOLD,
        }

    async def client(self, **settings: Any) -> Client:
        engine = self.engine
        broker = engine.place.broker("apart client")
        await broker.open()
        engine.stack.push_async_callback(broker.close)
        made = ClientSettings(namespace=engine.place.namespace, poll_interval=0.2, **settings)
        client = Client(made, store=engine.store, broker=broker, app=app)
        return await engine.stack.enter_async_context(client)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
async def scene(make_engine: MakeEngine, tmp_path: Path) -> Scene:
    return Scene(await make_engine(app), tmp_path / "payloads")


@pytest.mark.semantics("payload store")
async def test_large_payloads_go_neither_into_histories_nor_into_messages(scene: Scene) -> None:
    engine = scene.engine
    ears = [Eavesdropper(engine.place.broker("ear")) for _ in range(2)]
    encrypted = scene.settings | {"payload_codec": "aes-gcm", "payload_keys": KEYS}
    await engine.orchestrator(broker=ears[0], **encrypted)  # type: ignore[arg-type]  # it stands for a broker
    await engine.worker(broker=ears[1], **encrypted)  # type: ignore[arg-type]  # likewise
    client = await scene.client(**encrypted)
    handle = await client.start(pipeline, BIG, instance_id="one")
    await handle.raise_event("news", BIG)
    size = len(BIG)
    assert await handle.result() == [size, 2 * size, 4 * size, 2 * size, size]
    assert max(len(message) for ear in ears for message in ear.heard) < 3 * THRESHOLD
    rows = [row for row in await stored(engine.place) if row.startswith(b"('one'")]
    assert rows
    # What goes to another instance is kept by the sender by value: the child's input.
    assert sum(len(row) > 5 * THRESHOLD for row in rows) <= 1
    assert scene.files()
    assert not [file for file in scene.files() if b"large" in file.read_bytes()]

    assert (await handle.status()).input == BIG
    history = await handle.history()
    assert (
        len([e for e in history if isinstance(e, ActivityScheduled) and BIG.encode() in bytes(e.input)]) == 2
    )
    [listed] = [one async for one in client.list() if one.instance_id == "one"]
    assert listed.output == [size, 2 * size, 4 * size, 2 * size, size]
    with pytest.raises(PayloadSealedError, match="sealed"):  # a listing does not fetch what is large
        _ = listed.input


@pytest.mark.semantics("payload store")
async def test_references_survive_replay_and_go_with_a_purge(scene: Scene) -> None:
    engine = scene.engine
    first = await engine.orchestrator(**scene.settings)
    await engine.worker(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(pipeline, BIG, instance_id="one")

    async def waits() -> bool:
        return any(type(event).__name__ == "ChildCompleted" for event in await handle.history())

    await until(waits)
    await first.kill()
    await engine.orchestrator(**scene.settings)
    await handle.raise_event("news", BIG)
    assert (await handle.result())[-1] == len(BIG)
    assert scene.files()
    await handle.purge()

    async def gone() -> bool:
        return not scene.files()

    await until(gone)


async def test_a_rewound_parent_gets_the_large_result_of_a_child_that_has_completed(scene: Scene) -> None:
    await scene.engine.orchestrator(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(parent, BIG)
    await scene.engine.status("below", Status.RUNNING)
    await handle.terminate(recursive=False)
    below = client.get("below", generations)
    await below.raise_event("news", "")
    assert await below.result() == BIG
    await handle.rewind()
    assert await handle.result() == len(BIG)


@pytest.mark.semantics("payload store")
async def test_a_generation_takes_its_payloads_with_it_and_leaves_the_start(scene: Scene) -> None:
    engine = scene.engine
    await engine.orchestrator(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(generations, BIG, instance_id="one")
    for _ in range(3):
        await handle.raise_event("news", BIG)
    await handle.raise_event("news", "")
    assert await handle.result() == BIG * 4
    status = await handle.status()
    assert status.generation == 3
    assert status.input == BIG

    async def swept() -> bool:
        return {file.parent.name for file in scene.files()} == {"start", "3"}

    await until(swept)


def sweeper_of(running: Running) -> Sweeper:
    service = running.service
    assert isinstance(service, Orchestrator)
    assert service._running is not None
    [sweeper] = [part for part in service._running.parts.others if isinstance(part, Sweeper)]
    return sweeper


@pytest.mark.semantics("payload store")
async def test_a_sweep_deletes_what_a_crash_left_and_nothing_that_is_referred_to(scene: Scene) -> None:
    engine = scene.engine
    running = await engine.orchestrator(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(generations, BIG, instance_id="one")
    await handle.raise_event("news", BIG)
    await handle.raise_event("news", "")
    assert await handle.result() == BIG * 2
    record = await engine.record("one")

    async def settled() -> bool:
        return {file.parent.name for file in scene.files()} == {"start", "1"}

    await until(settled)
    wanted = scene.files()
    name = base64.urlsafe_b64encode(b"one").decode().rstrip("=")
    base = scene.folder / engine.place.namespace
    orphans = [
        base / name / "@" / record.run / "0" / "left-by-a-crash",
        base / name / "@" / "another-run" / "start" / "x",
        base / base64.urlsafe_b64encode(b"gone").decode().rstrip("=") / "@" / "r" / "0" / "x",
    ]
    young = base / base64.urlsafe_b64encode(b"coming").decode().rstrip("=") / "@" / "r" / "start" / "x"
    foreign = base / "not-ours.txt"
    for file in (*orphans, young, foreign):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    long_ago = time.time() - 7200
    for file in (*orphans, *wanted, foreign):
        os.utime(file, (long_ago, long_ago))
    assert await sweeper_of(running).sweep() == 3
    assert scene.files() == sorted([*wanted, young, foreign])
    assert await sweeper_of(running).sweep() == 0


async def test_a_worker_that_cannot_reach_the_store_fails_the_activity_with_advice(scene: Scene) -> None:
    await scene.engine.orchestrator(**scene.settings)
    await scene.engine.worker()
    client = await scene.client(**scene.settings)
    handle = await client.start(child, BIG)
    with pytest.raises(Exception, match="is TENUTO_PAYLOAD_STORE the one"):
        await handle.result()


async def test_an_orchestrator_without_the_store_stalls_the_instance_until_one_has_it(scene: Scene) -> None:
    engine = scene.engine
    first = await engine.orchestrator(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(generations, BIG, instance_id="one")
    without = await engine.orchestrator()
    await first.stop()
    await handle.raise_event("news", "", wait=False)
    record = await engine.status("one", Status.STALLED)
    assert "TENUTO_PAYLOAD_STORE" in (record.reason or "")
    await engine.orchestrator(**scene.settings)
    await without.stop()
    assert await handle.result() == BIG


class Fickle:
    """A payload store that is away now and then."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.away = False
        self.refused = 0

    def _check(self) -> None:
        if self.away:
            self.refused += 1
            raise StoreUnavailableError("the payload store is away")

    async def put(self, objects: Mapping[str, bytes]) -> None:
        self._check()
        await self.inner.put(objects)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        self._check()
        return await self.inner.get(keys)

    async def delete(self, prefix: str) -> None:
        self._check()
        await self.inner.delete(prefix)

    async def keys(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        self._check()
        async for entry in self.inner.keys(prefix):
            yield entry


@pytest.mark.semantics("payload store")
async def test_a_store_that_is_away_delays_and_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenuto.shelf._ATTEMPTS", 2)
    engine = scene.engine
    store = Fickle(ObjectStore(f"file://{scene.folder}"))
    await engine.orchestrator(objects=store, payload_threshold=THRESHOLD)
    client = await scene.client(**scene.settings)
    store.away = True
    handle = await client.start(echo, BIG, instance_id="one", wait=False)

    async def tried() -> bool:
        return store.refused > 4

    await until(tried)
    assert "one" not in await engine.store.instances(["one"])
    store.away = False
    assert await handle.result() == BIG


async def test_a_store_that_is_away_stalls_no_instance_whose_history_is_to_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenuto.shelf._ATTEMPTS", 2)
    engine = scene.engine
    first = await engine.orchestrator(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(generations, BIG, instance_id="one")
    await first.kill()
    store = Fickle(ObjectStore(f"file://{scene.folder}"))
    store.away = True
    await engine.orchestrator(objects=store, payload_threshold=THRESHOLD)
    await handle.raise_event("news", "", wait=False)

    async def tried() -> bool:
        assert (await engine.record("one")).status is not Status.STALLED
        return store.refused > 4

    await until(tried)
    store.away = False
    assert await handle.result() == BIG


@pytest.mark.parametrize("key", ["a/../b", "", "x//y", "x" * 2000])
async def test_a_key_that_nobody_made_stalls_its_own_instance_only(scene: Scene, key: str) -> None:
    engine = scene.engine
    await engine.orchestrator(partitions=1, **scene.settings)
    broker = engine.place.broker("outsider")
    await broker.open()
    engine.stack.push_async_callback(broker.close)
    forged = {"$tenuto": 1, "codecs": [], "key": key}
    body = json.dumps({"workflow": "echo", "instance_id": "forged", "input": forged}).encode()
    await broker.publish([Outgoing(queue=Names(engine.place.namespace).start, body=body)])
    record = await engine.status("forged", Status.STALLED)
    assert "not of that instance" in (record.reason or "")
    client = await scene.client(**scene.settings)
    assert await (await client.start(echo, BIG, instance_id="one")).result() == BIG


async def test_small_payloads_never_see_the_store(scene: Scene) -> None:
    await scene.engine.orchestrator(**scene.settings)
    await scene.engine.worker(**scene.settings)
    client = await scene.client(**scene.settings)
    handle = await client.start(child, "small")
    assert await handle.result() == "smallsmall"
    assert scene.files() == []
