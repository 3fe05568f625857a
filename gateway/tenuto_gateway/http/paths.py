"""What stands in a path. The guard leaves paths encoded, so that an id may hold slashes; here they are decoded."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import quote, unquote

from fastapi import Depends, Path

from tenuto.naming import check_instance_id, check_name

__all__ = ["EventName", "InstanceId", "instance_path"]

_API = "/api/v1"


def instance_path(instance: str, rest: str = "") -> str:
    """The path of an instance, or of what is under it."""
    return f"{_API}/instances/{quote(instance, safe='')}{rest}"


def _instance(
    instance: Annotated[str, Path(description="The instance id, percent-encoded.", min_length=1)],
) -> str:
    wanted = unquote(instance, errors="surrogateescape")
    check_instance_id(wanted)
    return wanted


def _event(name: Annotated[str, Path(description="The event's name, percent-encoded.", min_length=1)]) -> str:
    event = unquote(name, errors="surrogateescape")
    check_name("The event's name", event)
    return event


InstanceId: TypeAlias = Annotated[str, Depends(_instance)]
EventName: TypeAlias = Annotated[str, Depends(_event)]
