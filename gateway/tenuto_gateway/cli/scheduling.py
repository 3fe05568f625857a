"""`tenuto schedule …`: what starts workflows again and again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

import typer

from tenuto.client import Client, ScheduleStatus
from tenuto.schedules import Overlap
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import Form, facts, moment, print_json, print_plain, print_table
from tenuto_gateway.cli.parameters import Input, Output, read_input, read_tags

__all__ = ["add_to"]

Name: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)
]
Reason: TypeAlias = Annotated[str | None, typer.Option(help="Why, in words.")]


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Schedules: create, list, show, pause, resume, trigger, delete.", no_args_is_help=True
    )
    group.command("create")(command(_create))
    group.command("list")(command(_list))
    group.command("show")(command(_show))
    group.command("pause")(command(_pause))
    group.command("resume")(command(_resume))
    group.command("trigger")(command(_trigger))
    group.command("delete")(command(_delete))
    cli.add_typer(group, name="schedule")


async def _create(
    shared: Shared,
    name: Name,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)
    ],
    *,
    cron: Annotated[
        str | None, typer.Option(help="When, as a cron expression, or @hourly, @daily, @weekly …")
    ] = None,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Instead: seconds between two firings.")
    ] = None,
    time_zone: Annotated[str, typer.Option(help="In which the cron expression is read.")] = "UTC",
    value: Input = None,
    overlap: Annotated[
        Overlap, typer.Option(case_sensitive=False, help="If the run before is still under way.")
    ] = Overlap.SKIP,
    catch_up: Annotated[int, typer.Option(min=0, help="Missed firings to make up for.")] = 0,
    jitter: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="It may fire so much later.")] = 0.0,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the runs; may be repeated.")
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="It fires only once it is resumed.")] = False,
) -> None:
    """Start a workflow again and again."""
    when: dict[str, Any] = {"cron": cron, "every": every}
    async with Client(shared.settings(ClientSettings)) as client:
        await client.schedules.create(
            name,
            workflow,
            read_input(value),
            paused=paused,
            time_zone=time_zone,
            overlap=overlap,
            catch_up=catch_up,
            jitter=jitter,
            tags=read_tags(tag or ()),
            **{key: given for key, given in when.items() if given is not None},
        )


async def _list(shared: Shared, *, output: Output = Form.TABLE) -> None:
    """List all schedules, newest first."""
    async with Client(shared.settings(ClientSettings)) as client:
        found = [schedule async for schedule in client.schedules.list()]
    if output is Form.JSON:
        print_json([asdict(schedule) for schedule in found])
        return
    rows = [
        (one.name, one.workflow, _when(one), "paused" if one.paused else moment(one.next), moment(one.last))
        for one in found
    ]
    print_table(("NAME", "WORKFLOW", "WHEN", "NEXT", "LAST"), rows)


async def _show(shared: Shared, name: Name, *, output: Output = Form.TABLE) -> None:
    """Show how a schedule stands."""
    async with Client(shared.settings(ClientSettings)) as client:
        found = await client.schedules.get(name)
    if output is Form.JSON:
        print_json(asdict(found))
    else:
        facts({what: value for what, value in _facts(found).items() if value}, stderr=False)


async def _pause(shared: Shared, name: Name, *, reason: Reason = None) -> None:
    """Let a schedule start nothing until it is resumed."""
    async with Client(shared.settings(ClientSettings)) as client:
        await client.schedules.pause(name, reason)


async def _resume(shared: Shared, name: Name, *, reason: Reason = None) -> None:
    """Let a schedule fire again, from now on."""
    async with Client(shared.settings(ClientSettings)) as client:
        await client.schedules.resume(name, reason)


async def _trigger(shared: Shared, name: Name) -> None:
    """Start a run now, as the overlap policy allows; print its instance id."""
    async with Client(shared.settings(ClientSettings)) as client:
        print_plain(await client.schedules.trigger(name))


async def _delete(shared: Shared, name: Name) -> None:
    """Remove a schedule; its runs go on."""
    async with Client(shared.settings(ClientSettings)) as client:
        await client.schedules.delete(name)


def _when(schedule: ScheduleStatus) -> str:
    if schedule.cron is None:
        return f"every {timedelta(seconds=schedule.every or 0)}"
    return f"{schedule.cron} ({schedule.time_zone})"


def _facts(schedule: ScheduleStatus) -> dict[str, str]:
    return {
        "name": schedule.name,
        "workflow": schedule.workflow,
        "version": schedule.version or "",
        "when": _when(schedule),
        "overlap": schedule.overlap,
        "catch-up": str(schedule.catch_up or ""),
        "jitter": f"{schedule.jitter:g} s" if schedule.jitter else "",
        "paused": "yes" if schedule.paused else "",
        "reason": schedule.reason or "",
        "next": moment(schedule.next),
        "last": moment(schedule.last),
        "last run": schedule.last_run or "",
        "running": "yes" if schedule.running else "",
        "runs": str(schedule.runs),
        "last failure": schedule.last_failure or "",
        "created": moment(schedule.created_at),
        "tags": " ".join(f"{name}={value}" for name, value in sorted(schedule.tags.items())),
    }
