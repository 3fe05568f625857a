"""`tenuto publish`: start a workflow with the message broker alone."""

from __future__ import annotations

from typing import Annotated

import typer

from tenuto.publisher import Publisher
from tenuto.settings import Settings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.connections import open_broker
from tenuto_gateway.cli.output import print_plain
from tenuto_gateway.cli.parameters import (
    FirstEvent,
    Input,
    StartAt,
    in_utc,
    read_event,
    read_input,
    read_tags,
)

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("publish")(command(_publish))


async def _publish(
    shared: Shared,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)
    ],
    *,
    value: Input = None,
    instance_id: Annotated[str | None, typer.Option("--id", help="The instance id.")] = None,
    message_id: Annotated[
        str | None, typer.Option(help="Makes it idempotent: the same id never starts twice.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A tag; may be repeated.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The workflow's version; the latest if left out.")
    ] = None,
    start_at: StartAt = None,
    event: FirstEvent = None,
) -> None:
    """Start a workflow through the public queue; print its instance id."""
    given, tags, first = read_input(value), read_tags(tag or ()), read_event(event)
    settings = shared.settings(Settings)
    async with open_broker(settings, "publish") as broker:
        publisher = Publisher(settings, broker=broker)
        instance = await publisher.start(
            workflow,
            given,
            instance_id=instance_id,
            message_id=message_id,
            tags=tags,
            version=version,
            start_at=in_utc(start_at),
            event=first,
        )
    print_plain(instance)
