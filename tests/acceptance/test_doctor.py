"""`tenuto doctor` on a deployment that is well, on one that is not, and where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.processes import OwnedProcess, eventually
from tests.support.reaper import Reaper

ORDERS = str(EXAMPLES / "order_fulfilment.py")
ORDER = {"order_id": "17", "items": ["lamp"], "amount": "129.90", "address": "12 Main Street"}


@pytest.fixture
def make_tenuto(
    tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]
) -> Iterator[Callable[[dict[str, str]], CommandLine]]:
    with ExitStack() as stack:

        def make(settings: dict[str, str]) -> CommandLine:
            command_line = CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log, settings=settings)
            return stack.enter_context(command_line)

        yield make


async def up(process: OwnedProcess) -> OwnedProcess:
    await eventually(lambda: "is up" in process.output() or not process.running, "it is up")
    assert process.running, process.output()
    return process


async def doctor(tenuto: CommandLine, *arguments: str) -> tuple[int, dict[str, Any]]:
    finished = await tenuto.run("doctor", "--watch=0", "-o", "json", *arguments)
    return finished.code, json.loads(finished.out)


def kinds(document: dict[str, Any]) -> set[str]:
    return {finding["kind"] for finding in document["findings"]}


async def test_on_servers(
    make_tenuto: Callable[[dict[str, str]], CommandLine],
    postgres_url: str,
    rabbitmq_url: str,
    namespace: str,
) -> None:
    tenuto = make_tenuto(
        {
            "TENUTO_DATABASE_URL": postgres_url,
            "TENUTO_BROKER_URL": rabbitmq_url,
            "TENUTO_NAMESPACE": namespace,
            "TENUTO_PARTITIONS": "4",
        }
    )
    # Without a schema there is nothing to be examined, and that is what is wrong.
    code, found = await doctor(tenuto)
    assert (code, kinds(found)) == (1, {"database-unusable"})
    assert "tenuto db upgrade" in found["findings"][0]["what"]
    assert (await tenuto.run("db", "upgrade")).code == 0
    finished = await tenuto.run("doctor")
    assert finished.code == 2
    assert "no orchestrator has ever started" in finished.err
    orchestrator = await up(tenuto.start("orchestrator", ORDERS))
    await up(tenuto.start("worker", ORDERS))
    payments = await up(tenuto.start("worker", ORDERS, "--pool=payments"))
    code, found = await doctor(tenuto)
    assert (code, found) == (0, {"healthy": True, "findings": []})
    assert "nothing is wrong" in (await tenuto.run("doctor", "--watch=0.2")).out
    payments.terminate()
    await payments.wait()
    published = await tenuto.run("publish", "fulfil_order", "--input", json.dumps(ORDER))
    instance = published.out.strip()

    async def stuck() -> dict[str, Any]:
        """What is said of the instance, once it waits for its payment."""
        while True:
            finished = await tenuto.run("doctor", instance, "-o", "json")
            document: dict[str, Any] = (
                json.loads(finished.out) if finished.code in (0, 1) and finished.out else {}
            )
            if "pool-without-workers" in {one["kind"] for one in document.get("findings", ())}:
                return document

    document = await stuck()
    assert (document["instance"], document["healthy"]) == (instance, False)
    assert document["waits"][0]["kind"] == "activity"
    code, found = await doctor(tenuto)
    assert (code, "pool-without-workers" in kinds(found)) == (1, True)
    told = await tenuto.run("doctor", instance)
    assert told.code == 1
    assert "tenuto worker module:app --pool payments" in told.out
    assert (await tenuto.run("doctor", "nobody")).code == 2
    orchestrator.terminate()
    await orchestrator.wait()
    assert "no-orchestrator" in kinds((await doctor(tenuto))[1])


async def test_on_a_file(make_tenuto: Callable[[dict[str, str]], CommandLine]) -> None:
    tenuto = make_tenuto({})
    ran = await tenuto.run("run", ORDERS, "fulfil_order", "--id=one", "--input", json.dumps(ORDER))
    assert ran.code == 0, ran
    code, found = await doctor(tenuto, "one")
    assert (code, kinds(found), found["status"]) == (0, {"instance-over"}, "COMPLETED")
    finished = await tenuto.run("doctor", "--watch=0")
    assert finished.code == 1
    assert "no orchestrator is alive" in finished.out
    assert "only the database is examined" in finished.err


async def test_a_broker_that_is_away_is_what_is_wrong(
    make_tenuto: Callable[[dict[str, str]], CommandLine],
) -> None:
    tenuto = make_tenuto(
        {"TENUTO_BROKER_URL": "amqp://guest:secret@127.0.0.1:1/", "TENUTO_CONNECT_TIMEOUT": "0.5"}
    )
    assert (await tenuto.run("db", "upgrade")).code == 0
    finished = await tenuto.run("doctor")
    assert finished.code == 1
    assert "127.0.0.1:1" in finished.out
    assert "secret" not in finished.out + finished.err
