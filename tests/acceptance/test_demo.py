"""`make demo`: an order that survives `kill -9`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.command_line import EXAMPLES, CommandLine
from tests.support.reaper import Reaper


async def test_the_demonstration(tmp_path: Path, reaper: Reaper, show_log: Callable[[Path], None]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "demo.py")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "160"},
    )
    reaper.process(process.pid)
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    text = output.decode()
    assert process.returncode == 0, text
    assert "kill -9" in text
    assert text.count("one key: done once") == 1
    assert text.count("activity completed") >= 4
    with CommandLine(folder=tmp_path, reaper=reaper, show_log=show_log) as tenuto:
        (listed,) = await tenuto.json("workflow", "list")
    assert (listed["workflow"], listed["status"]) == ("fulfil_order", "COMPLETED")
