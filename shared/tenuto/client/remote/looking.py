"""What the transport over HTTP tells of instances. It may be asked again; a wait goes on through broken connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tenuto.client.documents import (
    HistoryPage,
    InstanceDocument,
    ListingDocument,
    QueuesDocument,
    TalliesDocument,
    cursor_token,
    instance_status,
)
from tenuto.client.instance import Cursor, InstanceStatus
from tenuto.client.queues import QueueStatus
from tenuto.client.remote.requests import Requests, instance_path, read
from tenuto.client.transport import Milestone, Target
from tenuto.core.events import Event
from tenuto.errors import GatewayError
from tenuto.registry import Registry
from tenuto.store.protocol import InstanceFilter, Tally

__all__ = ["RemoteLooking"]

logger = logging.getLogger("tenuto.client")

_POLL = 30.0
"""Seconds that one request of a wait waits; the gateway may have a lower bound."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts of a wait whose connection breaks; each is twice as long as the one before."""
_PAGE = 1000


class RemoteLooking:
    """The verbs of the transport over HTTP that change nothing."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def wait(self, target: Target, milestone: Milestone, *, timeout: float | None) -> InstanceStatus:
        known = {"until": milestone.name.lower(), "run": target.run, "request": target.row}
        words = f"Instance {target.instance!r} has not {milestone.name.lower()} within {timeout} s."
        return await self._poll(target.instance, known, timeout, words)

    async def changed(self, instance: str, revision: str, *, timeout: float | None) -> InstanceStatus:
        words = f"Instance {instance!r} has not changed within {timeout} s."
        return await self._poll(instance, {"until": "changed", "revision": revision}, timeout, words)

    async def _poll(
        self, instance: str, known: Mapping[str, str | None], timeout: float | None, words: str
    ) -> InstanceStatus:
        """Ask again and again, through whatever connections break."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = 0.0
        params = {name: value for name, value in known.items() if value is not None}
        while True:
            left = _POLL if deadline is None else min(_POLL, deadline - loop.time())
            if left <= 0:
                raise TimeoutError(words)
            try:
                answer = await self._requests.send(
                    "GET",
                    f"/api/v1{instance_path(instance)}/wait",
                    params=params | {"timeout": str(left)},
                    seconds=left,
                )
            except GatewayError as error:
                if not pause:
                    logger.warning("%s; the client keeps waiting, and asks again", error)
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                await asyncio.sleep(
                    pause if deadline is None else max(0.0, min(pause, deadline - loop.time()))
                )
                continue
            pause = 0.0
            if answer.status_code == httpx.codes.OK:
                return instance_status(read(answer, InstanceDocument))

    async def status(self, instance: str) -> InstanceStatus:
        return instance_status(read(await self._get(instance_path(instance)), InstanceDocument))

    async def history(self, instance: str) -> list[Event]:
        events: list[Event] = []
        after: int | None = 0
        while after is not None:
            page = read(await self._get(f"{instance_path(instance)}/history", {"after": after}), HistoryPage)
            events += page.events
            after = page.next
        return events

    async def page(
        self, where: InstanceFilter, *, limit: int, after: Cursor | None
    ) -> Sequence[InstanceStatus]:
        found: list[InstanceStatus] = []
        while len(found) < limit:
            params = _query(where) | {"limit": min(limit - len(found), _PAGE)}
            if after is not None:
                params["after"] = cursor_token(after)
            page = read(await self._get("/instances", params), ListingDocument)
            found += map(instance_status, page.instances)
            if page.next is None:
                break
            after = (found[-1].created_at, found[-1].instance_id)
        return found

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        document = read(await self._get("/tally", _query(where)), TalliesDocument)
        return [
            Tally(workflow=one.workflow, version=one.version, status=one.status, count=one.count)
            for one in document.tallies
        ]

    async def registry(self) -> Registry:
        return read(await self._get("/registry"), Registry)

    async def queues(self) -> Sequence[QueueStatus]:
        document = read(await self._get("/queues"), QueuesDocument)
        return [
            QueueStatus(
                name=one.name,
                kind=one.kind,
                pool=one.pool,
                activities=one.activities,
                messages=one.messages,
                consumers=one.consumers,
            )
            for one in document.queues
        ]

    async def _get(self, path: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        return await self._requests.send("GET", f"/api/v1{path}", params=params)


def _query(where: InstanceFilter) -> dict[str, Any]:
    query = {
        "status": sorted(where.statuses),
        "workflow": where.workflow,
        "version": where.version,
        "tag": [f"{name}={value}" for name, value in where.tags.items()],
        "id_prefix": where.id_prefix,
        "parent": where.parent,
        "created_after": None if where.created_after is None else where.created_after.isoformat(),
        "created_before": None if where.created_before is None else where.created_before.isoformat(),
        "ended_before": None if where.ended_before is None else where.ended_before.isoformat(),
        "builtin": "true" if where.builtin else None,
    }
    return {name: value for name, value in query.items() if value is not None}
