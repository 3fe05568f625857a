"""`tenuto queue list` and `tenuto registry`: what waits for whom, and what a deployment runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tenuto.client import Client, InstanceFilter, QueueKind, QueueStatus
from tenuto.core.status import LIVE
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import ListForm, ShowForm, print_data, print_plain, print_table, watch
from tenuto_gateway.cli.parameters import Watch

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="The engine's queues, and the worker pools.", no_args_is_help=True)
    group.command("list")(command(_list))
    cli.add_typer(group, name="queue")
    cli.command("registry")(command(_registry))


async def _list(
    shared: Shared,
    *,
    pools: Annotated[bool, typer.Option("--pools", help="Only those of worker pools.")] = False,
    watching: Watch = False,
    output: Annotated[
        ListForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ListForm.TABLE,
) -> None:
    """List the queues: how many messages wait in each, and how many consumers it has."""
    async with Client(shared.settings(ClientSettings)) as client:

        async def show() -> bool:
            queues = await client.queues()
            _print([one for one in queues if not pools or one.kind is QueueKind.ACTIVITIES], output)
            return watching

        await watch(show)


def _print(queues: Sequence[QueueStatus], form: ListForm) -> None:
    if print_data([asdict(queue) for queue in queues], form):
        return
    if form is ListForm.IDS:
        for queue in queues:
            print_plain(queue.name)
        return
    columns: tuple[str, ...] = ("QUEUE", "KIND", "POOL", "MESSAGES", "CONSUMERS")
    rows = [
        (
            queue.name,
            queue.kind.value,
            queue.pool or "",
            "missing" if queue.messages is None else str(queue.messages),
            "" if queue.consumers is None else str(queue.consumers),
            ", ".join(queue.activities),
        )
        for queue in queues
    ]
    if form is ListForm.WIDE:
        print_table((*columns, "ACTIVITIES"), rows)
    else:
        print_table(columns, [row[:-1] for row in rows])


async def _registry(
    shared: Shared,
    *,
    output: Annotated[
        ShowForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ShowForm.TABLE,
) -> None:
    """Show which workflows, in which versions, have live instances: what must stay, and what old code can go."""
    async with Client(shared.settings(ClientSettings)) as client:
        live = await client.tally(InstanceFilter(statuses=LIVE))
    counted: dict[tuple[str, str | None], dict[str, int]] = {}
    for tally in live:
        counted.setdefault((tally.workflow, tally.version), {})[tally.status] = tally.count
    data: list[dict[str, Any]] = [
        {"workflow": workflow, "version": version, "live": statuses}
        for (workflow, version), statuses in counted.items()
    ]
    if not print_data(data, output):
        rows = [
            (
                workflow,
                version or "",
                str(sum(statuses.values())),
                ", ".join(f"{count} {status}" for status, count in statuses.items()),
            )
            for (workflow, version), statuses in counted.items()
        ]
        print_table(("WORKFLOW", "VERSION", "LIVE", "STATUSES"), rows)
