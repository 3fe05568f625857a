"""The supervisor of several worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tenuto_worker.processes import Supervisor
from tests.unit.worker.bench import PATIENCE, eventually

CHILD = """
import pathlib, signal, sys, time

folder, number_of_deaths, exit_code = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def leave(number, frame):
    (folder / f"told-{number}-{time.monotonic_ns()}").touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
earlier = len(list(folder.glob("born-*")))
(folder / f"born-{time.monotonic_ns()}").touch()
if earlier < number_of_deaths:
    sys.exit(exit_code)
signal.pause()
"""


class Nursery:
    """A folder in which children leave word of themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def argv(self, *, deaths: int = 0, exit_code: int = 1) -> list[str]:
        return [sys.executable, "-S", "-c", CHILD, str(self.folder), str(deaths), str(exit_code)]

    def count(self, kind: str) -> int:
        return len(list(self.folder.glob(f"{kind}-*")))

    async def until_born(self, count: int) -> None:
        await eventually(lambda: self.count("born") >= count)


@pytest.fixture
def nursery(tmp_path: Path) -> Nursery:
    return Nursery(tmp_path)


async def finished(run: asyncio.Task[int]) -> int:
    return await asyncio.wait_for(run, PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_passed_on_to_each_child_once(nursery: Nursery, number: signal.Signals) -> None:
    run = asyncio.create_task(Supervisor(nursery.argv(), 2).run())
    await nursery.until_born(2)
    os.kill(os.getpid(), number)
    assert await finished(run) == 0
    assert nursery.count(f"told-{number.value}") == 2
    assert nursery.count("told") == 2
    assert nursery.count("born") == 2


async def test_a_child_that_dies_is_started_again(nursery: Nursery) -> None:
    supervisor = Supervisor(nursery.argv(deaths=2), 1, first_wait=0.001)
    run = asyncio.create_task(supervisor.run())
    await nursery.until_born(3)
    supervisor.end()
    assert await finished(run) == 0


async def test_a_child_that_is_killed_is_started_again(nursery: Nursery) -> None:
    supervisor = Supervisor(nursery.argv(), 1, first_wait=0.001)
    run = asyncio.create_task(supervisor.run())
    await nursery.until_born(1)
    (pid,) = supervisor.pids
    os.kill(pid, signal.SIGKILL)
    await nursery.until_born(2)
    assert pid not in supervisor.pids
    supervisor.end()
    assert await finished(run) == 0


async def test_it_can_be_ended_while_it_waits_to_start_one_again(nursery: Nursery) -> None:
    supervisor = Supervisor(nursery.argv(deaths=1000, exit_code=7), 1, first_wait=1000.0)
    run = asyncio.create_task(supervisor.run())
    await nursery.until_born(1)
    await eventually(lambda: not supervisor.pids)
    supervisor.end()
    assert await finished(run) == 7
    assert nursery.count("born") == 1


async def test_a_child_that_ends_well_is_not_started_again(nursery: Nursery) -> None:
    run = asyncio.create_task(Supervisor(nursery.argv(deaths=1000, exit_code=0), 3).run())
    assert await finished(run) == 0
    assert nursery.count("born") == 3


async def test_a_misuse_ends_them_all(nursery: Nursery) -> None:
    run = asyncio.create_task(Supervisor(nursery.argv(deaths=1, exit_code=2), 2).run())
    assert await finished(run) == 2
    assert nursery.count("born") <= 2


async def test_a_command_that_does_not_exist_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        await Supervisor(["/no/such/command"], 1).run()


async def test_supervise_gives_the_exit_code(nursery: Nursery) -> None:
    program = "import sys; from tenuto_worker import supervise; sys.exit(supervise(sys.argv[1:], 2))"
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *nursery.argv(deaths=1000, exit_code=2)
    )
    assert await asyncio.wait_for(supervisor.wait(), PATIENCE) == 2
