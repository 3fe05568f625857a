"""Parameters that several commands take, and what their values mean."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import typer

from tenuto.errors import UsageError
from tenuto_gateway.cli.output import Form

__all__ = [
    "FirstEvent",
    "Input",
    "InstanceId",
    "Moment",
    "Output",
    "StartAt",
    "Tags",
    "Target",
    "Watch",
    "in_utc",
    "read_event",
    "read_input",
    "read_tags",
]

_MOMENTS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

Target: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="The app: `module:app` or `file.py[:app]`.", show_default=False),
]
Input: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--input", "-i", metavar="JSON|@FILE|-", help="The input: JSON, a file of it, or standard input."
    ),
]

InstanceId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The instance id.", show_default=False)
]
Tags: TypeAlias = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A tag; may be repeated.")
]
Moment: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        formats=_MOMENTS,
        help="A time, in UTC if it says no other.",
    ),
]
StartAt: TypeAlias = Annotated[
    datetime | None,
    typer.Option(formats=_MOMENTS, help="It is PENDING until this time, in UTC if it says no other."),
]
FirstEvent: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--event", metavar="NAME[=JSON]", help="An external event that reaches the instance with its start."
    ),
]
Watch: TypeAlias = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")
]
Output: TypeAlias = Annotated[
    Form, typer.Option("--output", "-o", help="How to print it.", case_sensitive=False)
]


def read_input(given: str | None) -> Any:
    """The value of an input option as plain JSON; None if it was left out.

    Raises:
        UsageError: the file cannot be read, or it is not JSON; the message says where.
    """
    if given is None:
        return None
    text, source = _text(given)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        advice = "; text must be in double quotes, such as '\"text\"'" if source == "--input" else ""
        raise UsageError(f"{source} is not JSON: {error}{advice}") from error


def read_event(given: str | None) -> tuple[str, Any] | None:
    """The name and the payload of an event option; None if it was left out. Without a payload that is null.

    Raises:
        UsageError: it has no name, or its payload is not JSON.
    """
    if given is None:
        return None
    name, separator, payload = given.partition("=")
    if not name:
        raise UsageError(f"--event {given!r} is not of the form name or name=JSON")
    try:
        return name, msgspec.json.decode(payload.encode(errors="surrogateescape")) if separator else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"the payload of --event {name} is not JSON: {error}; text must be in double quotes, such as "
            f"'{name}=\"text\"'"
        ) from error


def _text(given: str) -> tuple[bytes, str]:
    if given == "-":
        return sys.stdin.buffer.read(), "standard input"
    if not given.startswith("@"):
        return given.encode(errors="surrogateescape"), "--input"
    path = Path(given[1:])
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise UsageError(f"--input {given}: {path} cannot be read: {error.strerror}") from error


def in_utc(at: datetime | None) -> datetime | None:
    """A time of the command line; without a time zone it is in UTC."""
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def read_tags(given: Sequence[str]) -> dict[str, str]:
    """Tags from `name=value` options.

    Raises:
        UsageError: one has no name or no equals sign.
    """
    tags = {}
    for tag in given:
        name, separator, value = tag.partition("=")
        if not name or not separator:
            raise UsageError(f"--tag {tag!r} is not of the form name=value")
        tags[name] = value
    return tags
