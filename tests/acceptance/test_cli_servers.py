"""The `tenuto` command with RabbitMQ and PostgreSQL: services in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.processes import OwnedProcess, eventually
from tests.support.reaper import Reaper

ORDERS = str(EXAMPLES / "order_fulfilment.py")
ORDER = {"order_id": "17", "items": ["lamp"], "amount": "129.90", "address": "12 Main Street"}


@pytest.fixture
def servers(postgres_url: str, rabbitmq_url: str, namespace: str) -> dict[str, str]:
    return {
        "TENUTO_DATABASE_URL": postgres_url,
        "TENUTO_BROKER_URL": rabbitmq_url,
        "TENUTO_NAMESPACE": namespace,
        "TENUTO_PARTITIONS": "4",
    }


@pytest.fixture
def tenuto(
    tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None], servers: dict[str, str]
) -> Iterator[CommandLine]:
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log, settings=servers) as command_line:
        yield command_line


async def up(process: OwnedProcess) -> OwnedProcess:
    await eventually(lambda: "is up" in process.output() or not process.running, "it is up")
    assert process.running, process.output()
    return process


async def test_a_published_order_is_fulfilled_by_services_in_their_own_processes(tenuto: CommandLine) -> None:
    assert (await tenuto.run("db", "upgrade")).code == 0
    services = [
        await up(tenuto.start("orchestrator", ORDERS)),
        await up(tenuto.start("worker", ORDERS, "--concurrency=4")),
        await up(tenuto.start("worker", ORDERS, "--pool=payments")),
    ]
    order = ("publish", "fulfil_order", "--message-id=m-17", "--tag=team=blue", "--input", json.dumps(ORDER))
    published = [await tenuto.run(*order) for _ in range(2)]
    assert [finished.code for finished in published] == [0, 0], published
    assert published[0].out == published[1].out
    instance = published[0].out.strip()
    await until_completed(tenuto, instance)
    listed = await tenuto.json("workflow", "list", "--tag=team=blue")
    assert [entry["instance_id"] for entry in listed] == [instance]
    queues = await tenuto.json("broker", "status")
    names = tenuto.settings["TENUTO_NAMESPACE"]
    assert queues[f"{names}.start"]["messages"] == 0
    assert queues[f"{names}.1.activities.payments"]["consumers"] == 1
    assert queues[f"{names}.1.turns.3"]["consumers"] == 1
    assert "CONSUMERS" in (await tenuto.run("broker", "status")).out
    assert "ORCHESTRATOR" in (await tenuto.run("db", "status")).out
    for service in reversed(services):
        service.terminate()
        assert await service.wait() == 0, service.output()
        assert "Traceback" not in service.output()


async def test_a_worker_of_several_processes_stops_as_one(tenuto: CommandLine) -> None:
    supervisor = tenuto.start("worker", ORDERS, "--pool=payments", "--processes=2")
    await eventually(lambda: supervisor.output().count("is up") == 2, "both are up")
    children = psutil.Process(supervisor.pid).children()
    assert len(children) == 2
    supervisor.terminate()
    assert await supervisor.wait() == 0, supervisor.output()
    assert not any(child.is_running() for child in children)


async def test_dev_works_on_servers_too(tenuto: CommandLine) -> None:
    server = tenuto.start("dev", ORDERS)
    await eventually(lambda: "replay check" in server.output(), "it serves")
    assert "amqp://" in server.output()
    published = await tenuto.run("publish", "fulfil_order", "--id=order-17", "--input", json.dumps(ORDER))
    assert published.out == "order-17\n"
    await until_completed(tenuto, "order-17")
    server.terminate()
    assert await server.wait() == 0, server.output()


async def test_publishing_before_there_is_an_orchestrator_is_a_misuse(tenuto: CommandLine) -> None:
    finished = await tenuto.run("publish", "fulfil_order", "--input", json.dumps(ORDER))
    assert finished.code == 2
    assert "tenuto orchestrator" in finished.err


async def until_completed(tenuto: CommandLine, instance: str) -> None:
    """Ask, as a user would, until the instance has ended."""
    status = ""
    for _ in range(60):
        shown = await tenuto.run("workflow", "show", instance, "-o", "json")
        status = json.loads(shown.out)["status"] if shown.code == 0 else shown.err
        if status in ("COMPLETED", "FAILED", "TERMINATED"):
            break
    assert status == "COMPLETED"
