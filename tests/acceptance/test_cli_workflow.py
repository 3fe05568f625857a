"""`tenuto workflow …`, `tenuto queue`, `tenuto registry` through the HTTP gateway, as an operator uses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.processes import eventually
from tests.support.reaper import Reaper

APPROVAL = str(EXAMPLES / "approval.py")
EXPENSE = '{"employee": "Ada", "amount": "480.00", "purpose": "train to Leipzig"}'


@pytest.fixture
def tenuto(tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]) -> Iterator[CommandLine]:
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log) as command_line:
        yield command_line


@pytest.mark.timeout(400)  # two dozen processes, one after the other
async def test_an_operator_works_through_the_gateway(tenuto: CommandLine) -> None:
    server = tenuto.start("dev", APPROVAL, TENUTO_HTTP_PORT="0")
    await eventually(lambda: "HTTP API" in server.output(), "it says where its HTTP API is")
    found = re.search(r"HTTP API +(http://\S+)", server.output())
    assert found is not None
    there = {"TENUTO_API_URL": found[1]}

    async def run(*arguments: str, code: int = 0) -> str:
        finished = await tenuto.run(*arguments, **there)
        assert finished.code == code, finished
        return finished.out

    for name in ("one", "two"):
        started = await run(
            *("workflow", "start", "approve_expense", "--input", EXPENSE, "--id", name, "--tag", "team=red")
        )
        assert started == f"{name}\n"
    assert (await run("wf", "list", "-o", "ids", "--tag", "team=red")).split() == ["two", "one"]
    assert {"VERSION", "PARENT", "REASON"} <= set((await run("wf", "list", "-o", "wide")).split())
    await run("wf", "suspend", "one", "two", "--reason", "lunch")
    shown = yaml.safe_load(await run("wf", "show", "one", "-o", "yaml"))
    assert (shown["status"], shown["reason"]) == ("SUSPENDED", "lunch")
    await run("wf", "resume", "one", "two")
    await run("wf", "raise-event", "one", "decision", "--input", '{"approved": true, "by": "Grace"}')
    assert '"by":"Grace"' in await run("wf", "wait", "one", "--timeout", "30")
    assert "sequenceDiagram" in await run("wf", "history", "one", "-o", "mermaid")
    assert "approve_expense" in await run("registry")
    assert "tenuto.1.turns.0" in await run("queue", "list", "-o", "ids")
    refused = await tenuto.run("wf", "terminate", "--tag", "team=red", **there)
    assert (refused.code, "--yes" in refused.err) == (2, True)  # nobody was there to say yes
    await run("wf", "terminate", "two", "--reason", "enough")
    finished = await tenuto.run("wf", "wait", "two", **there)
    assert (finished.code, "was terminated: enough" in finished.err) == (1, True)
    assert "2 of 2" in await run("wf", "purge", "--tag", "team=red", "--yes")
    assert (await run("wf", "list", "-o", "ids")) == ""
    assert "flowchart TD" in await run("graph", APPROVAL, "approve_expense")
