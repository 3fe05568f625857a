"""What comes in that should not: damaged rows, forged and unreadable messages. Each is told, and stops nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Broker, Delivery, Outgoing
from tenuto.core.events import ActivityScheduled, ExecutionStarted, TimerFired, encode_events
from tenuto.core.letters import Start, encode_letter
from tenuto.core.status import Status
from tenuto.messages import (
    ActivityResult,
    ActivityTask,
    Beat,
    Held,
    Results,
    Returned,
    TaskRef,
    Tasks,
    TurnMessage,
    Watch,
    encode,
)
from tenuto.naming import Names, partition_of
from tenuto.store.protocol import InboxRow
from tenuto_orchestrator import sources
from tenuto_orchestrator.change import REASON_HEADER
from tests.integration.engine.conftest import MakeEngine
from tests.support.database import query, tamper
from tests.support.engine import Engine, Running, until

PARTITIONS = 4
app = App("doors")
NULL = msgspec.Raw(b"null")
DEEP = b"[" * 100_000 + b"]" * 100_000


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.workflow
async def doubled(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(double, number)


@app.workflow
async def patient(ctx: WorkflowContext, number: int) -> int:
    """Waits for an event, then for an activity."""
    await ctx.wait_for_external_event("go")
    return await ctx.call_activity(double, number)


@app.workflow
async def parent(ctx: WorkflowContext, child: str) -> int:
    return await ctx.call_child_workflow(patient, 1, instance_id=child)


def home(instance: str) -> int:
    return partition_of(instance, PARTITIONS)


def in_partition(number: int, *, prefix: str = "i") -> str:
    """An instance id of this partition."""
    return next(id_ for id_ in (f"{prefix}-{n}" for n in range(1000)) if home(id_) == number)


def neighbour(instance: str) -> str:
    """Another id of the same partition."""
    return in_partition(home(instance), prefix="neighbour")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    return await make_engine(app)


class Outsider:
    """Somebody with the broker's password."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self.names = Names(engine.place.namespace)
        self.broker = broker

    async def send(self, queue: str, body: bytes | TurnMessage | Tasks, **properties: Any) -> None:
        body = body if isinstance(body, bytes) else encode(body)
        await self.broker.publish([Outgoing(queue=queue, body=body, **properties)])

    async def turns(self, partition: int, body: bytes | TurnMessage) -> None:
        await self.send(self.names.turns(partition), body)

    async def dead_letters(self, count: int, *, queue: str | None = None) -> list[Delivery]:
        """Wait until there are so many."""
        found: list[Delivery] = []
        subscription = await self.broker.subscribe(
            queue or self.names.dead, found.append, prefetch=1000, on_lost=lambda _reason: None
        )

        async def reached() -> bool:
            return len(found) >= count

        await until(reached)
        await subscription.close()
        return found


@pytest.fixture
async def outsider(engine: Engine) -> Any:
    broker = engine.place.broker("outsider")
    await broker.open()
    yield Outsider(engine, broker)
    await broker.close()


async def goes_on(engine: Engine, *instances: str) -> None:
    """New work is done, in these instances' partitions too."""
    for instance in instances:
        handle = await engine.client.start(doubled, 21, instance_id=f"after {instance}")
        assert await handle.result(timeout=20) == 42
        beside = await engine.client.start(doubled, 4, instance_id=neighbour(instance))
        assert await beside.result(timeout=20) == 8


async def replaced(engine: Engine, orchestrator: Running) -> Running:
    """Another process takes over."""
    await orchestrator.stop()
    return await engine.orchestrator()


# Damaged rows ---------------------------------------------------------------------------------------------

SENSELESS = encode_events(
    [
        ExecutionStarted(workflow="patient", input=msgspec.Raw(b"1"), seed="s"),
        ActivityScheduled(id=0, name="double", input=NULL, pool="default"),
    ]
)
DAMAGED = {
    "no text": b"\xff\x00",
    "no JSON": b"[{",
    "no list": b"{}",
    "nothing": b"",
    "no events": b"[]",
    "an event of another release": b'[{"type":"QuantumLeapt","id":0}]',
    "a field of another type": b'[{"type":"TimerFired","command":"one"}]',
    "too deep": b'[{"type":"EventRaised","name":"a","payload":' + DEEP + b"}]",
    "no beginning": encode_events([TimerFired(command=3)]),
    "a command before the first turn": SENSELESS,
}


