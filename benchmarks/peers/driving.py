"""What every peer is asked for, and how it is timed: the same for all, and as `tenuto bench` does it.

A peer is a program `on_NAME.py WORKLOAD --workflows N --steps N --in-flight N` that starts what it needs, warms up,
prints one JSON document with the fields that `tenuto bench --json` prints, and ends what it has started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKLOADS = ("chain", "fanout", "noop")
WARM_UP = 10
"""The share of the workflows, as a divisor, that is run before anything is measured."""
PATIENCE = 60.0
"""Seconds that a server may take to start."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is asked for."""

    workload: str
    workflows: int
    steps: int
    in_flight: int

    @property
    def argument(self) -> int:
        """What each workflow is given."""
        return 7 if self.workload == "noop" else self.steps

    @property
    def expected(self) -> int:
        """What each workflow must return."""
        if self.workload == "fanout":
            return self.steps * (self.steps + 1) // 2
        return self.argument

    def warm_up(self) -> Load:
        """A tenth of it."""
        few = max(1, self.workflows // WARM_UP)
        return Load(workload=self.workload, workflows=few, steps=self.steps, in_flight=self.in_flight)


@dataclass(kw_only=True)
class Sample:
    """What one run came to."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0


def load_from_arguments() -> tuple[Load, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--workflows", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--database-url", default="postgresql://postgres@127.0.0.1/postgres")
    parser.add_argument("--broker-url", default="amqp://guest:guest@127.0.0.1//")
    parser.add_argument("--variant", default="")
    given = parser.parse_args()
    return (
        Load(
            workload=given.workload,
            workflows=given.workflows,
            steps=given.steps,
            in_flight=given.in_flight,
        ),
        given,
    )


async def drive(load: Load, run: Callable[[int], Awaitable[Any]]) -> Sample:
    """Run the workflows, so many in flight, and time each from its start to its result."""
    sample = Sample()
    numbers = iter(range(load.workflows))

    async def lane() -> None:
        for _ in numbers:
            began = time.perf_counter()
            result = await run(load.argument)
            sample.latencies.append(time.perf_counter() - began)
            sample.wrong += result != load.expected

    began = time.perf_counter()
    async with asyncio.TaskGroup() as lanes:
        for _ in range(min(load.in_flight, load.workflows)):
            lanes.create_task(lane())
    sample.seconds = time.perf_counter() - began
    return sample


def report(load: Load, sample: Sample) -> None:
    """Print the document."""
    ordered = sorted(sample.latencies)
    cuts = statistics.quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    print(
        json.dumps(
            {
                "workflows": load.workflows,
                "seconds": sample.seconds,
                "workflows_per_second": load.workflows / sample.seconds,
                "latency_ms": {f"p{percent}": 1000 * cuts[percent - 1] for percent in (50, 95, 99)},
                "verified": not sample.wrong,
            }
        )
    )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Return as soon as somebody listens on it.

    Raises:
        TimeoutError: nobody did.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = tempfile.mkdtemp()
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[None]:
    """A process, for as long as the block lasts; its output goes to the file."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        ) as process,
    ):
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
