"""Server-sent events: how an instance or a listing changes, as it does.

One instance is waited for like anything else that a client waits for. A listing is looked at once a second for all who
follow the same one. A stream begins with how things are, so whoever was cut off just opens it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeAlias

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from tenuto.client import InstanceFilter, InstanceStatus
from tenuto.client.documents import instance_document
from tenuto.errors import NotFoundError
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Context, Here
from tenuto_gateway.http.filters import Where
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import InstanceId
from tenuto_gateway.http.queries import KNOWN_ONLY

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["updates"], dependencies=KNOWN_ONLY)

_LOOK = [needs(Scope.READ)]
_ALIVE = 15.0
"""Seconds after which a silent stream says that it lives."""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

Snapshot: TypeAlias = dict[str, InstanceStatus]


@router.get("/instances/{instance}/updates", dependencies=_LOOK, responses=_STREAM)
async def instance_updates(here: Here, instance: InstanceId) -> StreamingResponse:
    """Follow an instance: an event `instance` whenever it has changed, until `end` when it has ended or is gone."""
    first = await here.client.get(instance).status()
    return _streaming(_of_instance(here, first))


@router.get("/updates", dependencies=_LOOK, responses=_STREAM)
async def listing_updates(
    here: Here, where: Where, *, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> StreamingResponse:
    """Follow a listing's first page: `instance` for one that is new there or has changed, `gone` for one that has left
    it."""
    return _streaming(_of_listing(here, where, limit))


def _streaming(events: AsyncIterator[bytes]) -> StreamingResponse:
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _of_instance(here: Context, status: InstanceStatus) -> AsyncIterator[bytes]:
    handle = here.client.get(status.instance_id)
    yield _instance(status)
    while not status.status.is_terminal:
        try:
            status = await here.unless_closing(handle.changed(status.revision, timeout=_ALIVE))
            yield _instance(status)
        except TimeoutError:
            if here.closing.is_set():
                return
            yield b": alive\n\n"
        except NotFoundError:
            break
    yield _event("end", {"instance_id": handle.instance_id})


async def _of_listing(here: Context, where: InstanceFilter, limit: int) -> AsyncIterator[bytes]:
    seen: Snapshot = {}
    with here.listings.follow(where, limit) as listing:
        looks = 0
        while True:
            try:
                async with asyncio.timeout(_ALIVE):
                    looks = await here.unless_closing(listing.after(looks))
            except TimeoutError:
                if here.closing.is_set():
                    return
                yield b": alive\n\n"
                continue
            now = listing.snapshot
            for instance, status in reversed(now.items()):
                before = seen.get(instance)
                if before is None or before.revision != status.revision:
                    yield _instance(status)
            for instance in seen.keys() - now.keys():
                yield _event("gone", {"instance_id": instance})
            seen = now


def _instance(status: InstanceStatus) -> bytes:
    return _event("instance", instance_document(status))


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\n".encode() + b"data: " + _one_line(msgspec.json.encode(data)) + b"\n\n"


def _one_line(document: bytes) -> bytes:
    """JSON on one line: payloads stay as they came, and may have been written on several."""
    return document.replace(b"\r", b" ").replace(b"\n", b" ")
