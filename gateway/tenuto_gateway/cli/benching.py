"""`tenuto bench`: what the engine does in a second, on these servers, on this machine."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import typer
from rich.text import Text

from tenuto.errors import UsageError
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto_gateway.bench.measure import Report, measure
from tenuto_gateway.bench.places import Place, Processes, attached, embedded, spawned
from tenuto_gateway.bench.workloads import WORKLOADS, Load, Name
from tenuto_gateway.cli.command import FAILED, Shared, command
from tenuto_gateway.cli.output import print_json, print_table, say
from tenuto_gateway.ensemble import until_signal
from tenuto_gateway.garbage import collect_seldom

__all__ = ["add_to"]

_MiB = 1024 * 1024
_INTERRUPTED = 130


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("bench")(command(_bench))


async def _bench(
    shared: Shared,
    workload: Annotated[
        Name,
        typer.Argument(
            metavar="WORKLOAD",
            help="; ".join(f"{name}: {workload.about}" for name, workload in WORKLOADS.items()) + ".",
            show_default=False,
        ),
    ],
    *,
    workflows: Annotated[int | None, typer.Option(min=1, help="How many workflows.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Activities (or children) of each, in a row or side by side.")
    ] = None,
    in_flight: Annotated[int | None, typer.Option(min=1, help="Workflows at the same time.")] = None,
    orchestrators: Annotated[int, typer.Option(min=1, help="Orchestrator processes.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Activities at the same time in one worker.")] = 200,
    repeat: Annotated[int, typer.Option(min=1, help="Repetitions; the one in the middle counts.")] = 3,
    attach: Annotated[
        bool,
        typer.Option(
            "--attach", help="Drive a deployment that serves tenuto_gateway.bench.program:app already."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Measure the engine: throughput, latency, processor time and memory, every result verified.

    By default all runs in this process, on a SQLite file. With a broker and a database it starts an orchestrator and a
    worker of its own, in a schema and with queues of its own, and removes them afterwards.
    """
    chosen = WORKLOADS[workload]
    load = Load(
        workflows=workflows or chosen.workflows,
        steps=steps or chosen.steps,
        in_flight=in_flight or chosen.in_flight,
    )
    processes = Processes(orchestrators=orchestrators, workers=workers)
    place = _place(shared, processes, concurrency=concurrency, attach=attach)
    settings = {
        "steps": load.steps,
        "in_flight": load.in_flight,
        "orchestrators": orchestrators,
        "workers": workers,
        "concurrency": concurrency,
        **_kinds(shared),
    }

    async def run() -> Report:
        async with place as here:
            collect_seldom()
            return await measure(
                workload, chosen, here, load, repeat=repeat, settings={"place": here.kind, **settings}
            )

    report = await until_signal(run())
    if report is None:
        return _INTERRUPTED
    if json:
        print_json(report)
    else:
        _show(report)
    if not report.verified:
        say("some results were wrong")
        return FAILED
    return 0


def _place(
    shared: Shared, processes: Processes, *, concurrency: int, attach: bool
) -> AbstractAsyncContextManager[Place]:
    if attach:
        return attached(shared.settings(ClientSettings))
    orchestrator = shared.settings(OrchestratorSettings)
    worker = shared.settings(WorkerSettings, concurrency=concurrency)
    if not orchestrator.broker_url.lower().startswith("memory:"):
        return spawned(orchestrator, worker, processes)
    if processes != Processes():
        raise UsageError("with the in-process broker there is one process; several need a --broker-url")
    # Unless it was asked for: the development server's own check of every turn is not what is to be measured.
    return embedded(orchestrator.model_copy(update={"replay_check": orchestrator.replay_check}), worker)


def _kinds(shared: Shared) -> dict[str, Any]:
    settings = shared.settings(OrchestratorSettings)
    return {
        "database": settings.database_url.partition(":")[0],
        "broker": settings.broker_url.partition(":")[0],
        "partitions": settings.partitions,
        "queue_type": settings.queue_type,
    }


def _show(report: Report) -> None:
    rows: list[tuple[str, str | Text]] = [
        ("workflows", f"{report.workflows} in {report.seconds:.2f} s"),
        ("workflows per second", f"{report.workflows_per_second:.1f}"),
        ("activities per second", f"{report.activities_per_second:.1f}"),
        ("latency", "  ".join(f"{name} {value:.1f} ms" for name, value in report.latency_ms.items())),
        *(
            (
                f"processor of {name}",
                f"{seconds:.2f} s, {1000 * seconds / report.workflows:.2f} ms a workflow",
            )
            for name, seconds in report.cpu_seconds.items()
        ),
        *(
            (f"peak memory of {name}", f"{size / _MiB:.0f} MiB")
            for name, size in report.peak_rss_bytes.items()
        ),
        *((name, f"{value}") for name, value in report.details.items()),
        ("results", "verified" if report.verified else "WRONG"),
    ]
    print_table((report.workload.upper(), ""), rows)
