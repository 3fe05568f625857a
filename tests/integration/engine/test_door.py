"""The public door: plain JSON on the queue `tenuto.start`, from whatever publishes it (rule I3)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pika
import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Broker, Delivery, Outgoing, QueueSpec
from tenuto.core.status import Status
from tenuto.naming import Names, derived_instance_id
from tenuto_orchestrator.door import REASON_HEADER
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, Place, engine_at, until
from tests.support.servers import PrivateRabbitMQ

app = App("door")
runs: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    runs.clear()


@app.activity
async def greet(name: str) -> str:
    runs[name] += 1
    return f"hello {name}"


@app.workflow
async def greeting(ctx: WorkflowContext, name: str) -> str:
    return await ctx.call_activity(greet, name)


@app.workflow
async def trouble(ctx: WorkflowContext, message: str) -> str:
    raise ValueError(message)


class Outsider:
    """A client of the broker alone."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self.broker = broker
        self.names = names
        self.replies: list[Delivery] = []
        self.queue = f"{names.namespace}-outsider"

    async def open(self) -> None:
        await self.broker.open()
        await self.broker.declare([QueueSpec(name=self.queue, type="classic")])
        await self.broker.subscribe(
            self.queue, self.replies.append, prefetch=1000, on_lost=lambda _reason: None
        )

    async def start(self, body: bytes | dict[str, Any], **properties: Any) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.broker.publish([Outgoing(queue=self.names.start, body=payload, **properties)])

    async def reply(self, count: int = 1) -> dict[str, Any]:
        """Wait until so many replies have come; the last one."""

        async def reached() -> bool:
            return len(self.replies) >= count

        await until(reached)
        return dict(json.loads(self.replies[-1].body))

    async def dead(self) -> Delivery:
        """Wait for a dead letter."""
        found: list[Delivery] = []
        await self.broker.subscribe(
            self.names.start_dead, found.append, prefetch=10, on_lost=lambda _reason: None
        )

        async def reached() -> Delivery | None:
            return found[0] if found else None

        return await until(reached)


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@pytest.fixture
async def outsider(engine: Engine) -> Any:
    outsider = Outsider(engine.place.broker("outsider"), Names(engine.place.namespace))
    await outsider.open()
    yield outsider
    await outsider.broker.close()


async def test_a_plain_message_starts_a_workflow_and_the_reply_comes_back(
    engine: Engine, outsider: Outsider
) -> None:
    await outsider.start(
        {"workflow": "greeting", "instance_id": "one", "input": "Ada", "tags": {"from": "outside"}},
        reply_to=outsider.queue,
        correlation_id="c-1",
    )
    reply = await outsider.reply()
    assert reply == {
        "instance_id": "one",
        "workflow": "greeting",
        "status": "COMPLETED",
        "output": "hello Ada",
    }
    assert outsider.replies[0].correlation_id == "c-1"
    assert (await engine.client.get("one").status()).tags == {"from": "outside"}


async def test_a_failure_is_replied(engine: Engine, outsider: Outsider) -> None:
    await outsider.start({"workflow": "trouble", "input": "sorry"}, reply_to=outsider.queue)
    reply = await outsider.reply()
    assert reply["status"] == "FAILED"
    assert reply["failure"]["message"] == "sorry"


@pytest.mark.semantics("message_id")
async def test_a_message_id_starts_once_even_after_the_end(engine: Engine, outsider: Outsider) -> None:
    """Rule N2; and the duplicate is answered again."""
    message: dict[str, Any] = {"workflow": "greeting", "input": "Ada"}
    for count in (1, 2, 3):
        await outsider.start(message, message_id="m-1", reply_to=outsider.queue)
        assert (await outsider.reply(count))["output"] == "hello Ada"
    assert runs["Ada"] == 1
    assert (await engine.record(derived_instance_id("m-1"))).workflow == "greeting"


async def test_a_message_without_any_id_starts_each_time(engine: Engine, outsider: Outsider) -> None:
    for count in (1, 2):
        await outsider.start({"workflow": "greeting", "input": "Ada"}, reply_to=outsider.queue)
        await outsider.reply(count)
    assert runs["Ada"] == 2


async def test_a_live_id_is_refused_in_the_reply(engine: Engine, outsider: Outsider) -> None:
    await outsider.start(
        {"workflow": "greeting", "instance_id": "one", "input": "Ada"}, reply_to=outsider.queue
    )
    await outsider.reply()
    policy = {"action": "ERROR", "statuses": ["COMPLETED"]}
    await outsider.start(
        {"workflow": "greeting", "instance_id": "one", "input": "Bob", "reuse": policy},
        reply_to=outsider.queue,
    )
    reply = await outsider.reply(2)
    assert reply["status"] == "REFUSED"
    assert reply["failure"]["type"] == "AlreadyExistsError"


