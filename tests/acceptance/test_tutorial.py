"""The tutorial, as a newcomer follows it: every file is written, every command run, in order."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)


@pytest.mark.timeout(300)
async def test_the_tutorial_works_command_by_command(
    tmp_path: Path, postgres_url: str, rabbitmq_url: str, namespace: str
) -> None:
    script = ["set -e -m", "trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT"]  # as in a terminal
    for block in BLOCK.finditer(TUTORIAL.read_text()):
        if block["file"] is not None:
            (tmp_path / block["file"]).write_text(block["text"])
        elif block["language"] == "sh" and "pip install" not in block["text"]:
            script += [command(line, postgres_url, rabbitmq_url) for line in block["text"].splitlines()]
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        "\n".join(script),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TENUTO_NAMESPACE": namespace,
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        },
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    told = output.decode()
    assert process.returncode == 0, told
    assert "nothing in these workflows would keep them from replaying" in told
    assert "2 passed" in told
    assert "['a train to Lisbon is booked', 'a room in Lisbon is booked']" in told
    assert told.count("['a train to Rome is booked', 'a room in Rome is booked']") == 2
    assert "activity completed" in told
    assert "rome-1" in told
    assert "nothing is wrong" in told


def command(line: str, postgres_url: str, rabbitmq_url: str) -> str:
    """A line of a block: with the test's servers; and what a person takes time for is waited for."""
    if line.startswith("export TENUTO_DATABASE_URL"):
        return f"export TENUTO_DATABASE_URL={postgres_url}"
    if line.startswith("export TENUTO_BROKER_URL"):
        return f"export TENUTO_BROKER_URL={rabbitmq_url}"
    if line.startswith("tenuto dev"):
        return f"{line}\nuntil tenuto workflow list >/dev/null 2>&1; do sleep 0.1; done"
    if line == "wait":
        return "wait || true"  # of what was killed
    return line
