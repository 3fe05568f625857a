"""Operating-system processes that tests own: started, paused, killed, their output kept in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.reaper import Reaper, kill_tree

__all__ = ["Account", "OwnedProcess", "ProcessFailedError", "eventually", "free_port", "tail"]

_POLL = 0.05


class ProcessFailedError(Exception):
    """A process of the tests ended, or did not become ready in time. The message has the end of its output."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account that a process runs under."""

    user: int
    group: int

    @classmethod
    def unprivileged(cls, *names: str) -> Account | None:
        """The first of these accounts that exists, when we are root; else None: our own account will do."""
        if os.geteuid() != 0:
            return None
        for name in names:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(user=entry.pw_uid, group=entry.pw_gid)
        raise ProcessFailedError(
            f"none of the accounts {', '.join(names)} exists, and root may not run this program"
        )


class OwnedProcess:
    """A process of the tests', with its descendants. It ends with the test session, whatever happens to that."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        reaper: Reaper,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                **(
                    {}
                    if account is None
                    else {"user": account.user, "group": account.group, "extra_groups": []}
                ),
            )
        reaper.process(self._popen.pid)
        self._created = psutil.Process(self._popen.pid).create_time()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; negative: the signal that ended it; None: it runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def output(self) -> str:
        """Everything that it wrote so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this one process; one that has ended is no error."""
        if self.running:
            self._popen.send_signal(number)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""
        self.send(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it (SIGSTOP), as a host that hangs would."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it and its descendants at once (SIGKILL), and wait until it is gone."""
        if self.running:
            kill_tree(self.pid, self._created)
        self._popen.wait(timeout=30)

    def end(self, *, grace: float) -> int:
        """Ask it to stop; kill it if it is still there `grace` seconds later. Returns its exit code."""
        self.terminate()
        try:
            return self._popen.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.wait(timeout=30)

    def until_ready(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Wait until `ready` says so.

        Raises:
            ProcessFailedError: the process ended first, or it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise ProcessFailedError(
                    f"{self.argv[0]} ended with code {self.returncode}:\n{tail(self.log)}"
                )
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"{self.argv[0]} was not ready after {timeout} s:\n{tail(self.log)}")
            time.sleep(_POLL)

    async def wait(self, *, timeout: float = 60.0) -> int:
        """Wait until it has ended; returns its exit code.

        Raises:
            ProcessFailedError: it still runs after `timeout` seconds.
        """
        await eventually(lambda: not self.running, f"{self.argv} ends", timeout=timeout)
        return self._popen.wait()


async def eventually(condition: Callable[[], bool], what: str, *, timeout: float = 30.0) -> None:
    """Wait until a condition that only the outside world can bring about holds; raises if it does not in time."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise ProcessFailedError(f"waited {timeout} s in vain until {what}")
        await asyncio.sleep(_POLL)


def free_port() -> int:
    """A free TCP port below the range that the system gives to outgoing connections.

    Of the others, a client that connects again and again to a server that is down might take the server's own port.
    """
    for port in random.Random().sample(range(10_000, 32_000), k=200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ProcessFailedError("no free port was found between 10000 and 32000")


def tail(log: Path, *, lines: int = 60) -> str:
    """The last lines of a log file."""
    if not log.exists():
        return "(no output)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
