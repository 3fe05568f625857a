"""`tenuto check`: what in an app's workflows would not replay."""

from __future__ import annotations

import typer

from tenuto_gateway.checking import check
from tenuto_gateway.cli.command import FAILED, Shared, command
from tenuto_gateway.cli.output import Form, print_json, print_plain
from tenuto_gateway.cli.parameters import Output, Target
from tenuto_gateway.targets import load_target

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("check")(command(_check))


def _check(_shared: Shared, target: Target, *, output: Output = Form.TABLE) -> int:
    """Find in the workflows of TARGET, and in what they call, what would not replay. Exit code 0: nothing; 1: see
    there."""
    findings = check(load_target(target))
    if output is Form.JSON:
        print_json(findings)
    else:
        for found in findings:
            where = f"{found.file}:{found.line}:{found.column}"
            via = "" if found.via is None else f" (in {found.via}, called by workflow {found.workflow})"
            print_plain(f"{where}: {found.code} {found.what}: {found.why}; {found.remedy}{via}")
        if not findings:
            print_plain("nothing in these workflows would keep them from replaying")
    return FAILED if findings else 0
