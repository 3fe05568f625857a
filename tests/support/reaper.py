"""Ends what a test session started, even when the session itself was killed.

`python reaper.py` reads lines of JSON on its standard input, each naming something to end: a process with all its
descendants, a container, a folder to remove. When the input ends, because the session closed it or died, it ends them.
Processes are known by pid and creation time, so one that has ended already cannot be mistaken for a stranger.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

__all__ = ["Reaper", "kill_tree"]


def kill_tree(pid: int, created: float) -> None:
    """SIGKILL a process and all its descendants; one that is gone already is no error."""
    try:
        process = psutil.Process(pid)
        if process.create_time() != created:
            return
        doomed = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


class Reaper:
    """The session's end of the pipe. What is registered needs no deregistration when it has ended by itself."""

    def __init__(self) -> None:
        # In a session of its own, so that a Ctrl-C at the terminal, or a kill of the process group, passes it by.
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def process(self, pid: int) -> None:
        """End this process, and its descendants, with the session."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._tell("process", pid, psutil.Process(pid).create_time())

    def container(self, name: str) -> None:
        """Remove this Docker container with the session."""
        self._tell("container", name)

    def folder(self, path: Path) -> None:
        """Remove this folder with the session, after everything else."""
        self._tell("folder", str(path))

    def close(self) -> None:
        """End everything now. Tolerates repeats."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def _tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()


def main() -> None:
    doomed = [json.loads(line) for line in sys.stdin]
    for kind, *what in reversed(doomed):
        match kind:
            case "process":
                kill_tree(*what)
            case "container":
                subprocess.run(["docker", "rm", "--force", *what], check=False, capture_output=True)
            case "folder":
                continue
            case _:
                raise ValueError(kind)
    for kind, *what in doomed:
        if kind == "folder":
            shutil.rmtree(what[0], ignore_errors=True)


if __name__ == "__main__":
    main()
