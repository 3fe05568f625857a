"""The `tenuto` command as a user runs it: a process with arguments, output, errors and an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.processes import OwnedProcess
from tests.support.reaper import Reaper

__all__ = ["EXAMPLES", "ROOT", "CommandLine", "Finished"]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
_MODULE = "tenuto_gateway.cli"
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Runs commands in a folder of their own, without the settings of whoever runs the tests. To be used with `with`."""

    folder: Path
    reaper: Reaper
    show_log: Callable[[Path], None]
    settings: Mapping[str, str] = field(default_factory=dict)
    _started: list[OwnedProcess] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what was started and still runs."""
        for process in self._started:
            process.kill()

    async def json(self, *arguments: str) -> Any:
        """What a command prints with `-o json`."""
        finished = await self.run(*arguments, "-o", "json")
        assert finished.code == 0, finished
        return json.loads(finished.out)

    async def run(self, *arguments: str, stdin: str = "", **settings: str) -> Finished:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULE, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self._environment(settings),
        )
        self.reaper.process(process.pid)
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin.encode()), _PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Finished(code=process.returncode, out=out.decode(), err=err.decode())

    def start(self, *arguments: str, **settings: str) -> OwnedProcess:
        """Start a command that goes on until it is stopped."""
        log = self.folder / f"{len(self._started)}-{arguments[0]}.log"
        self.show_log(log)
        process = OwnedProcess(
            [sys.executable, "-m", _MODULE, *arguments],
            log=log,
            reaper=self.reaper,
            env=self._environment(settings),
            cwd=self.folder,
        )
        self._started.append(process)
        return process

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
        return {**inherited, "WORLD_SECONDS": "0", **self.settings, **settings}
