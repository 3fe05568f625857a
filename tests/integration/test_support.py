"""The tests' own machinery: what they start ends with them, and what is missing is said aloud."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import OwnedProcess, ProcessFailedError, eventually, tail
from tests.support.reaper import Reaper, kill_tree
from tests.support.servers import RABBITMQ_VARIABLE, find_rabbitmq

ROOT = Path(__file__).resolve().parents[2]
FAMILY = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)
SESSION = f"""
import os, signal, sys
from pathlib import Path
from tests.support.processes import OwnedProcess
from tests.support.reaper import Reaper
reaper = Reaper()
folder = Path(sys.argv[1])
reaper.folder(folder)
process = OwnedProcess([sys.executable, "-c", {FAMILY!r}], log=folder / "log", reaper=reaper)
process.until_ready(lambda: process.output().endswith("\\n"), timeout=30)
print(process.pid, process.output(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run_session_that_is_killed(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SESSION, str(folder)], cwd=ROOT, check=False, capture_output=True, text=True
    )


async def test_what_a_session_started_ends_when_the_session_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    session = run_session_that_is_killed(folder)
    assert session.returncode == -signal.SIGKILL, session.stderr
    parent, child = (int(pid) for pid in session.stdout.split())
    await eventually(lambda: gone(parent) and gone(child), "the reaper has killed both")
    await eventually(lambda: not folder.exists(), "the reaper has removed the folder")


async def test_kill_ends_descendants_too(tmp_path: Path, reaper: Reaper) -> None:
    process = OwnedProcess([sys.executable, "-c", FAMILY], log=tmp_path / "log", reaper=reaper)
    await eventually(lambda: process.output().endswith("\n"), "it has told its child's pid")
    process.kill()
    assert process.returncode == -signal.SIGKILL
    await eventually(lambda: gone(int(process.output())), "its child is gone")


def test_a_stranger_with_the_pid_of_a_process_that_ended_is_not_killed(
    tmp_path: Path, reaper: Reaper
) -> None:
    process = OwnedProcess([sys.executable, "-c", FAMILY], log=tmp_path / "log", reaper=reaper)
    kill_tree(process.pid, created=1.0)
    assert process.running
    process.kill()


async def test_pause_and_resume(tmp_path: Path, reaper: Reaper) -> None:
    process = OwnedProcess([sys.executable, "-c", FAMILY], log=tmp_path / "log", reaper=reaper)
    state = psutil.Process(process.pid)
    process.pause()
    await eventually(lambda: state.status() == psutil.STATUS_STOPPED, "it is stopped")
    process.resume()
    await eventually(lambda: state.status() != psutil.STATUS_STOPPED, "it goes on")
    assert process.end(grace=30) == -signal.SIGTERM


def test_a_process_that_ends_before_it_is_ready_shows_its_output(tmp_path: Path, reaper: Reaper) -> None:
    process = OwnedProcess(
        [sys.executable, "-c", "raise SystemExit('out of luck')"], log=tmp_path / "log", reaper=reaper
    )
    with pytest.raises(ProcessFailedError, match="out of luck"):
        process.until_ready(lambda: False, timeout=30)


def test_a_server_that_was_named_but_does_not_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, reaper: Reaper
) -> None:
    monkeypatch.setenv(RABBITMQ_VARIABLE, "amqp://guest:guest@127.0.0.1:1/")
    with pytest.raises(ProcessFailedError, match=RABBITMQ_VARIABLE):
        find_rabbitmq(reaper)


def test_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == "(no output)"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert tail(log, lines=2) == "line 98\nline 99"


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_missing_server_is_said_aloud(ci: str, outcome: str, tmp_path: Path) -> None:
    """Runs pytest on a copy of our conftest where nothing is found."""
    source = (ROOT / "tests/conftest.py").read_text()
    override = "\n\ndef find_rabbitmq(reaper):\n    raise MissingServerError('needs RabbitMQ: provide one')\n"
    (tmp_path / "conftest.py").write_text(source + override)
    (tmp_path / "test_it.py").write_text("def test_it(rabbitmq_url):\n    pass\n")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            str(tmp_path),
        ],
        cwd=ROOT,
        env={"PATH": "", "CI": ci, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert outcome in run.stdout, run.stdout + run.stderr
    assert "needs RabbitMQ: provide one" in run.stdout
    assert ("tests skipped for want of a server" in run.stdout) == (not ci)
