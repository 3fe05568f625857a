"""What the command says when it is used wrongly: one line with the remedy, exit code 2, and no traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.processes import free_port
from tests.support.reaper import Reaper

ORDERS = str(EXAMPLES / "order_fulfilment.py")
NOWHERE = f"127.0.0.1:{free_port()}"


@pytest.fixture
def tenuto(tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]) -> Iterator[CommandLine]:
    """The command, which waits for servers for a moment only."""
    settings = {"TENUTO_CONNECT_TIMEOUT": "0.5"}
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log, settings=settings) as command_line:
        yield command_line


MISUSES = {
    "unknown file": (["run", "missing.py", "fulfil_order"], "there is no file"),
    "unknown module": (["dev", "missing:app"], "there is no module 'missing'"),
    "unknown app": (["dev", f"{ORDERS}:shop"], "the apps in 'order_fulfilment' are: app"),
    "broken module": (["dev", "broken.py"], "broken.py, line 1"),
    "unknown workflow": (["run", ORDERS, "fulfil"], "there are: fulfil_order"),
    "no workflow": (["run", ORDERS], "there are: fulfil_order"),
    "input is not JSON": (["run", ORDERS, "fulfil_order", "--input", "{order"], "--input is not JSON"),
    "input does not fit": (["run", ORDERS, "fulfil_order", "--input", '{"order_id": 17}'], "does not fit"),
    "input is missing": (["run", ORDERS, "fulfil_order"], "does not fit"),
    "input file is missing": (["run", ORDERS, "fulfil_order", "--input", "@order.json"], "cannot be read"),
    "impossible id": (
        ["run", ORDERS, "fulfil_order", "--id", "a\nb", "--input", '{"order_id": "1", "items": []}'],
        "does not fit",
    ),
    "unknown database": (["dev", ORDERS, "--database-url", "oracle://host/db"], "oracle"),
    "malformed database": (["dev", ORDERS, "--database-url", "nonsense"], "database"),
    "missing folder": (
        ["dev", ORDERS, "--database-url", "sqlite+aiosqlite:///no/such/folder/tenuto.db"],
        "no/such",
    ),
    "absent database": (
        ["workflow", "list", "--database-url", f"postgresql+asyncpg://me:secret@{NOWHERE}/db"],
        NOWHERE,
    ),
    "no schema yet": (["workflow", "list"], "tenuto"),
    "unknown broker": (["dev", ORDERS, "--broker-url", "kafka://host"], "kafka"),
    "malformed broker": (["dev", ORDERS, "--broker-url", "nonsense"], "broker URL"),
    "absent broker": (["worker", ORDERS, "--broker-url", f"amqp://me:secret@{NOWHERE}/"], NOWHERE),
    "in-process broker": (["orchestrator", ORDERS], "memory:// is within one process"),
    "in-process broker of a worker": (
        ["worker", ORDERS, "--pool", "payments"],
        "memory:// is within one process",
    ),
    "in-process broker to publish": (["publish", "fulfil_order"], "memory:// is within one process"),
    "malformed tag": (["publish", "fulfil_order", "--tag", "blue"], "name=value"),
    "malformed setting": (["dev", ORDERS, "--namespace", "Capitals"], "TENUTO_NAMESPACE"),
    "malformed level": (["dev", ORDERS, "--log-level", "LOUD"], "TENUTO_LOG_LEVEL"),
}


@pytest.mark.parametrize(("arguments", "words"), MISUSES.values(), ids=MISUSES)
async def test_a_misuse_is_one_line_and_exit_code_2(
    tenuto: CommandLine, arguments: list[str], words: str
) -> None:
    (tenuto.folder / "broken.py").write_text("import no_such_thing\n")
    finished = await tenuto.run(*arguments)
    assert finished.out == ""
    assert finished.err.startswith("tenuto: ")
    assert finished.err.count("\n") == 1
    assert words in finished.err
    assert "secret" not in finished.err
    assert finished.code == 2


async def test_a_mistyped_variable_is_refused(tenuto: CommandLine) -> None:
    finished = await tenuto.run("workflow", "list", TENUTO_DATABSE_URL="sqlite+aiosqlite:///other.db")
    assert finished.code == 2
    assert "TENUTO_DATABSE_URL is unknown" in finished.err
    assert "TENUTO_DATABASE_URL" in finished.err


async def test_debug_shows_where_an_error_comes_from(tenuto: CommandLine) -> None:
    (tenuto.folder / "broken.py").write_text("import no_such_thing\n")
    finished = await tenuto.run("dev", "broken.py", "--debug")
    assert finished.code == 2
    assert "Traceback" in finished.err
    assert "ModuleNotFoundError: No module named 'no_such_thing'" in finished.err
    assert finished.err.splitlines()[-1].startswith("tenuto: ")


async def test_a_worker_of_a_pool_that_the_app_does_not_use_says_so(tenuto: CommandLine) -> None:
    finished = await tenuto.run("worker", ORDERS, "--pool=paiments", f"--broker-url=amqp://{NOWHERE}/")
    assert "its pools are: default, payments" in finished.err


async def test_wrong_arguments_exit_with_2(tenuto: CommandLine) -> None:
    for arguments in (["nonsense"], ["run", "--nonsense"], ["workflow", "list", "--status", "DONE"]):
        finished = await tenuto.run(*arguments)
        assert finished.code == 2
        assert "Traceback" not in finished.err


async def test_nothing_is_left_behind_by_a_listing_without_a_database(tenuto: CommandLine) -> None:
    await tenuto.run("workflow", "list")
    assert not (tenuto.folder / "tenuto.db").exists()