@pytest.mark.parametrize("events", DAMAGED.values(), ids=DAMAGED)
async def test_an_instance_whose_history_is_damaged_stalls_alone(engine: Engine, events: bytes) -> None:
    orchestrator = await engine.orchestrator()
    await engine.worker()
    hurt = await engine.client.start(patient, 1, instance_id="hurt")
    well = await engine.client.start(patient, 2, instance_id=neighbour("hurt"))
    for handle in (hurt, well):
        await engine.status(handle.instance_id, Status.RUNNING)
    await orchestrator.stop()
    whole = (await engine.store.history("hurt"))[0]
    url = engine.place.database_url
    damage = "UPDATE tenuto_history SET events = :events WHERE instance = 'hurt'"
    assert await tamper(url, damage, events=events) == 1
    orchestrator = await engine.orchestrator()
    await engine.client.get("hurt").raise_event("go", wait=False)
    await well.raise_event("go")
    assert await well.result(timeout=20) == 4
    record = await engine.status("hurt", Status.STALLED)
    reason = record.reason or ""
    assert "does not fit the history" in reason if events == SENSELESS else "cannot be read" in reason
    # With a history that can be read it goes on, and nothing that came meanwhile is lost.
    await orchestrator.stop()
    await tamper(url, damage, events=whole)
    await engine.orchestrator()
    assert await hurt.result(timeout=20) == 2


async def test_what_is_damaged_beyond_reading_can_be_purged_by_force(engine: Engine) -> None:
    orchestrator = await engine.orchestrator()
    await engine.worker()
    await engine.client.start(parent, "the child", instance_id="hurt")
    await engine.status("the child", Status.RUNNING)
    await orchestrator.stop()
    await tamper(
        engine.place.database_url, "UPDATE tenuto_history SET events = :e WHERE instance = 'hurt'", e=b"!"
    )
    await engine.orchestrator()
    await engine.client.get("hurt").purge(force=True, timeout=20)

    async def gone() -> bool:
        return not await engine.store.instances(["hurt", "the child"])

    await until(gone)
    handle = await engine.client.start(doubled, 3, instance_id="hurt")
    assert await handle.result(timeout=20) == 6


async def test_a_damaged_outbox_row_keeps_nobody_from_taking_over(engine: Engine) -> None:
    orchestrator = await engine.orchestrator()
    await engine.client.start(doubled, 1, instance_id="out")
    await engine.status("out", Status.RUNNING)
    await orchestrator.stop()
    insert = "INSERT INTO tenuto_outbox (partition, epoch, seq, body) VALUES (:p, 0, :n, :body)"
    for number, body in enumerate(DAMAGED.values()):
        await tamper(engine.place.database_url, insert, p=home("out"), n=number, body=body)
    await engine.orchestrator()
    await engine.worker()
    assert await engine.client.get("out").result(timeout=20) == 2
    await goes_on(engine, "out")
    left = await query(engine.place.database_url, "SELECT count(*) FROM tenuto_outbox WHERE epoch = 0")
    assert left[0][0] >= len(DAMAGED) - 1  # kept for whoever can read them; `{}` holds nothing, and is done


async def test_an_outbox_row_of_a_damaged_instance_keeps_nobody_from_taking_over(engine: Engine) -> None:
    orchestrator = await engine.orchestrator()
    await engine.client.start(doubled, 1, instance_id="hurt")
    await engine.status("hurt", Status.RUNNING)
    body = b'{"tasks":[["default",%s]]}' % encode(task(Names(engine.place.namespace), "hurt")).removeprefix(
        b'{"type":"tasks","tasks":['
    ).removesuffix(b"]}")
    await orchestrator.stop()
    url = engine.place.database_url
    await tamper(url, "UPDATE tenuto_history SET events = :e WHERE instance = 'hurt'", e=b"!")
    await tamper(
        url,
        "INSERT INTO tenuto_outbox (partition, epoch, seq, body) VALUES (:p, 0, 1, :body)",
        p=home("hurt"),
        body=body,
    )
    await engine.orchestrator()
    await engine.worker()
    await goes_on(engine, "hurt")


async def test_a_row_of_another_release_reads_as_stalled(engine: Engine) -> None:
    await engine.orchestrator()
    await engine.client.start(patient, 1, instance_id="strange")
    await engine.status("strange", Status.RUNNING)
    await tamper(
        engine.place.database_url,
        "UPDATE tenuto_instances SET status = 'PAUSED', tags = :junk, trace = :junk WHERE id = 'strange'",
        junk=b"\xff[",
    )
    record = await engine.record("strange")
    assert (record.status, dict(record.tags), dict(record.trace)) == (Status.STALLED, {}, {})
    assert [one.instance_id async for one in engine.client.list()] == ["strange"]


