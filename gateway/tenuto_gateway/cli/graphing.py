"""`tenuto graph`: what a workflow's code can call."""

from __future__ import annotations

from typing import Annotated

import typer

from tenuto.errors import UnknownWorkflowError, UsageError
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import print_plain
from tenuto_gateway.cli.parameters import Target
from tenuto_gateway.graph import flowchart
from tenuto_gateway.targets import load_target

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("graph")(command(_graph))


def _graph(
    _shared: Shared,
    target: Target,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)
    ],
) -> None:
    """Draw what a workflow's code can call, as far as it can be seen without running it: a Mermaid flowchart."""
    app = load_target(target)
    if app.resolve(workflow, None) is None:
        known = ", ".join(sorted(app.workflows)) or "none"
        raise UnknownWorkflowError(f"the app {app.name} has no workflow {workflow!r}; there are: {known}")
    try:
        print_plain(flowchart(app, workflow))
    except OSError as error:
        raise UsageError(f"the source of {workflow} is not at hand: {error}") from error
