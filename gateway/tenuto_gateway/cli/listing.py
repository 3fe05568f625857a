"""`tenuto workflow list | show | history`: what the database knows of the instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.text import Text

from tenuto.client import Client, InstanceStatus
from tenuto.client.documents import instance_document
from tenuto.core.status import Status
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InstanceFilter
from tenuto_gateway.cli import asking
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.managing import add_verbs
from tenuto_gateway.cli.output import (
    HistoryForm,
    ListForm,
    ShowForm,
    facts,
    moment,
    print_data,
    print_plain,
    print_steps,
    print_table,
    say,
    watch,
)
from tenuto_gateway.cli.parameters import InstanceId, Moment, Tags, Watch, in_utc, read_tags
from tenuto_gateway.cli.replaying import export
from tenuto_gateway.drawing import sequence_diagram
from tenuto_gateway.timeline import Timeline

__all__ = ["add_to"]

_TONES: Mapping[Status, str] = {
    Status.RUNNING: "cyan",
    Status.SUSPENDED: "yellow",
    Status.STALLED: "bold yellow",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.TERMINATED: "red",
}


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="Workflow instances: look at them, and manage them.", no_args_is_help=True)
    group.command("list")(command(_list))
    group.command("show")(command(_show))
    group.command("history")(command(_history))
    group.command("export")(command(export))
    asking.add_to(group)
    add_verbs(group)
    cli.add_typer(group, name="workflow")
    cli.add_typer(group, name="wf", hidden=True)


async def _list(
    shared: Shared,
    *,
    status: Annotated[
        list[Status] | None, typer.Option(case_sensitive=False, help="Only of this status; may be repeated.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version of the workflow.")] = None,
    tag: Tags = None,
    id_prefix: Annotated[str | None, typer.Option(help="Only those whose id begins so.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only children of this instance.")] = None,
    created_after: Moment = None,
    created_before: Moment = None,
    ended_before: Moment = None,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Also locks, schedules, and what undoes sagas.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    watching: Watch = False,
    output: Annotated[
        ListForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ListForm.TABLE,
) -> None:
    """List instances, newest first."""
    where = InstanceFilter(
        statuses=frozenset(status or ()),
        workflow=workflow,
        version=version,
        tags=read_tags(tag or ()),
        id_prefix=id_prefix,
        parent=parent,
        created_after=in_utc(created_after),
        created_before=in_utc(created_before),
        ended_before=in_utc(ended_before),
        builtin=builtin,
    )
    async with Client(shared.settings(ClientSettings)) as client:

        async def show() -> bool:
            page = await client.list_page(where, limit=limit)
            _print_list(page.instances, output)
            if page.next is not None:
                say(f"there may be more than these {limit}; see --limit")
            return watching

        await watch(show)


def _print_list(instances: Sequence[InstanceStatus], form: ListForm) -> None:
    if print_data([instance_document(instance) for instance in instances], form):
        return
    if form is ListForm.IDS:
        for instance in instances:
            print_plain(instance.instance_id)
    elif form is ListForm.WIDE:
        columns = (
            "ID",
            "WORKFLOW",
            "VERSION",
            "STATUS",
            "CREATED",
            "UPDATED",
            "ENDED",
            "PARENT",
            "TAGS",
            "REASON",
        )
        print_table(columns, map(_wide_row, instances))
    else:
        print_table(("ID", "WORKFLOW", "STATUS", "CREATED", "ENDED", "TAGS"), map(_row, instances))


async def _show(
    shared: Shared,
    instance_id: InstanceId,
    *,
    watching: Watch = False,
    output: Annotated[
        ShowForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = ShowForm.TABLE,
) -> None:
    """Show how an instance stands."""
    settings = shared.settings(ClientSettings)
    async with Client(settings) as client:
        handle = client.get(instance_id)

        async def show() -> bool:
            instance = await handle.status()
            if not print_data(instance_document(instance), output):
                shown = _facts(instance) | {"trace link": _trace_link(settings.trace_url, instance)}
                facts({name: value for name, value in shown.items() if value}, stderr=False)
            return watching and not instance.status.is_terminal

        await watch(show)


async def _history(
    shared: Shared,
    instance_id: InstanceId,
    *,
    watching: Watch = False,
    output: Annotated[
        HistoryForm, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
    ] = HistoryForm.TABLE,
) -> None:
    """Show the history of an instance: that of its present generation, if it has continued as new. `-o mermaid` draws
    it as a sequence diagram."""
    async with Client(shared.settings(ClientSettings)) as client:
        handle = client.get(instance_id)

        async def show() -> bool:
            over = (
                not watching or (await handle.status()).status.is_terminal
            )  # before: nothing comes after it
            events = await handle.history()
            if output is HistoryForm.MERMAID:
                print_plain(sequence_diagram(events))
            elif not print_data(events, output):
                print_steps(Timeline().read(events))
            return not over

        await watch(show)


def _wide_row(instance: InstanceStatus) -> tuple[str | Text, ...]:
    return (
        instance.instance_id,
        instance.workflow,
        instance.version or "",
        Text(instance.status, style=_TONES.get(instance.status, "")),
        moment(instance.created_at),
        moment(instance.updated_at),
        moment(instance.ended_at),
        instance.parent or "",
        _tags(instance),
        instance.reason or "",
    )


def _row(instance: InstanceStatus) -> tuple[str | Text, ...]:
    return (
        instance.instance_id,
        instance.workflow,
        Text(instance.status, style=_TONES.get(instance.status, "")),
        moment(instance.created_at),
        moment(instance.ended_at),
        _tags(instance),
    )


def _facts(instance: InstanceStatus) -> dict[str, str]:
    failure = instance.failure
    return {
        "id": instance.instance_id,
        "workflow": instance.workflow,
        "version": instance.version or "",
        "status": instance.status,
        "reason": instance.reason or "",
        "failure": "" if failure is None else f"{failure.type}: {failure.message}",
        "generation": str(instance.generation or ""),
        "parent": instance.parent or "",
        "tags": _tags(instance),
        "trace": instance.trace_id or "",
        "created": moment(instance.created_at),
        "starts": moment(instance.start_at),
        "updated": moment(instance.updated_at),
        "ended": moment(instance.ended_at),
        "input": _text(instance.raw_input),
        "custom status": _text(instance.raw_custom_status),
        "output": _text(instance.raw_output),
    }


def _trace_link(url: str | None, instance: InstanceStatus) -> str:
    if url is None or instance.trace_id is None:
        return ""
    return url.replace("{trace_id}", instance.trace_id)


def _tags(instance: InstanceStatus) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(instance.tags.items()))


def _text(payload: bytes | None) -> str:
    return "" if payload is None else payload.decode(errors="replace")
