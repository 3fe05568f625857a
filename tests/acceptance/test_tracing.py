"""Traces from outside: what a collector receives from processes of their own, over RabbitMQ and PostgreSQL."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aio_pika
import httpx
import pytest
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor

from tests.acceptance.command_line import ROOT, CommandLine
from tests.support.collector import Collected, Collector
from tests.support.processes import OwnedProcess, eventually
from tests.support.reaper import Reaper
from tests.support.spans import Recorded

APP = str(ROOT / "tests/support/traced_app.py")
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
PATIENCE = 60.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture
def exporting(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.fixture
def settings(
    exporting: dict[str, str], postgres_url: str, rabbitmq_url: str, namespace: str
) -> dict[str, str]:
    return exporting | {
        "TENUTO_DATABASE_URL": postgres_url,
        "TENUTO_BROKER_URL": rabbitmq_url,
        "TENUTO_NAMESPACE": namespace,
        "TENUTO_PARTITIONS": "4",
        "TENUTO_TRACE_URL": "https://jaeger.example/trace/{trace_id}",
    }


@pytest.fixture
def tenuto(
    tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None], settings: dict[str, str]
) -> Iterator[CommandLine]:
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log, settings=settings) as command_line:
        yield command_line


async def up(process: OwnedProcess) -> OwnedProcess:
    await eventually(lambda: "is up" in process.output() or not process.running, "it is up", timeout=PATIENCE)
    assert process.running, process.output()
    return process


async def received(collector: Collector, name: str, count: int = 1) -> None:
    await eventually(lambda: len(collector.named(name)) >= count, f"{count} of {name}", timeout=PATIENCE)


async def test_a_collector_gets_one_connected_trace_though_the_orchestrator_is_killed(
    tenuto: CommandLine, collector: Collector
) -> None:
    assert (await tenuto.run("db", "upgrade")).code == 0
    first = await up(tenuto.start("orchestrator", APP))
    worker = await up(tenuto.start("worker", APP))
    published = await tenuto.run("publish", "traced", "--id=parent", "--input=1")
    assert published.code == 0, published
    # It waits for its event, and can be seen already.
    await received(collector, "orchestration||child")
    await received(collector, "users.thread")
    first.kill()
    second = await up(tenuto.start("orchestrator", APP))
    assert (await tenuto.run("workflow", "raise-event", "parent", "go", "--input=7")).code == 0
    await received(collector, "orchestration||traced")
    shown = await tenuto.run("workflow", "show", "parent")
    for service in (second, worker):
        service.terminate()
        assert await service.wait() == 0, service.output()

    root = collector.one("orchestration||traced")
    _assert_connected(collector, root)
    assert root.trace in shown.out
    assert f"https://jaeger.example/trace/{root.trace}" in shown.out
    services = {span.service for span in collector.spans if span.trace == root.trace}
    assert services == {"tenuto-publish", "tenuto-orchestrator", "tenuto-worker"}


def _assert_connected(collector: Collector, root: Collected) -> None:
    started = collector.one("create_orchestration||traced")
    assert (started.parent, root.parent) == ("", started.id)
    attempts = collector.named("activity||flaky")
    assert [span.parent for span in attempts] == [root.id] * 2
    assert [span.attributes["tenuto.attempt"] for span in attempts] == [1, 2]
    assert [span.attributes["messaging.system"] for span in attempts] == ["rabbitmq"] * 2
    assert [span.parent for span in collector.named("users.own")] == [span.id for span in attempts]
    assert collector.one("timer").parent == root.id
    inner = collector.one("orchestration||child")
    assert inner.parent == root.id
    deep = collector.one("activity||plain")
    assert (deep.parent, collector.one("users.thread").parent) == (inner.id, deep.id)
    sent, taken = collector.named("orchestration_event||go")
    assert (sent.service, taken.service) == ("tenuto-raise", "tenuto-orchestrator")
    assert (sent.parent, taken.parent, taken.links) == ("", root.id, (sent.id,))
    assert root.attributes["durabletask.runtime_status"] == "COMPLETED"

    whole = [span for span in collector.spans if span.trace == root.trace]
    known = {span.id for span in whole}
    assert len(known) == len(whole)
    assert [span.name for span in whole if span.parent not in known] == [started.name]
    numbers = [span.attributes["tenuto.turn"] for span in collector.named("turn||traced")]
    assert len(numbers) == len(set(numbers))


async def test_a_message_of_anyones_carries_its_trace_and_generations_are_linked(
    tenuto: CommandLine, collector: Collector, rabbitmq_url: str, namespace: str
) -> None:
    assert (await tenuto.run("db", "upgrade")).code == 0
    await up(tenuto.start("orchestrator", APP))
    await up(tenuto.start("worker", APP))
    anyone, instrumentor = Recorded(), AioPikaInstrumentor()
    instrumentor.instrument(tracer_provider=anyone.provider)
    try:
        async with await aio_pika.connect(rabbitmq_url) as connection, await connection.channel() as channel:
            body = json.dumps({"workflow": "again", "instance_id": "twice", "input": 0}).encode()
            message = aio_pika.Message(body, message_id="once")
            await channel.default_exchange.publish(message, f"{namespace}.start")
    finally:
        instrumentor.uninstrument()
    await received(collector, "orchestration||again", 2)
    (sent,) = anyone.spans
    before, after = collector.named("orchestration||again")
    assert before.trace == f"{sent.context.trace_id:032x}"
    assert before.parent == f"{sent.context.span_id:016x}"
    assert (after.parent, after.links) == ("", (before.id, before.parent))
    assert after.trace != before.trace
    assert (await tenuto.json("workflow", "show", "twice"))["trace_id"] == after.trace


async def test_opentelemetry_instrument_and_its_sampler(
    tmp_path: Path,
    reaper: Reaper,
    show_log: Callable[[Path], None],
    collector: Collector,
    exporting: dict[str, str],
) -> None:
    """The development server, with the SDK that `opentelemetry-instrument` sets up: only what a caller samples."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
    log = tmp_path / "dev.log"
    show_log(log)
    served = OwnedProcess(
        [
            str(Path(sys.executable).with_name("opentelemetry-instrument")),
            *(sys.executable, "-m", "tenuto_gateway.cli", "dev", APP),
        ],
        log=log,
        reaper=reaper,
        cwd=tmp_path,
        env=inherited
        | exporting
        | {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "OTEL_SERVICE_NAME": "mine",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlalchemy",
            "TENUTO_HTTP_PORT": "0",
        },
    )
    try:
        await eventually(
            lambda: "HTTP API" in served.output() or not served.running, "it is up", timeout=PATIENCE
        )
        assert served.running, served.output()
        url = next(word for word in served.output().split() if word.startswith("http://"))
        async with httpx.AsyncClient(base_url=f"{url}/v1.0/workflows/dapr") as http:
            for instance, headers in (
                ("unsampled", {}),
                ("sampled", {"traceparent": f"00-{TRACE}-{CALLER}-01"}),
            ):
                answer = await http.post(f"/child/start?instanceID={instance}", content="1", headers=headers)
                assert answer.status_code == 202, answer.text
        await received(collector, "orchestration||child")
    finally:
        served.terminate()
        await served.wait()
    assert {span.trace for span in collector.spans} == {TRACE}
    assert {span.service for span in collector.spans} == {"mine"}
    request = next(span for span in collector.spans if span.parent == CALLER)
    created = collector.one("create_orchestration||child", "sampled")
    root = collector.one("orchestration||child", "sampled")
    done = collector.one("activity||plain", "sampled")
    assert [created.parent, root.parent, done.parent] == [request.id, created.id, root.id]
    assert collector.one("users.thread").parent == done.id


async def test_statements_of_the_database_are_traced_where_asked(
    tmp_path: Path,
    reaper: Reaper,
    show_log: Callable[[Path], None],
    collector: Collector,
    exporting: dict[str, str],
) -> None:
    asked = exporting | {"TENUTO_TRACE_STATEMENTS": "true"}
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log, settings=asked) as embedded:
        assert (await embedded.run("db", "upgrade")).code == 0
        assert (await embedded.run("workflow", "list")).code == 0
    statements = [span for span in collector.spans if span.service == "tenuto-list"]
    assert {span.attributes["db.system"] for span in statements} == {"sqlite"}
    assert any("tenuto_instances" in span.attributes.get("db.statement", "") for span in statements)
