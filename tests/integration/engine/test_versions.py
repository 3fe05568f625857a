"""Releases and versions beside each other: who may write what, and which code takes which instance on."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Outgoing
from tenuto.core import events
from tenuto.core.events import EventSent
from tenuto.core.status import Status
from tenuto.naming import Names, partition_of
from tenuto_orchestrator import service
from tests.integration.engine.conftest import MakeEngine

app = App("versions")
_PARTITIONS = 4


@app.workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_external_event("go", type=str)


@app.workflow
async def sends(ctx: WorkflowContext, receiver: str) -> str:
    before = await ctx.wait_for_external_event("go", type=str)
    ctx.send_event(receiver, "go", before)
    return "sent"


def _one_per_partition() -> list[str]:
    ids = {partition_of(name, _PARTITIONS): name for name in (f"sender-{n}" for n in range(200))}
    assert len(ids) == _PARTITIONS
    return list(ids.values())


@pytest.mark.semantics("kind of event")
async def test_a_new_kind_of_event_waits_until_every_orchestrator_reads_it(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule U1: the turn is not committed, the instance stalls with the reason, and goes on by itself."""
    monkeypatch.setattr(events, "EVENT_LEVELS", {EventSent: events.EVENT_FORMAT})
    engine = await make_engine(app, partitions=_PARTITIONS)
    with monkeypatch.context() as older:
        older.setattr(service, "EVENT_FORMAT", events.EVENT_FORMAT - 1)
        first = await engine.orchestrator()
    receiver = await engine.client.start(waits)
    senders = [
        await engine.client.start(sends, receiver.instance_id, instance_id=i) for i in _one_per_partition()
    ]
    await engine.orchestrator()
    for sender in senders:
        await sender.raise_event("go", "hello", wait=False)
    for sender in senders:
        record = await engine.status(sender.instance_id, Status.STALLED)
        assert "would write an event EventSent" in (record.reason or "")
        assert "cannot read" in (record.reason or "")
        assert not any(isinstance(event, EventSent) for event in await sender.history())
    assert (await engine.record(receiver.instance_id)).status is Status.RUNNING

    await first.stop()
    assert [await sender.result(timeout=20) for sender in senders] == ["sent"] * _PARTITIONS
    assert await receiver.result(timeout=20) == "hello"


# Patches and versions ------------------------------------------------------------------------------------


def _release(code: Any, *, name: str = "job", version: str | None = None, base: App | None = None) -> App:
    """An app whose workflow of that name runs `code`, beside those of `base`."""
    release = App("releases")
    if base is not None:
        release.include(base)
    release.workflow(name=name, version=version)(code)
    return release


async def _before(ctx: WorkflowContext) -> list[str]:
    early = await ctx.wait_for_external_event("early", type=str)
    sent = "old way"
    late = await ctx.wait_for_external_event("late", type=str)
    return [early, sent, late]


async def _after(ctx: WorkflowContext) -> list[str]:
    early = await ctx.wait_for_external_event("early", type=str)
    sent = "new way" if ctx.is_patched("way") else "old way"
    late = await ctx.wait_for_external_event("late", type=str)
    return [early, sent, late]


@pytest.mark.semantics('ctx.is_patched("id")')
async def test_live_instances_go_on_with_patched_code(make_engine: MakeEngine) -> None:
    """`ctx.is_patched("id")`: true for new executions and those that passed it, false for histories from before."""
    engine = await make_engine(_release(_before))
    first = await engine.orchestrator()
    past, before = [await engine.client.start("job", instance_id=name) for name in ("past", "before")]
    await past.raise_event("early", "a")
    await first.stop()

    second = await engine.orchestrator(_release(_after))
    new = await engine.client.start("job", instance_id="new")
    await before.raise_event("early", "b")
    await new.raise_event("early", "c")
    await second.stop()

    await engine.orchestrator(_release(_after))  # which replays them all
    for handle in (past, before, new):
        await handle.raise_event("late", "z")
    assert await past.result(timeout=20) == ["a", "old way", "z"]
    assert await before.result(timeout=20) == ["b", "new way", "z"]
    assert await new.result(timeout=20) == ["c", "new way", "z"]


