"""A measurement: warm up, repeat, verify, and say what it came to."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Final

from tenuto_gateway.bench.places import Place
from tenuto_gateway.bench.usage import Usage
from tenuto_gateway.bench.workloads import Load, Sample, Watched, Workload

__all__ = ["Report", "measure"]

_WARM_UP: Final = 10
"""The share of the workflows, as a divisor, that is run before anything is measured."""
_PERCENTILES: Final = (50, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a benchmark came to. Its figures are those of the run in the middle of its repetitions, by seconds."""

    workload: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    workflows: int
    seconds: float
    workflows_per_second: float
    activities_per_second: float
    latency_ms: Mapping[str, float]
    """From the call that starts a workflow to its result."""
    cpu_seconds: Mapping[str, float]
    """By process. A server's are all of its own, whoever caused them."""
    peak_rss_bytes: Mapping[str, int]
    """By process, since it began."""
    details: Mapping[str, Any]
    """What only this workload tells."""
    runs: Sequence[float]
    """Seconds of every repetition, in order."""
    verified: bool
    """Whether every result of every repetition was what it had to be."""


async def measure(
    name: str, workload: Workload, place: Place, load: Load, *, repeat: int, settings: Mapping[str, Any]
) -> Report:
    """Run a workload `repeat` times, after a warm-up.

    Raises:
        TenutoError, TimeoutError: a workflow failed, or did not end.
    """
    usage = Usage(place.processes, servers=place.servers)
    watched = Watched(memory=usage.memory, disk=place.disk)
    await workload.run(place.client, _warm(load), watched)
    runs: list[tuple[Sample, dict[str, float]]] = []
    for _ in range(repeat):
        before = usage.seconds()
        sample = await workload.run(place.client, load, watched)
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in usage.seconds().items()}
        runs.append((sample, spent))
    sample, spent = sorted(runs, key=lambda run: run[0].seconds)[(repeat - 1) // 2]
    return Report(
        workload=name,
        settings=settings,
        versions=_versions(),
        workflows=load.workflows,
        seconds=sample.seconds,
        workflows_per_second=load.workflows / sample.seconds,
        activities_per_second=sample.activities / sample.seconds,
        latency_ms=_percentiles(sample.latencies),
        cpu_seconds={process: round(seconds, 3) for process, seconds in spent.items()},
        peak_rss_bytes=usage.peak_memory(),
        details=sample.details,
        runs=[run.seconds for run, _ in runs],
        verified=not any(run.wrong for run, _ in runs),
    )


def _warm(load: Load) -> Load:
    """Few, but enough that every process has done it; a long history is warmed up by a shorter one."""
    if load.workflows == 1:
        return replace(load, steps=max(1, load.steps // _WARM_UP))
    return replace(load, workflows=max(1, load.workflows // _WARM_UP))


def _percentiles(latencies: Sequence[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    if len(ordered) == 1:
        return {f"p{percent}": 1000 * ordered[0] for percent in _PERCENTILES}
    cuts = statistics.quantiles(ordered, n=100, method="inclusive")
    return {f"p{percent}": 1000 * cuts[percent - 1] for percent in _PERCENTILES}


def _versions() -> dict[str, str]:
    return {
        "tenuto": version("tenuto"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
    }
