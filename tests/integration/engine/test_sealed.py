"""Payload codecs in the whole engine: neither the broker nor the database sees plain data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from tenuto import (
    ActivityError,
    App,
    ChildWorkflowError,
    Client,
    NotFoundError,
    Publisher,
    RetryPolicy,
    Saga,
    WorkflowContext,
    WorkflowFailedError,
    activity,
)
from tenuto.client import InstanceFilter
from tenuto.core.events import ActivityCompleted, ActivityScheduled
from tenuto.core.reserved import saga_instance
from tenuto.core.status import Status
from tenuto.errors import PayloadError
from tenuto.settings import ClientSettings, Settings
from tenuto.store.protocol import InboxRow
from tests.integration.engine.conftest import MakeEngine
from tests.support.eavesdropper import Eavesdropper, stored
from tests.support.engine import Engine, until

CARD = "4111-1111-1111-1111"
OLD, NEW = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))
SEALED = {"payload_codec": "zlib,aes-gcm", "payload_keys": OLD}

app = App("sealed", retry=RetryPolicy(max_attempts=2, first_interval=0.01))


@app.activity
async def charge(card: str) -> str:
    activity.heartbeat({"card": card})
    return f"charged {card}"


@app.activity
async def refuse(card: str) -> None:
    raise ValueError(f"refused {card}") from LookupError(card)


@app.workflow
async def part(ctx: WorkflowContext, card: str) -> str:
    ctx.send_event(f"{ctx.instance_id}".partition(":")[0], "told", f"told {card}")
    if card.endswith("?"):
        raise LookupError(f"no child for {card}")
    return f"child of {card}"


@app.workflow
async def pay(ctx: WorkflowContext, order: dict[str, Any]) -> list[str]:
    card = order["card"]
    ctx.set_custom_status({"paying": card})
    told = [await ctx.call_activity(charge, card)]
    told += [await ctx.call_child_workflow(part, card)]
    for call in (ctx.call_activity(refuse, card), ctx.call_child_workflow(part, f"{card}?")):
        try:
            await call
        except (ActivityError, ChildWorkflowError) as error:
            told.append(str(error))
    told += [await ctx.wait_for_external_event("told", type=str)]
    told += [await ctx.wait_for_external_event("approved", type=str)]
    if not order.get("again"):
        ctx.continue_as_new(order | {"again": True})
    return told


@app.workflow
async def guarded(ctx: WorkflowContext, card: str) -> None:
    async with ctx.lock("till"), Saga(ctx, compensate_on_terminate=True) as saga:
        await ctx.wait_for_external_event("told")
        saga.add(charge, card)
        ctx.set_custom_status(await ctx.call_activity(charge, card))
        await ctx.wait_for_external_event("never")


@app.workflow
async def fails(_: WorkflowContext, card: str) -> None:
    raise ValueError(f"refused {card}")


async def client_of(engine: Engine, **settings: Any) -> Client:
    broker = engine.place.broker("sealed client")
    await broker.open()
    engine.stack.push_async_callback(broker.close)
    made = ClientSettings(namespace=engine.place.namespace, poll_interval=0.2, **settings)
    client = Client(made, store=engine.store, broker=broker, app=engine.app)
    return await engine.stack.enter_async_context(client)


@pytest.mark.semantics("codecs")
async def test_neither_the_broker_nor_the_database_sees_plain_data(make_engine: MakeEngine) -> None:
    """Inputs, results, events, custom statuses, heartbeats and failures, of parents, children and later generations."""
    engine = await make_engine(app)
    ears = [Eavesdropper(engine.place.broker("ear")) for _ in range(2)]
    await engine.orchestrator(broker=ears[0], **SEALED)  # type: ignore[arg-type]  # it stands for a broker
    await engine.worker(broker=ears[1], beat_interval=0.01, **SEALED)  # type: ignore[arg-type]  # likewise
    client = await client_of(engine, **SEALED)
    handle = await client.start(pay, {"card": CARD}, instance_id="one", tags={"team": "red"})
    for _ in range(2):
        await handle.raise_event("approved", f"approved {CARD}")
    told = await handle.result()
    assert told[:2] == [f"charged {CARD}", f"child of {CARD}"]
    assert f"ValueError: refused {CARD}" in told[2]
    assert f"LookupError: no child for {CARD}?" in told[3]
    assert told[4].startswith(f"told {CARD}")
    assert told[5] == f"approved {CARD}"
    failed = await client.start(fails, CARD, instance_id="two")
    with pytest.raises(WorkflowFailedError, match=CARD):
        await failed.result()

    seen = await stored(engine.place) + ears[0].heard + ears[1].heard
    assert len(ears[0].heard) > 3
    assert len(ears[1].heard) > 3
    assert any(b"'one'" in row for row in seen), "the database is looked into"
    assert not [row for row in seen if CARD.encode() in row]

    status = await handle.status()
    assert status.input == {"card": CARD}
    assert status.output == told
    assert status.custom_status == {"paying": CARD}
    [listed] = [one async for one in client.list() if one.instance_id == "one"]
    assert listed.output == told
    history = await handle.history()
    assert any(CARD.encode() in bytes(e.input) for e in history if isinstance(e, ActivityScheduled))
    assert any(CARD.encode() in bytes(e.result) for e in history if isinstance(e, ActivityCompleted))


@pytest.mark.semantics("codecs")
async def test_locks_sagas_and_schedules_are_sealed_too(make_engine: MakeEngine) -> None:
    """What they remember crosses from one instance to another, and each is sealed for its own."""
    engine = await make_engine(app)
    await engine.orchestrator(**SEALED)
    await engine.worker(**SEALED)
    client = await client_of(engine, **SEALED)
    handle = await client.start(guarded, CARD, instance_id="guarded")
    await handle.raise_event("told", "go on")
    await engine.status("guarded", Status.RUNNING)

    async def owed() -> bool:
        return (await handle.status()).custom_status == f"charged {CARD}"

    await until(owed)
    run = (await handle.status()).run
    await handle.terminate()
    undoing = await engine.status(saga_instance("guarded", run), Status.COMPLETED)
    assert undoing.input.find(CARD.encode()) == -1
    await client.schedules.create("often", part, CARD, every=3600.0)
    triggered = await client.schedules.trigger("often")
    assert await until_result(client, triggered) == f"child of {CARD}"
    assert [one.last_run async for one in client.schedules.list()] == [triggered]
    assert not [row for row in await stored(engine.place) if CARD.encode() in row]


async def test_the_output_of_those_that_are_terminated_together_is_sealed_for_each(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(app)
    await engine.orchestrator(**SEALED)
    await engine.worker(**SEALED)
    client = await client_of(engine, **SEALED)
    handles = [await client.start(guarded, CARD, instance_id=name) for name in ("one", "two")]
    sent: list[bytes] = []
    deliver = engine.store.deliver

    async def overheard(rows: Sequence[InboxRow]) -> None:
        sent.extend(row.body for row in rows)
        await deliver(rows)

    monkeypatch.setattr(engine.store, "deliver", overheard)
    assert (await client.terminate_all(InstanceFilter(), {"card": CARD})).asked == len(handles)
    assert [(await handle.status()).output for handle in handles] == [{"card": CARD}] * 2
    assert any(b"Terminate" in body for body in sent)
    assert not [body for body in sent if CARD.encode() in body]


async def until_result(client: Client, instance: str) -> Any:
    async def there() -> bool:
        with suppress(NotFoundError):
            await client.get(instance).status()
            return True
        return False

    await until(there)
    return await client.get(instance).result(timeout=20)


@pytest.mark.semantics("Keys rotate")
async def test_an_orchestrator_without_the_key_stalls_the_instance_until_one_has_it(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app)
    without = await engine.orchestrator()
    await engine.worker(**SEALED)
    client = await client_of(engine, **SEALED)
    handle = await client.start(pay, {"card": CARD, "again": True}, instance_id="one")
    await handle.raise_event("approved", "yes", wait=False)
    record = await engine.status("one", Status.STALLED)
    assert record.reason is not None
    assert "TENUTO_PAYLOAD_KEYS" in record.reason
    await engine.orchestrator(**SEALED)
    await without.stop()
    assert (await handle.result())[0] == f"charged {CARD}"


@pytest.mark.semantics("Keys rotate")
async def test_a_worker_without_the_key_fails_the_activity_with_advice(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator(**SEALED)
    await engine.worker(payload_keys=NEW, payload_codec="aes-gcm")
    client = await client_of(engine, **SEALED)
    handle = await client.start(pay, {"card": CARD}, instance_id="one")
    with pytest.raises(
        WorkflowFailedError, match="encrypted with the key 'k1', and this process has 'k2'"
    ) as error:
        await handle.result()
    assert error.value.failure is not None


@pytest.mark.semantics("Keys rotate")
async def test_keys_are_rotated_while_instances_live(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    before = await engine.orchestrator(**SEALED)
    rotated = SEALED | {"payload_keys": f"{NEW}\n{OLD}"}
    await engine.worker(**rotated)
    client = await client_of(engine, **SEALED)
    handle = await client.start(pay, {"card": CARD}, instance_id="one")
    await engine.orchestrator(**rotated)
    await before.stop()
    late = (await client_of(engine, **rotated)).get("one", pay)
    for _ in range(2):
        await late.raise_event("approved", "yes")
    assert (await late.result())[0] == f"charged {CARD}"
    with pytest.raises(PayloadError, match="sealed"):  # this client has not heard of the new key
        await handle.result()


async def test_codecs_given_in_code_go_before_those_of_the_settings(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator(**SEALED)
    handle = await engine.client.start(fails, CARD, instance_id="one")  # a client without codecs
    with suppress(WorkflowFailedError):
        await handle.result()
    rows = [row for row in await stored(engine.place) if b"'one'" in row]
    assert rows
    assert not [row for row in rows if CARD.encode() in row], "the orchestrator seals what it keeps"


async def test_the_public_door_takes_plain_and_sealed_inputs(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    await engine.orchestrator(**SEALED)
    broker = engine.place.broker("outsider")
    await broker.open()
    engine.stack.push_async_callback(broker.close)
    settings = Settings(namespace=engine.place.namespace, **SEALED)
    for number, given in enumerate((settings, Settings(namespace=engine.place.namespace))):
        async with Publisher(given, broker=broker) as publisher:
            instance = await publisher.start(fails, CARD, message_id=f"m-{number}")
        record = await engine.status(instance, Status.FAILED)
        assert b"$tenuto" in record.input
        client = await client_of(engine, **SEALED)
        with pytest.raises(WorkflowFailedError, match=CARD):
            await client.get(instance).result()
