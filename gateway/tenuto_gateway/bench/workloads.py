"""Workloads: what is asked of the program, what must come back, and what of it is timed."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from tenuto import Client
from tenuto.client import WorkflowHandle
from tenuto_gateway.bench import program

__all__ = ["WORKLOADS", "Load", "Name", "Sample", "Watched", "Workload"]

_TIMEOUT: Final = 600.0
"""Seconds after which a workflow that has not ended fails the benchmark."""
_SLEEP: Final = 0.5
"""Seconds that the timers of the workload `timers` are set for."""


class Name(StrEnum):
    """What can be measured."""

    CHAIN = "chain"
    LOCAL = "local"
    FANOUT = "fanout"
    HISTORY = "history"
    NOOP = "noop"
    LATENCY = "latency"
    LOCAL_LATENCY = "local-latency"
    WAITING = "waiting"
    TIMERS = "timers"
    CHILDREN = "children"
    MIXED = "mixed"


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is asked for."""

    workflows: int
    steps: int
    in_flight: int
    """Workflows at the same time."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a workload may ask of the place where it runs."""

    memory: Callable[[], Mapping[str, int]]
    """Bytes of resident memory by process."""
    disk: Callable[[], Awaitable[int | None]]
    """Bytes of the database; None: unknown."""


@dataclass(kw_only=True)
class Sample:
    """What one run came to."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds from the call that starts a workflow to its result."""
    activities: int = 0
    wrong: int = 0
    """Results that were not what they had to be."""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One of the things that can be measured."""

    about: str
    workflows: int
    """How many, unless told otherwise."""
    steps: int
    run: Callable[[Client, Load, Watched], Awaitable[Sample]]
    in_flight: int = 1000


async def _chain(client: Client, load: Load, _: Watched) -> Sample:
    return await _chained(client, load, program.chain)


async def _local(client: Client, load: Load, _: Watched) -> Sample:
    return await _chained(client, load, program.local_chain)


async def _chained(client: Client, load: Load, workflow: Any) -> Sample:
    sample = await _drive(client, load, workflow, load.steps, lambda result: result == load.steps)
    sample.activities = load.workflows * load.steps
    return sample


async def _fanout(client: Client, load: Load, _: Watched) -> Sample:
    total = sum(range(1, load.steps + 1))
    sample = await _drive(client, load, program.fanout, load.steps, lambda result: result == total)
    sample.activities = load.workflows * load.steps
    return sample


async def _history(client: Client, load: Load, _: Watched) -> Sample:
    marks: list[list[float]] = []

    def check(result: list[float]) -> bool:
        marks.append(result)
        return result == sorted(result)

    sample = await _drive(client, load, program.history, load.steps, check)
    sample.activities = load.workflows * load.steps
    if load.steps >= 2 * program.MARK:
        sample.details["first_hundred_ms"] = 1000 * statistics.fmean(m[1] - m[0] for m in marks)
        sample.details["last_hundred_ms"] = 1000 * statistics.fmean(m[-1] - m[-2] for m in marks)
    return sample


async def _noop(client: Client, load: Load, _: Watched) -> Sample:
    return await _drive(client, load, program.noop, 7, lambda result: result == 7)  # noqa: PLR2004 - any number


async def _timers(client: Client, load: Load, _: Watched) -> Sample:
    late: list[float] = []

    def check(result: float) -> bool:
        late.append(result)
        return result >= 0.0

    sample = await _drive(client, load, program.timers, _SLEEP, check)
    sample.details["late_ms"] = {"p50": 1000 * statistics.median(late), "max": 1000 * max(late)}
    return sample


async def _children(client: Client, load: Load, _: Watched) -> Sample:
    total = sum(range(load.steps))
    sample = await _drive(client, load, program.children, load.steps, lambda result: result == total)
    sample.details["children_per_second"] = load.workflows * load.steps / sample.seconds
    return sample


async def _mixed(client: Client, load: Load, _: Watched) -> Sample:
    steps = load.steps
    total = 2 * (steps + sum(range(1, steps + 1)))
    sample = await _drive(client, load, program.mixed, steps, lambda result: result == total)
    sample.activities = 2 * load.workflows * steps
    return sample


async def _waiting(client: Client, load: Load, watched: Watched) -> Sample:
    """Many that wait, what they take while they do, and then all of them released."""
    sample = Sample()
    memory, disk = watched.memory(), await watched.disk()
    began = time.perf_counter()
    handles: list[WorkflowHandle[int]] = []

    async def begin(number: int) -> None:
        handle = await client.start(program.waiting, number, timeout=_TIMEOUT)
        await handle.started(timeout=_TIMEOUT)
        handles.append(handle)

    await _at_once(load.workflows, load.in_flight, begin)
    sample.details["start_seconds"] = time.perf_counter() - began
    grown = {name: size - memory.get(name, 0) for name, size in watched.memory().items()}
    sample.details["memory_bytes"] = grown
    if disk is not None and (now := await watched.disk()) is not None:
        sample.details["disk_bytes"] = now - disk
    released = time.perf_counter()

    async def release(number: int) -> None:
        sent = time.perf_counter()
        await handles[number].raise_event("go", 1, wait=False)
        await handles[number].result(timeout=_TIMEOUT)
        sample.latencies.append(time.perf_counter() - sent)

    await _at_once(len(handles), load.in_flight, release)
    sample.seconds = time.perf_counter() - released
    results = await asyncio.gather(*(handle.result() for handle in handles))
    sample.wrong = sum(a != b for a, b in zip(sorted(results), range(1, load.workflows + 1), strict=True))
    return sample


async def _drive(
    client: Client, load: Load, workflow: Any, value: Any, check: Callable[[Any], bool]
) -> Sample:
    """Start the workflows, so many in flight, and time each from its start to its result."""
    sample = Sample()

    async def one(_: int) -> None:
        began = time.perf_counter()
        handle = await client.start(workflow, value, timeout=_TIMEOUT)
        result = await handle.result(timeout=_TIMEOUT)
        sample.latencies.append(time.perf_counter() - began)
        sample.wrong += not check(result)

    began = time.perf_counter()
    await _at_once(load.workflows, load.in_flight, one)
    sample.seconds = time.perf_counter() - began
    return sample


async def _at_once(count: int, in_flight: int, work: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as lanes:
        for _ in range(min(in_flight, count)):
            lanes.create_task(lane())


WORKLOADS: Final[Mapping[Name, Workload]] = MappingProxyType(
    {
        Name.CHAIN: Workload(about="activities one after the other", workflows=2000, steps=5, run=_chain),
        Name.LOCAL: Workload(
            about="local activities one after the other", workflows=2000, steps=5, run=_local
        ),
        Name.FANOUT: Workload(about="activities side by side", workflows=100, steps=100, run=_fanout),
        Name.HISTORY: Workload(
            about="one long chain; its first and last 100", workflows=1, steps=2000, run=_history
        ),
        Name.NOOP: Workload(about="workflows that do nothing", workflows=5000, steps=0, run=_noop),
        Name.LATENCY: Workload(
            about="chains, one at a time", workflows=200, steps=5, in_flight=1, run=_chain
        ),
        Name.LOCAL_LATENCY: Workload(
            about="chains of local activities, one at a time", workflows=200, steps=5, in_flight=1, run=_local
        ),
        Name.WAITING: Workload(
            about="instances that wait for an event", workflows=10_000, steps=0, run=_waiting
        ),
        Name.TIMERS: Workload(
            about="durable timers, and how late they fire", workflows=2000, steps=0, run=_timers
        ),
        Name.CHILDREN: Workload(about="child workflows side by side", workflows=200, steps=10, run=_children),
        Name.MIXED: Workload(about="a little of everything", workflows=1000, steps=3, run=_mixed),
    }
)