async def test_a_member_whom_nobody_understands_ends_nobody(engine: Engine) -> None:
    first = await engine.orchestrator()
    url = engine.place.database_url
    (seen_at,) = (await query(url, "SELECT max(seen_at) FROM tenuto_members"))[0]
    for number, document in enumerate((b"\xff", b"[]", b'{"workflows":7}')):
        await tamper(
            url,
            "INSERT INTO tenuto_members (owner, seen_at, document) SELECT :o, seen_at, :d FROM tenuto_members "
            "WHERE owner NOT LIKE 'strange%'",
            o=f"strange {number}",
            d=document,
        )
    assert seen_at is not None
    await engine.worker()
    await engine.client.start(doubled, 21, instance_id="one", wait=False)

    async def beats() -> bool:
        """Whether it has beaten since; then it has read what they say."""
        (now,) = (await query(url, "SELECT max(seen_at) FROM tenuto_members"))[0]
        return bool(now > seen_at)

    await until(beats)
    await engine.status("one", Status.COMPLETED)
    life = asyncio.create_task(first.service.wait())
    assert not life.done()
    life.cancel()


# Letters ---------------------------------------------------------------------------------------------------


def garbage_letters(partition: int) -> Sequence[InboxRow]:
    target = in_partition(partition)
    elsewhere = in_partition((partition + 1) % PARTITIONS)
    start = encode_letter(Start(workflow="doubled", input=NULL, run="r", seed="s"))
    bodies = [*DAMAGED.values(), b'{"type":"Start"}', b'{"type":"Start","workflow":7}', b'{"type":"Dance"}']
    rows = [
        InboxRow(id=f"junk {n}", partition=partition, target=target, body=b) for n, b in enumerate(bodies)
    ]
    return [*rows, InboxRow(id="forged", partition=partition, target=elsewhere, body=start)]


async def test_letters_that_nobody_can_read_are_held_and_bar_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_INBOX_PAGE", 3)
    orchestrator = await engine.orchestrator()
    await engine.worker()
    junk = garbage_letters(home("one"))
    await engine.store.deliver(junk)
    await goes_on(engine, "one")

    async def all_held() -> bool:
        health = await engine.store.health()
        return (health.inbox.count, health.held.count) == (0, len(junk))

    await until(all_held)
    await replaced(engine, orchestrator)
    handle = await engine.client.start(doubled, 5, instance_id=in_partition(home("one"), prefix="later"))
    assert await handle.result(timeout=20) == 10
    assert (await engine.store.health()).held.count == len(junk)
    assert not await engine.store.instances(
        [in_partition(1), in_partition(2), in_partition(3), in_partition(0)]
    )


# Turn queues -----------------------------------------------------------------------------------------------


def reference(instance: str, **changes: Any) -> dict[str, Any]:
    return {"instance": instance, "run": "r", "generation": 0, "command": 0, "attempt": 1} | changes


async def test_what_is_no_message_to_a_partition_is_dead_lettered_with_the_reason(
    engine: Engine, outsider: Outsider
) -> None:
    await engine.orchestrator()
    await engine.worker()
    elsewhere = in_partition(1)
    far_too_long = "x" * 200_000
    bad: list[bytes | TurnMessage] = [
        *DAMAGED.values(),
        b'{"type":"results","results":[{"instance":"a"}]}',
        b'{"type":"bell"}' * 2,
        b'{"type":"notice","entries":[]}',
        b'{"type":"beat","worker":"w","tasks":' + DEEP + b"}",
        Results(results=[ActivityResult(**reference("a"), name="double")]),
        Results(results=[ActivityResult(**reference(elsewhere), name="double", result=NULL)]),
        Returned(tasks=[TaskRef(**reference(elsewhere))]),
        Returned(tasks=[TaskRef(**reference(far_too_long + "".join(filter(None, [""]))))]),
        Watch(instance=elsewhere, queue="anywhere"),
    ]
    wrong = [message for message in bad if not _is_home(message, 0)]
    for message in wrong:
        await outsider.turns(0, message)
    dead = await outsider.dead_letters(len(wrong))
    assert all(letter.headers[REASON_HEADER] for letter in dead)
    assert {letter.body for letter in dead} == {m if isinstance(m, bytes) else encode(m) for m in wrong}
    await goes_on(engine, in_partition(0), elsewhere)


def _is_home(message: bytes | TurnMessage, partition: int) -> bool:
    """Of the long id it is not known beforehand whose it is."""
    return isinstance(message, Returned) and all(home(task.instance) == partition for task in message.tasks)


