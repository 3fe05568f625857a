"""What the commands print: results to standard output, all that is said about them to standard error."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tenuto.errors import UsageError
from tenuto_gateway.timeline import Step, shorten

__all__ = [
    "Form",
    "HistoryForm",
    "ListForm",
    "ShowForm",
    "facts",
    "moment",
    "print_data",
    "print_json",
    "print_plain",
    "print_step",
    "print_steps",
    "print_table",
    "say",
    "watch",
]

_STYLES = {"plain": "", "good": "green", "bad": "red", "quiet": "dim"}
_INTERVAL = 2.0
"""Seconds between two looks of `--watch`."""
_PIPE_WIDTH = 200
"""Characters of a line when nobody's terminal sets a bound."""


class Form(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


class ListForm(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    IDS = "ids"


class ShowForm(StrEnum):
    """How one thing is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class HistoryForm(StrEnum):
    """How a history is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    MERMAID = "mermaid"


def print_data(value: Any, form: StrEnum) -> bool:
    """A result as JSON or YAML, if the form says so; whether it does.

    Raises:
        UsageError: what writes YAML is not installed.
    """
    match form.value:
        case "json":
            print_json(value)
        case "yaml":
            try:
                sys.stdout.write(
                    msgspec.yaml.encode(msgspec.json.decode(msgspec.json.encode(value))).decode()
                )
            except ImportError as error:
                raise UsageError('-o yaml needs PyYAML; run: pip install "tenuto[yaml]"') from error
        case _:
            return False
    return True


async def watch(show: Callable[[], Awaitable[bool]], *, interval: float = _INTERVAL) -> None:
    """Show something again and again, on a clear screen where there is one, while it says that it is worth it."""
    console = _console()
    while True:
        if console.is_terminal:
            console.clear()
        if not await show():
            return
        await asyncio.sleep(interval)


def _console(*, stderr: bool = False) -> Console:
    """A console for one use. Into a pipe or a file lines keep their length, for other programs to read."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def say(words: str) -> None:
    """A line to standard error, as it is."""
    _console(stderr=True).print(Text(words), soft_wrap=True)


def facts(values: Mapping[str, str], *, stderr: bool = True) -> None:
    """Names with their values, aligned."""
    width = max(map(len, values))
    console = _console(stderr=stderr)
    for name, value in values.items():
        console.print(f"  [dim]{name.ljust(width)}[/]  {escape(value)}", soft_wrap=True)


def print_plain(words: str) -> None:
    """A result on a line of its own, as it is."""
    sys.stdout.write(f"{words}\n")


def print_json(value: Any) -> None:
    """A result as JSON on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A result as a table. Off a terminal it has no colours and no lines."""
    console = _console()
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    if not console.is_terminal:
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ignore"
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else escape(cell) for cell in row))
    console.print(table)


def moment(at: datetime | None) -> str:
    """A time for people: to the second, in UTC."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def print_steps(steps: Sequence[Step]) -> None:
    """A history as a table. Its times have no dates where they are all of one day."""
    days = {step.at.date() for step in steps if step.at is not None}
    form = "%H:%M:%S.%f" if len(days) == 1 else "%Y-%m-%d %H:%M:%S.%f"
    rows = [
        (
            "" if step.at is None else step.at.strftime(form)[:-3],
            "" if step.number is None else str(step.number),
            Text(f"{step.mark} {step.what}", style=_STYLES[step.tone]),
            step.subject,
            shorten(step.detail, _PIPE_WIDTH // 2),
        )
        for step in steps
    ]
    print_table(("TIME", "ID", "WHAT", "OF", "DETAIL"), rows)


def print_step(step: Step, *, began: datetime | None) -> None:
    """A step as a line of progress on standard error, with the seconds since `began`."""
    console = _console(stderr=True)
    elapsed = 0.0 if step.at is None or began is None else (step.at - began).total_seconds()
    head = f"{elapsed:7.2f}s  {step.mark} {step.what:<18}  {step.subject}"
    room = max(console.width - len(head) - 2, 20)
    line = Text(head, style=_STYLES[step.tone])
    console.print(line.append(f"  {shorten(step.detail, room)}", style="dim"), soft_wrap=True)
