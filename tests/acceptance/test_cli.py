"""The `tenuto` command on the embedded default: one process, one file, no servers."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tenuto.client import Client, InstanceFilter
from tenuto.core.status import Status
from tenuto.settings import ClientSettings
from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.engine import until
from tests.support.processes import eventually
from tests.support.reaper import Reaper

ORDERS = str(EXAMPLES / "order_fulfilment.py")
APPROVAL = str(EXAMPLES / "approval.py")
ORDER = {"order_id": "17", "items": ["lamp", "desk"], "amount": "129.90", "address": "12 Main Street"}


@pytest.fixture
def tenuto(tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]) -> Iterator[CommandLine]:
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log) as command_line:
        yield command_line


def client(folder: Path) -> Client:
    return Client(ClientSettings(database_url=f"sqlite+aiosqlite:///{folder}/tenuto.db", poll_interval=0.1))


async def test_the_version(tenuto: CommandLine) -> None:
    finished = await tenuto.run("--version")
    assert (finished.code, finished.out) == (0, f"tenuto {version('tenuto')}\n")


async def test_help_names_every_command(tenuto: CommandLine) -> None:
    finished = await tenuto.run("--help")
    assert finished.code == 0
    for name in ("dev", "run", "orchestrator", "worker", "publish", "workflow", "db", "broker"):
        assert f" {name} " in finished.out


async def test_run_shows_steps_and_prints_the_result_last(tenuto: CommandLine) -> None:
    finished = await tenuto.run("run", ORDERS, "fulfil_order", "--id=order-17", "--input", json.dumps(ORDER))
    assert finished.code == 0, finished.err
    assert steps(finished.err) == [
        ("started", "fulfil_order"),
        *2
        * [
            ("activity scheduled", "reserve_item"),
            ("activity completed", "reserve_item"),
            ("compensation added", "cancel_reservation"),
        ],
        *[("activity scheduled", "charge_card"), ("activity completed", "charge_card")],
        ("compensation added", "refund"),
        *[("activity scheduled", "ship"), ("activity completed", "ship")],
        ("completed", "fulfil_order"),
    ]
    assert json.loads(finished.out) == {"order_id": "17", "payment": "charge-3", "parcel": "ship-4"}
    assert finished.out.count("\n") == 1


async def test_a_workflow_that_fails_exits_with_1(tenuto: CommandLine) -> None:
    order = json.dumps(ORDER | {"address": ""})
    finished = await tenuto.run("run", ORDERS, "fulfil_order", "--input", "-", stdin=order)
    assert finished.code == 1
    assert finished.out == ""
    assert "OrderCancelledError: order 17 was cancelled" in finished.err.splitlines()[-1]
    assert "Traceback" not in finished.err


async def test_histories_are_written_down_and_replayed(tenuto: CommandLine) -> None:
    for name in ("order-1", "order/2"):
        await tenuto.run("run", ORDERS, "fulfil_order", f"--id={name}", "--input", json.dumps(ORDER))
    one = await tenuto.run("workflow", "export", "order-1")
    assert json.loads(one.out)["instance"] == "order-1"
    many = await tenuto.run("workflow", "export", "--workflow", "fulfil_order", "--to", "histories")
    assert many.code == 0, many.err
    files = sorted(file.name for file in (tenuto.folder / "histories").iterdir())
    assert files == ["order%2F2.json", "order-1.json"]
    fits = await tenuto.run("replay", ORDERS, "histories")
    assert (fits.code, fits.out) == (0, "2 of 2 histories fit\n")
    misfits = await tenuto.run("replay", APPROVAL, "histories")
    assert misfits.code == 1
    assert "no workflow 'fulfil_order'" in misfits.out
    nowhere = await tenuto.run("workflow", "export", "order-1", "order/2")
    assert nowhere.code == 2
    assert "--to" in nowhere.err


async def test_what_was_run_can_be_listed_and_looked_at(tenuto: CommandLine) -> None:
    (tenuto.folder / "order.json").write_text(json.dumps(ORDER))
    for number in (1, 2):
        finished = await tenuto.run(
            "run", ORDERS, "fulfil_order", f"--id=order-{number}", "--input=@order.json"
        )
        assert finished.code == 0, finished.err
    everything = await tenuto.json("workflow", "list")
    assert [entry["instance_id"] for entry in everything] == ["order-2", "order-1"]
    filtered = ("--status=completed", "--workflow=fulfil_order", "--id-prefix=order-", "--limit=1")
    some = await tenuto.run("wf", "list", *filtered)
    assert [line.split()[:3] for line in some.out.splitlines()[1:]] == [
        ["order-2", "fulfil_order", "COMPLETED"]
    ]
    assert "--limit" in some.err
    assert await tenuto.json("workflow", "list", "--status=FAILED") == []
    shown = await tenuto.json("workflow", "show", "order-1")
    assert shown["input"] == ORDER
    assert shown["output"]["order_id"] == "17"
    assert "COMPLETED" in (await tenuto.run("workflow", "show", "order-1")).out
    history = await tenuto.json("workflow", "history", "order-1")
    assert [history[0]["type"], history[-1]["type"]] == ["ExecutionStarted", "ExecutionCompleted"]
    table = (await tenuto.run("workflow", "history", "order-1")).out
    assert "activity completed" in table
    assert "charge_card" in table


async def test_an_unknown_instance_is_a_misuse(tenuto: CommandLine) -> None:
    assert (await tenuto.run("db", "upgrade")).code == 0
    for verb in ("show", "history"):
        finished = await tenuto.run("workflow", verb, "order-404")
        assert finished.code == 2
        assert "order-404" in finished.err
        assert finished.err.count("\n") == 1


async def test_an_interrupted_run_goes_on_where_it_was(tenuto: CommandLine) -> None:
    order = ("run", ORDERS, "fulfil_order", "--id=order-17", "--input", json.dumps(ORDER))
    first = tenuto.start(*order, WORLD_NEVER_ANSWERS="charge", TENUTO_GRACE="0")
    await eventually(lambda: "charge_card" in first.output(), "the payment is asked for")
    first.send(signal.SIGINT)
    assert await first.wait() == 130
    assert "--id order-17 goes on" in first.output()
    second = await tenuto.run(*order)
    assert second.code == 0, second.err
    assert json.loads(second.out)["order_id"] == "17"
    assert "is under way; so far:" in second.err
    assert steps(second.err).count(("activity completed", "reserve_item")) == 2


async def test_an_instance_under_way_is_not_mistaken_for_another(tenuto: CommandLine) -> None:
    order = ("run", ORDERS, "fulfil_order", "--id=order-17")
    first = tenuto.start(*order, "--input", json.dumps(ORDER), WORLD_NEVER_ANSWERS="charge")
    await eventually(lambda: "charge_card" in first.output(), "the payment is asked for")
    first.kill()
    other = await tenuto.run(*order, "--input", json.dumps(ORDER | {"amount": "1.00"}))
    assert other.code == 2
    assert "is under way already, with another input" in other.err


async def test_dev_serves_until_it_is_told_to_stop(tenuto: CommandLine) -> None:
    server = tenuto.start("dev", APPROVAL)
    await eventually(lambda: "Ctrl-C ends it" in server.output(), "it serves")
    await eventually(lambda: "replay check" in server.output(), "it says what")
    assert "approve_expense" in server.output()
    assert "always" in server.output()
    expense = {"employee": "Ada", "amount": "480.00", "purpose": "train to Leipzig"}
    async with client(tenuto.folder) as connected:
        handle = await connected.start("approve_expense", expense, tags={"team": "blue"})
        await handle.raise_event("decision", {"approved": True, "by": "Grace"})
        assert (await handle.result(timeout=30))["by"] == "Grace"
    server.terminate()
    assert await server.wait() == 0
    assert "Traceback" not in server.output()
    tagged = await tenuto.json("workflow", "list", "--tag", "team=blue")
    assert [entry["instance_id"] for entry in tagged] == [handle.instance_id]


async def test_schedules_are_made_shown_triggered_and_deleted(tenuto: CommandLine) -> None:
    server = tenuto.start("dev", str(EXAMPLES / "nightly_report.py"))
    await eventually(lambda: "Ctrl-C ends it" in server.output(), "it serves")
    when = ("--cron", "0 3 * * *", "--time-zone=Europe/Berlin")
    made = await tenuto.run("schedule", "create", "nightly", "report", *when, "--input", '{"shop": "lamps"}')
    assert made.code == 0, made
    assert "0 3 * * * (Europe/Berlin)" in (await tenuto.run("schedule", "list")).out
    run = (await tenuto.run("schedule", "trigger", "nightly")).out.strip()
    async with client(tenuto.folder) as open_client:

        async def completed() -> bool:
            where = InstanceFilter(statuses=frozenset({Status.COMPLETED}))
            return [one.instance_id async for one in open_client.list(where)] == [run]

        await until(completed)
    assert (await tenuto.run("schedule", "pause", "nightly", "--reason=holidays")).code == 0
    shown = await tenuto.json("schedule", "show", "nightly")
    assert (shown["paused"], shown["reason"], shown["last_run"], shown["runs"]) == (True, "holidays", run, 1)
    assert (await tenuto.run("schedule", "update", "nightly", "--every", "3600")).code == 0

    async def changed() -> bool:
        return bool((await tenuto.json("schedule", "show", "nightly"))["every"] == 3600)

    await until(changed)
    assert (await tenuto.run("schedule", "list", "-o", "ids")).out == "nightly\n"
    wide = (await tenuto.run("schedule", "list", "-o", "wide")).out
    assert {"every", "1:00:00", run, "skip", "holidays"} <= set(wide.split())
    nothing = await tenuto.run("schedule", "update", "nightly")
    assert (nothing.code, "nothing to change" in nothing.err) == (2, True), nothing
    assert (await tenuto.run("schedule", "delete", "nightly")).code == 0
    gone = await tenuto.run("schedule", "resume", "nightly")
    assert (gone.code, "no schedule 'nightly'" in gone.err) == (2, True), gone


async def test_the_database_can_be_upgraded_and_looked_at(tenuto: CommandLine) -> None:
    assert (await tenuto.run("db", "status")).code == 2
    assert (await tenuto.run("db", "upgrade")).code == 0
    assert (await tenuto.run("db", "upgrade")).code == 0
    fresh = await tenuto.run("db", "status")
    assert fresh.code == 0
    assert "none yet" in fresh.out
    await tenuto.run("run", ORDERS, "fulfil_order", "--input", json.dumps(ORDER))
    known = await tenuto.json("db", "status")
    assert known["deployment"]["partitions"] > 0


def steps(progress: str) -> list[tuple[str, str]]:
    """What happened to what, from the lines of progress."""
    found = [re.match(r" *\d+\.\d\ds  \S (.{18})  (\S+)", line) for line in progress.splitlines()]
    return [(match[1].strip(), match[2]) for match in found if match is not None]