@pytest.mark.semantics("Histories without any patch")
async def test_an_instance_stalls_without_its_patch_and_goes_on_with_it(make_engine: MakeEngine) -> None:
    """A patch list that does not fit stalls."""
    engine = await make_engine(_release(_after))
    first = await engine.orchestrator()
    handle = await engine.client.start("job", instance_id="patched")
    await handle.raise_event("early", "a")
    await first.stop()

    second = await engine.orchestrator(_release(_before))
    await handle.raise_event("late", "z", wait=False)
    reason = (await engine.status("patched", Status.STALLED)).reason or ""
    assert "PatchRecorded #0 'way'" in reason
    await second.stop()

    await engine.orchestrator(_release(_after))
    assert await handle.result(timeout=20) == ["a", "new way", "z"]


async def _says_version(ctx: WorkflowContext) -> str:
    await ctx.wait_for_external_event("go")
    return f"version {ctx.version}"


async def _has_child(ctx: WorkflowContext, version: str | None) -> str:
    return await ctx.call_child_workflow(
        "job", instance_id=f"{ctx.instance_id}-child", version=version, type=str
    )


@pytest.mark.semantics("New instances take the latest version")
async def test_new_instances_take_the_latest_version_and_live_ones_keep_theirs(
    make_engine: MakeEngine,
) -> None:
    """Several versions under one name, one the latest; children take the latest unless told."""
    one = _release(_says_version, version="1")
    both = _release(_has_child, name="parent", base=_release(_says_version, version="2", base=one))
    engine = await make_engine(both)
    first = await engine.orchestrator(one)
    old = await engine.client.start("job", instance_id="old")
    await old.started()
    await first.stop()

    await engine.orchestrator(both)
    new = await engine.client.start("job", instance_id="new")
    told = await engine.client.start("job", instance_id="told", version="1")
    parents = [
        await engine.client.start("parent", version, instance_id=f"of-{version}") for version in (None, "1")
    ]
    for name in ("of-None-child", "of-1-child"):
        await engine.status(name, Status.RUNNING)
    for name in ("old", "new", "told", "of-None-child", "of-1-child"):
        await engine.client.get(name).raise_event("go")
    assert [await handle.result(timeout=20) for handle in (old, new, told, *parents)] == [
        *("version 1", "version 2", "version 1"),
        *("version 2", "version 1"),
    ]


@pytest.mark.semantics("version nobody serves")
async def test_a_version_nobody_serves_stalls_the_instance(make_engine: MakeEngine) -> None:
    """And it goes on by itself when an orchestrator that serves it arrives."""
    one, two = _release(_says_version, version="1"), _release(_says_version, version="2")
    engine = await make_engine(one)
    first = await engine.orchestrator(one)
    handle = await engine.client.start("job", instance_id="pinned")
    await handle.started()
    await first.stop()

    second = await engine.orchestrator(two)
    await handle.raise_event("go", wait=False)
    assert "in version '1'" in ((await engine.status("pinned", Status.STALLED)).reason or "")
    await second.stop()

    await engine.orchestrator(_release(_says_version, version="2", base=one))
    assert await handle.result(timeout=20) == "version 1"


@pytest.mark.semantics("New instances take the latest version")
async def test_a_start_that_nobody_knew_takes_a_version_and_keeps_it(make_engine: MakeEngine) -> None:
    """It was held where its workflow was unknown; the latest when it begins is its own from then on."""
    two = _release(_says_version, version="2", base=_release(_says_version, version="1"))
    engine = await make_engine(two)
    first = await engine.orchestrator(App("knows nothing"))
    broker = engine.place.broker("outsider")
    await broker.open()
    body = b'{"workflow":"job","instance_id":"early","input":null}'
    await broker.publish([Outgoing(queue=Names(engine.place.namespace).start, body=body)])
    await broker.close()
    await engine.status("early", Status.STALLED)

    second = await engine.orchestrator(two)
    await first.stop()
    record = await engine.status("early", Status.RUNNING)
    assert record.version == "2"
    await second.stop()

    await engine.orchestrator(_release(_after, version="3", base=two))
    handle = engine.client.get("early")
    await handle.raise_event("go")
    assert await handle.result(timeout=20) == "version 2"
