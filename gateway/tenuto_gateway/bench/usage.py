"""What processes use: processor seconds and memory, as the operating system tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from tenuto.errors import SettingsError

__all__ = ["Usage"]

_SERVERS: Final[Mapping[str, str]] = {"beam.smp": "rabbitmq", "postgres": "postgresql"}
"""Programs of the servers, and what the report calls them."""


class Usage:
    """Looks at the processes of a benchmark, and at the servers where they run on this machine.

    A server's processor seconds are all of its own, whoever caused them.

    Raises:
        SettingsError: what it needs is not installed.
    """

    def __init__(self, processes: Mapping[str, int], *, servers: frozenset[str]) -> None:
        """`processes`: ids by name. `servers`: which of `rabbitmq` and `postgresql` to look for."""
        self._psutil = _psutil()
        self._processes = {name: self._psutil.Process(pid) for name, pid in processes.items()}
        self._servers = servers
        self._spent: dict[tuple[str, int, float], float] = {}
        """By server, and its processes' ids and ages. Those that have ended keep what was last seen of them."""

    def seconds(self) -> dict[str, float]:
        """Processor seconds so far, by process."""
        found = {name: _seconds(process) for name, process in self._processes.items()}
        if self._servers:
            for process in self._psutil.process_iter(["name"]):
                name = _SERVERS.get(process.info["name"] or "", "")
                if name in self._servers:
                    try:
                        self._spent[name, process.pid, process.create_time()] = _seconds(process)
                    except self._psutil.Error:
                        continue  # it has just ended
            for (name, *_), seconds in self._spent.items():
                found[name] = found.get(name, 0.0) + seconds
        return found

    def memory(self) -> dict[str, int]:
        """Bytes of resident memory now, by process."""
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    def peak_memory(self) -> dict[str, int]:
        """The most that each process has ever had; where the system does not tell, what it has now."""
        return {
            name: _peak(process.pid) or process.memory_info().rss for name, process in self._processes.items()
        }


def _psutil() -> ModuleType:
    try:
        import psutil  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError('`tenuto bench` needs psutil; run: pip install "tenuto[bench]"') from error
    return psutil


def _seconds(process: object) -> float:
    times = process.cpu_times()  # type: ignore[attr-defined]  # psutil is there only with its extra
    return float(times.user + times.system)


def _peak(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
