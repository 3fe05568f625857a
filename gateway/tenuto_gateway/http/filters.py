"""Which instances a listing is about, from the query of a URL, and where its pages begin."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from fastapi import Depends, Query
from pydantic import AwareDatetime

from tenuto.client import InstanceFilter
from tenuto.client.documents import cursor_of
from tenuto.client.instance import Cursor
from tenuto.core.status import Status
from tenuto_gateway.http.problems import BadRequestError

__all__ = ["After", "Where"]


def _where(
    *,
    status: Annotated[list[Status] | None, Query(description="Of this status; may be repeated.")] = None,
    workflow: Annotated[str | None, Query(description="Of this workflow.")] = None,
    version: Annotated[str | None, Query(description="Of this version of the workflow.")] = None,
    tag: Annotated[
        list[str] | None, Query(description="With this tag, as `name=value`; may be repeated.")
    ] = None,
    id_prefix: Annotated[str | None, Query(description="Whose id begins so.")] = None,
    parent: Annotated[str | None, Query(description="Children of this instance.")] = None,
    created_after: Annotated[AwareDatetime | None, Query(description="Made at or after this time.")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Made before this time.")] = None,
    ended_before: Annotated[AwareDatetime | None, Query(description="That ended before this time.")] = None,
    builtin: Annotated[bool, Query(description="Those of built-in workflows too.")] = False,
) -> InstanceFilter:
    for field, text in (
        ("workflow", workflow),
        ("version", version),
        ("id_prefix", id_prefix),
        ("parent", parent),
    ):
        _printable(field, text or "")
    return InstanceFilter(
        statuses=frozenset(status or ()),
        workflow=workflow,
        version=version,
        tags=dict(_tag(text) for text in tag or ()),
        id_prefix=id_prefix,
        parent=parent,
        created_after=_utc("created_after", created_after),
        created_before=_utc("created_before", created_before),
        ended_before=_utc("ended_before", ended_before),
        builtin=builtin,
    )


def _after(
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Cursor | None:
    if after is None:
        return None
    try:
        at, instance = cursor_of(after)
    except ValueError:
        raise BadRequestError(422, "after is no `next` of a page before.", field="after") from None
    _printable("after", instance)
    return _utc("after", at) or at, instance


def _tag(text: str) -> tuple[str, str]:
    _printable("tag", text)
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise BadRequestError(422, f"The tag {text!r} is not of the form name=value.", field="tag")
    return name, value


def _printable(field: str, text: str) -> None:
    if "\0" in text:
        raise BadRequestError(422, f"{field} holds a character that no text may hold.", field=field)


def _utc(field: str, at: datetime | None) -> datetime | None:
    if at is None:
        return None
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise BadRequestError(422, f"{field} lies beyond the calendar.", field=field) from None


Where: TypeAlias = Annotated[InstanceFilter, Depends(_where)]
After: TypeAlias = Annotated[Cursor | None, Depends(_after)]
