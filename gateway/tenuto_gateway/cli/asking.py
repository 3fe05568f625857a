"""`tenuto workflow start | wait`: begin an instance, and see it through to its end."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from tenuto.client import Client, WorkflowHandle
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import print_plain, say
from tenuto_gateway.cli.parameters import (
    FirstEvent,
    Input,
    InstanceId,
    StartAt,
    Tags,
    in_utc,
    read_event,
    read_input,
    read_tags,
)

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module to `tenuto workflow`."""
    group.command("start")(command(_start))
    group.command("wait")(command(_wait))


async def _start(
    shared: Shared,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)
    ],
    *,
    value: Input = None,
    instance_id: Annotated[str | None, typer.Option("--id", help="The instance id.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the workflow; the latest if left out.")] = None,
    tag: Tags = None,
    message_id: Annotated[str | None, typer.Option(help="The same id never starts twice.")] = None,
    start_at: StartAt = None,
    event: FirstEvent = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end, and print what it returned.")
    ] = False,
) -> int:
    """Start a workflow; print its instance id."""
    async with Client(shared.settings(ClientSettings)) as client:
        handle = await client.start(
            workflow,
            read_input(value),
            instance_id=instance_id,
            version=version,
            tags=read_tags(tag or ()),
            message_id=message_id,
            start_at=in_utc(start_at),
            event=read_event(event),
        )
        if wait:
            say(f"{handle.instance_id} is under way")
            return await _result(handle, None)
    print_plain(handle.instance_id)
    return 0


async def _wait(
    shared: Shared,
    instance_id: InstanceId,
    *,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait, at most.")] = None,
) -> int:
    """Wait for the end of an instance; print what it returned as JSON. Exit code 1: it failed, was terminated, or has
    not ended in time."""
    async with Client(shared.settings(ClientSettings)) as client:
        return await _result(client.get(instance_id), timeout)


async def _result(handle: WorkflowHandle[Any], timeout: float | None) -> int:
    result = await handle.result(timeout=timeout)
    print_plain(msgspec.json.encode(result).decode())
    return 0
