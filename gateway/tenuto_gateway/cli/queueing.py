"""`tenuto queue list` and `tenuto registry`: what waits for whom, and what a deployment runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from tenuto.client import Client, QueueKind, QueueStatus
from tenuto.registry import Registry
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import ListForm, print_data, print_plain, print_table, watch
from tenuto_gateway.cli.parameters import Watch
from tenuto_gateway.schemas import describe_schema

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
    watching: Watch = False,
    output: Annotated[
        ListForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ListForm.TABLE,
) -> None:
    """Show which workflows, in which versions, the deployment serves, and how many live instances each has: what must
    stay, and what old code can go. `-o wide` also shows what they take and return, and the activities."""
    async with Client(shared.settings(ClientSettings)) as client:

        async def show() -> bool:
            _print_registry(await client.registry(), output)
            return watching

        await watch(show)


def _print_registry(registry: Registry, form: ListForm) -> None:
    if print_data(registry, form):
        return
    if form is ListForm.IDS:
        for name in dict.fromkeys(workflow.name for workflow in registry.workflows):
            print_plain(name)
        return
    wide = form is ListForm.WIDE
    columns: tuple[str, ...] = ("WORKFLOW", "VERSION", "SERVED", "LIVE", "TAKES", "RETURNS")
    rows = [
        (
            workflow.name,
            workflow.version or "",
            "yes" if workflow.served else Text("no", style="bold yellow" if workflow.live else ""),
            str(workflow.live),
            describe_schema(workflow.input),
            describe_schema(workflow.output),
        )
        for workflow in registry.workflows
    ]
    print_table(columns if wide else columns[:4], [row if wide else row[:4] for row in rows])
    if wide and registry.activities:
        print_plain("")
        print_table(
            ("ACTIVITY", "POOL", "TAKES", "RETURNS"),
            [
                (one.name, one.pool, describe_schema(one.input), describe_schema(one.output))
                for one in registry.activities
            ],
        )