async def test_messages_about_what_is_not_so_change_nothing(engine: Engine, outsider: Outsider) -> None:
    await engine.orchestrator()
    handle = await engine.client.start(patient, 1, instance_id="calm")
    await engine.status("calm", Status.RUNNING)
    record = await engine.record("calm")
    refs = [
        reference("calm"),
        reference("calm", run=record.run, generation=7),
        reference("calm", run=record.run, command=10**18, attempt=3),
        reference(neighbour("calm")),
    ]
    impossible = [
        reference("calm", run=record.run, command=1, attempt=-3),
        reference("calm", run=record.run, command=-1),
        reference("calm", run=record.run, generation=2**62),
    ]
    for ref in (*refs, *impossible):
        await outsider.turns(
            home("calm"), Results(results=[ActivityResult(**ref, name="double", result=NULL, seconds=-1e9)])
        )
        await outsider.turns(home("calm"), Returned(tasks=[TaskRef(**ref)], counted=True))
        await outsider.turns(home("calm"), Beat(worker="forger", tasks=[Held(**ref, details=NULL)]))
    await outsider.turns(home("calm"), Watch(instance="calm", queue="q" * 300))
    await outsider.turns(home("calm"), Watch(instance=neighbour("calm"), queue=""))
    await engine.worker()
    await handle.raise_event("go")
    assert await handle.result(timeout=20) == 2
    history = await handle.history()
    assert [type(event).__name__ for event in history] == [
        *("ExecutionStarted", "TurnStarted", "TurnStarted", "EventRaised", "ActivityScheduled"),
        *("TurnStarted", "ActivityCompleted", "ExecutionCompleted"),
    ]
    dead = await outsider.dead_letters(3 * len(impossible))
    assert all(letter.headers[REASON_HEADER] for letter in dead)


# The public door, and workers ------------------------------------------------------------------------------


async def test_what_nobody_could_store_or_read_again_does_not_pass_the_door(
    engine: Engine, outsider: Outsider
) -> None:
    await engine.orchestrator()
    await engine.worker()
    bad = [
        b'{"workflow":"doubled","input":"\xff\xfe"}',
        b'{"workflow":"doubled","input":' + DEEP + b"}",
        b'{"workflow":"doubled","input":' + b"[" * 850 + b"]" * 850 + b"}",
        b'{"workflow":"\\u0000","input":1}',
        b'{"workflow":"","input":1}',
        b'{"workflow":"doubled","version":"a\\u0000","input":1}',
        b'{"workflow":"doubled","instance_id":"\\ud800","input":1}',
    ]
    for body in bad:
        await outsider.send(outsider.names.start, body)
    # What came with it may not fit into the header of another message beside the reason.
    heavy = {f"h{n}": "x" * 10_000 for n in range(13)} if engine.place.server is None else {"h": "x"}
    await outsider.send(outsider.names.start, b"!", headers=heavy)
    dead = await outsider.dead_letters(len(bad) + 1, queue=outsider.names.start_dead)
    assert {letter.body for letter in dead} == {*bad, b"!"}
    assert all(letter.headers[REASON_HEADER] for letter in dead)
    await goes_on(engine, "one")


def task(names: Names, instance: str, **changes: Any) -> Tasks:
    fields: dict[str, Any] = {
        **reference(instance),
        "name": "double",
        "input": msgspec.Raw(b"1"),
        "workflow": "doubled",
        "key": "k",
        "reply_to": names.turns(home(instance)),
    }
    return Tasks(tasks=[ActivityTask(**(fields | changes))])


async def test_what_is_no_task_does_not_stop_a_worker(engine: Engine, outsider: Outsider) -> None:
    await engine.orchestrator()
    running = await engine.worker(concurrency=2, prefetch=4)
    queue = outsider.names.activities("default")
    bad: list[bytes | Tasks] = [
        *DAMAGED.values(),
        task(outsider.names, "a", reply_to="nowhere"),
        task(outsider.names, "a", reply_to=outsider.names.start),
        task(outsider.names, "a", reply_to=""),
    ]
    for message in bad:
        await outsider.send(queue, message)
    harmless = [
        task(outsider.names, "nobody", name="no such activity"),
        task(outsider.names, "nobody", input=msgspec.Raw(b'"text"')),
        task(outsider.names, "nobody", start_to_close=-1.0),
    ]
    for message in harmless:  # answered, and the answers do not count
        await outsider.send(queue, message)
    await outsider.dead_letters(len(bad))
    await goes_on(engine, "one")
    await running.stop()  # confirms what it has answered, so that what is left was never taken
    info = await outsider.broker.inspect(queue)
    assert info is not None
    assert info.messages == 0