@pytest.mark.semantics("Names that begin with tenuto")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "malformed"),
        (b'"text"', "object"),
        (b'{"input": 1}', "workflow"),
        (b'{"workflow": ""}', "workflow"),
        (b'{"workflow": 7}', "str"),
        (b'{"workflow": "greeting", "inptu": 1}', "inptu"),
        (b'{"workflow": "greeting", "instance_id": "a\\u0000b"}', "printed"),
        (b'{"workflow": "greeting", "instance_id": ""}', "1"),
        (b'{"workflow": "greeting", "event": {"name": "Tenuto.lock:0", "payload": 1}}', "begins with"),
        (b"\xff\xfe\x00", "malformed"),
    ],
)
async def test_what_cannot_be_understood_is_kept_with_the_reason(
    engine: Engine, outsider: Outsider, body: bytes, reason: str
) -> None:
    await outsider.start(body, message_id="bad")
    dead = await outsider.dead()
    assert dead.body == body
    assert dead.message_id == "bad"
    assert reason.lower() in dead.headers[REASON_HEADER].lower()
    await outsider.start({"workflow": "greeting", "input": "next"}, reply_to=outsider.queue)
    assert (await outsider.reply())["output"] == "hello next"  # it does not block the others


async def test_a_reply_to_an_engine_queue_is_refused(engine: Engine, outsider: Outsider) -> None:
    """Rule B4."""
    await outsider.start({"workflow": "greeting", "input": "x"}, reply_to=outsider.names.turns(0))
    assert "reply_to" in (await outsider.dead()).headers[REASON_HEADER]


async def test_a_reply_that_nobody_takes_is_dropped(engine: Engine, outsider: Outsider) -> None:
    await outsider.start(
        {"workflow": "greeting", "instance_id": "one", "input": "x"}, reply_to="no-such-queue"
    )
    await engine.status("one", Status.COMPLETED)
    partition = (await engine.record("one")).partition

    async def confirmed() -> bool:
        return not (await engine.store.recovery(partition, inbox=10, timers=10)).outbox

    assert await until(confirmed)


async def test_a_message_older_than_the_window_is_not_carried_out(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(app, seen_window=60.0)
    await engine.orchestrator()
    outsider = Outsider(engine.place.broker("outsider"), Names(engine.place.namespace))
    await outsider.open()
    await outsider.start({"workflow": "greeting"}, message_id="old", timestamp=1_000_000.0)
    assert "s old" in (await outsider.dead()).headers[REASON_HEADER]
    await outsider.broker.close()


async def test_many_starts_are_taken_in_together(engine: Engine, outsider: Outsider) -> None:
    bodies = [
        Outgoing(
            queue=outsider.names.start,
            body=json.dumps({"workflow": "greeting", "instance_id": f"many-{n}", "input": f"{n}"}).encode(),
            reply_to=outsider.queue,
        )
        for n in range(200)
    ]
    await outsider.broker.publish(bodies)
    await outsider.reply(200)
    assert runs == Counter({str(n): 1 for n in range(200)})


async def test_pika_starts_a_workflow(rabbitmq_url: str, postgres_url: str, namespace: str) -> None:
    place = Place(database_url=postgres_url, broker_url=rabbitmq_url, namespace=namespace)
    async with AsyncExitStack() as stack:
        engine = await engine_at(place, app, stack)
        await engine.orchestrator()
        await engine.worker()

        def publish_and_wait() -> bytes:
            connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish(
                "",
                f"{namespace}.start",
                json.dumps({"workflow": "greeting", "input": "pika"}).encode(),
                pika.BasicProperties(message_id="p-1", reply_to=queue, correlation_id="7"),
            )
            for _method, properties, body in channel.consume(queue, inactivity_timeout=20):
                assert properties is not None
                assert properties.correlation_id == "7"
                connection.close()
                return bytes(body)
            raise AssertionError("no reply")

        reply = json.loads(await asyncio.to_thread(publish_and_wait))
        assert reply["output"] == "hello pika"


async def test_rabbitmqs_own_tool_starts_a_workflow(
    private_rabbitmq: PrivateRabbitMQ, postgres_url: str, namespace: str, tmp_path: Path
) -> None:
    """`rabbitmqadmin`, as the management plugin serves it."""
    port = await asyncio.to_thread(private_rabbitmq.server.enable_management)
    tool = tmp_path / "rabbitmqadmin"
    await asyncio.to_thread(_download, f"http://127.0.0.1:{port}/cli/rabbitmqadmin", tool)
    place = Place(database_url=postgres_url, broker_url=private_rabbitmq.url, namespace=namespace)
    async with AsyncExitStack() as stack:
        engine = await engine_at(place, app, stack)
        await engine.orchestrator()
        await engine.worker()
        payload = json.dumps({"workflow": "greeting", "instance_id": "admin", "input": "rabbitmqadmin"})
        command = [
            sys.executable,
            str(tool),
            "--port",
            str(port),
            "publish",
            f"routing_key={namespace}.start",
        ]
        done = await asyncio.to_thread(
            subprocess.run, [*command, f"payload={payload}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        await engine.status("admin", Status.COMPLETED)
        assert await engine.client.get("admin", greeting).result(timeout=20) == "hello rabbitmqadmin"


def _download(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - a server of the test's own
        target.write_bytes(answer.read())
