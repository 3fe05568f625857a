"""A cluster of real processes, started by the `tenuto` command, for tests from outside."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.support.processes import OwnedProcess, ProcessFailedError, eventually
from tests.support.reaper import Reaper
from tests.support.sample_app import AUDIT_VARIABLE

__all__ = ["Cluster", "Load", "Process"]

ROOT = Path(__file__).resolve().parents[2]
_STOP = 40.0

Process = OwnedProcess


class Cluster:
    """Orchestrators, workers and clients as processes that share a database, a broker and a namespace."""

    def __init__(
        self,
        database_url: str,
        broker_url: str,
        namespace: str,
        app_target: str,
        *,
        folder: Path,
        reaper: Reaper,
        show_log: Callable[[Path], None],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._database_url = database_url
        self._target = app_target
        self._folder = folder
        self._reaper = reaper
        self._show_log = show_log
        self._processes: list[Process] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
        self.environment: dict[str, str] = {
            **inherited,
            "TENUTO_DATABASE_URL": database_url,
            "TENUTO_BROKER_URL": broker_url,
            "TENUTO_NAMESPACE": namespace,
            "TENUTO_LOG_LEVEL": "INFO",
            AUDIT_VARIABLE: str(self.audit),
            **(settings or {}),
        }

    @property
    def audit(self) -> Path:
        """The file to which the sample app's activities append each of their executions."""
        return self._folder / "audit.jsonl"

    async def upgrade(self) -> None:
        """Make the schema (`tenuto db upgrade`)."""
        process = self._tenuto("db", "upgrade")
        if await process.wait(timeout=60) != 0:
            raise ProcessFailedError(f"tenuto db upgrade failed: {process.output()}")

    async def orchestrator(self) -> Process:
        """Start an orchestrator; returns when it has said that it is up."""
        process = self._tenuto("orchestrator", self._target)
        await self._until_up(process)
        return process

    async def worker(self, pool: str, *, concurrency: int = 32) -> Process:
        """Start a worker of a pool; returns when it has said that it is up."""
        process = self._tenuto("worker", self._target, f"--pool={pool}", f"--concurrency={concurrency}")
        await self._until_up(process)
        return process

    def load(self, count: int, *, steps: int = 5, window: int = 100) -> Load:
        """Start a client process that runs so many chains (`tests/support/load.py`)."""
        arguments = [str(count), str(steps), str(window)]
        return Load(
            self._start(["-m", "tests.support.load", *arguments], name="load"), count=count, steps=steps
        )

    async def owners(self) -> set[str]:
        """The orchestrators that own a partition at present."""
        return {owner for owner in await asyncio.to_thread(self._query_owners) if owner is not None}

    async def until_shared(self, count: int, *, timeout: float = 30.0) -> None:
        """Wait until so many orchestrators own partitions, and every partition has an owner."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            owners = await asyncio.to_thread(self._query_owners)
            if None not in owners and len(owners) == count:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailedError(
                    f"after {timeout} s the partitions belong to {owners}, not to {count} owners"
                )
            await asyncio.sleep(0.1)

    async def stop(self) -> dict[str, int]:
        """Ask every process that still runs to stop, and wait. Returns the exit code of each, by its log's name."""
        running = [process for process in self._processes if process.running]
        codes = await asyncio.gather(*(asyncio.to_thread(process.end, grace=_STOP) for process in running))
        return {process.log.stem: code for process, code in zip(running, codes, strict=True)}

    def kill(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()

    def _tenuto(self, *arguments: str, settings: Mapping[str, str] | None = None) -> Process:
        return self._start(["-m", "tenuto_gateway.cli", *arguments], name=arguments[0], settings=settings)

    def _start(
        self, arguments: Sequence[str], *, name: str, settings: Mapping[str, str] | None = None
    ) -> Process:
        log = self._folder / f"{len(self._processes)}-{name}.log"
        self._show_log(log)
        process = OwnedProcess(
            [sys.executable, *arguments],
            log=log,
            env={**self.environment, **(settings or {})},
            cwd=ROOT,
            reaper=self._reaper,
        )
        self._processes.append(process)
        return process

    async def _until_up(self, process: Process) -> None:
        def up_or_over() -> bool:
            return "is up" in process.output() or not process.running

        await eventually(up_or_over, f"{process.log.stem} says that it is up", timeout=60)
        if not process.running:
            raise ProcessFailedError(
                f"{process.log.stem} ended with {process.returncode}: {process.output()}"
            )

    def _query_owners(self) -> set[str | None]:
        url = make_url(self._database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            return {
                owner
                for (owner,) in connection.execute("SELECT DISTINCT owner FROM tenuto_partitions").fetchall()
            }


class Load:
    """A client process that runs chains, and what came of them so far."""

    def __init__(self, process: Process, *, count: int, steps: int) -> None:
        self.process = process
        self.count = count
        self.steps = steps

    def finished(self) -> int:
        """How many chains have ended so far."""
        return len(self._lines())

    async def until_finished(self, count: int, *, timeout: float = 120.0) -> None:
        """Wait until so many chains have ended. Fails if the client process fails."""

        def reached_or_over() -> bool:
            return self.finished() >= count or not self.process.running

        await eventually(
            reached_or_over, f"{count} chains have ended, {self.finished()} have", timeout=timeout
        )
        if not self.process.running and self.process.returncode != 0:
            raise ProcessFailedError(
                f"the client ended with {self.process.returncode}: {self.process.output()}"
            )

    async def results(self, *, timeout: float = 180.0) -> dict[str, tuple[str, str]]:
        """Wait for the client process to end; returns the seed and the result of each instance."""
        await self.until_finished(self.count, timeout=timeout)
        await self.process.wait(timeout=timeout)
        lines = [json.loads(line) for line in self._lines()]
        return {line["instance"]: (line["seed"], line["result"]) for line in lines}

    def _lines(self) -> list[str]:
        """Its results; what it logs stands between them, and the last line may be half written."""
        whole, _, _ = self.process.output().rpartition("\n")
        return [line for line in whole.splitlines() if line.startswith('{"instance"')]
