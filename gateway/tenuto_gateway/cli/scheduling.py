"""`tenuto schedule …`: what starts workflows again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

import typer

from tenuto.client import Client, ScheduleStatus
from tenuto.errors import UsageError
from tenuto.schedules import Overlap
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import (
    ListForm,
    ShowForm,
    facts,
    moment,
    print_data,
    print_plain,
    print_table,
    watch,
)
from tenuto_gateway.cli.parameters import Input, Watch, read_input, read_tags

__all__ = ["add_to"]

Name: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)
]
Reason: TypeAlias = Annotated[str | None, typer.Option(help="Why, in words.")]
Cron: TypeAlias = Annotated[
    str | None, typer.Option(help="When, as a cron expression, or @hourly, @daily, @weekly …")
]
Every: TypeAlias = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Instead: seconds between two firings.")
]


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Schedules: create, list, show, update, pause, resume, trigger, delete.", no_args_is_help=True
    )
    group.command("create")(command(_create))
    group.command("list")(command(_list))
    group.command("show")(command(_show))
    group.command("update")(command(_update))
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
    cron: Cron = None,
    every: Every = None,
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


async def _update(
    shared: Shared,
    name: Name,
    *,
    workflow: Annotated[str | None, typer.Option(help="The workflow's name.")] = None,
    cron: Cron = None,
    every: Every = None,
    time_zone: Annotated[str | None, typer.Option(help="In which the cron expression is read.")] = None,
    value: Input = None,
    overlap: Annotated[
        Overlap | None, typer.Option(case_sensitive=False, help="If the run before is still under way.")
    ] = None,
    catch_up: Annotated[int | None, typer.Option(min=0, help="Missed firings to make up for.")] = None,
    jitter: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="It may fire so much later.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the runs, instead of those before.")
    ] = None,
) -> None:
    """Change what is given, from the next firing on. A run under way goes on."""
    given: dict[str, Any] = {
        "workflow": workflow,
        "cron": cron,
        "every": every,
        "time_zone": time_zone,
        "overlap": overlap,
        "catch_up": catch_up,
        "jitter": jitter,
        "tags": None if tag is None else read_tags(tag),
    }
    changes = {what: value for what, value in given.items() if value is not None}
    if value is not None:
        changes["input"] = read_input(value)
    if not changes:
        raise UsageError("nothing to change: say what, such as --cron '0 3 * * *'")
    async with Client(shared.settings(ClientSettings)) as client:
        await client.schedules.update(name, **changes)


async def _list(
    shared: Shared,
    *,
    watching: Watch = False,
    output: Annotated[
        ListForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ListForm.TABLE,
) -> None:
    """List all schedules, newest first."""
    async with Client(shared.settings(ClientSettings)) as client:

        async def show() -> bool:
            _print([schedule async for schedule in client.schedules.list()], output)
            return watching

        await watch(show)


def _print(schedules: Sequence[ScheduleStatus], form: ListForm) -> None:
    if print_data([asdict(schedule) for schedule in schedules], form):
        return
    if form is ListForm.IDS:
        for one in schedules:
            print_plain(one.name)
        return
    columns: tuple[str, ...] = (
        "NAME",
        "WORKFLOW",
        "WHEN",
        "NEXT",
        "LAST",
        "LAST RUN",
        "RUNS",
        "OVERLAP",
        "REASON",
    )
    rows = [
        (
            one.name,
            one.workflow,
            _when(one),
            "paused" if one.paused else moment(one.next),
            moment(one.last),
            one.last_run or "",
            str(one.runs),
            one.overlap.value,
            one.reason or "",
        )
        for one in schedules
    ]
    shown = len(columns) if form is ListForm.WIDE else 5
    print_table(columns[:shown], [row[:shown] for row in rows])


async def _show(
    shared: Shared,
    name: Name,
    *,
    watching: Watch = False,
    output: Annotated[
        ShowForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ShowForm.TABLE,
) -> None:
    """Show how a schedule stands."""
    async with Client(shared.settings(ClientSettings)) as client:

        async def show() -> bool:
            found = await client.schedules.get(name)
            if not print_data(asdict(found), output):
                facts({what: value for what, value in _facts(found).items() if value}, stderr=False)
            return watching

        await watch(show)


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
