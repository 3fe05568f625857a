"""The tree of commands and its entry point."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tenuto_gateway.cli import (
    admin,
    benching,
    checking,
    examining,
    graphing,
    listing,
    publishing,
    queueing,
    replaying,
    running,
    scheduling,
    serving,
)

__all__ = ["build", "main"]

_INTERRUPTED = 130
"""What shells expect of a program that SIGINT ended."""


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    try:
        build()(prog_name="tenuto")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def build() -> typer.Typer:
    """The `tenuto` command with all that is under it."""
    cli = typer.Typer(
        name="tenuto",
        help="Durable workflows as ordinary Python functions.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    cli.callback()(_root)
    serving.add_to(cli)
    running.add_to(cli)
    publishing.add_to(cli)
    listing.add_to(cli)
    queueing.add_to(cli)
    graphing.add_to(cli)
    scheduling.add_to(cli)
    admin.add_to(cli)
    examining.add_to(cli)
    checking.add_to(cli)
    replaying.add_to(cli)
    benching.add_to(cli)
    return cli


def _show_version(wanted: bool) -> None:  # noqa: FBT001  how typer calls it
    if wanted:
        typer.echo(f"tenuto {version('tenuto')}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """What stands before the command's name."""
