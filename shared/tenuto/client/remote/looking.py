"""What the transport over HTTP tells of instances. It may be asked again; a wait goes on through broken connections."""

from __future__ import annotations

import asyncio
import contextlib
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
from tenuto.errors import GatewayError, GenerationOverError
from tenuto.registry import Registry
from tenuto.store.protocol import InstanceFilter, Tally

__all__ = ["RemoteLooking", "query_of"]

logger = logging.getLogger("tenuto.client")

_POLL = 30.0
"""Seconds that one request of a wait waits; the gateway may have a lower bound."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts of a wait whose connection breaks; each is twice as long as the one before. Where
the gateway does not let a request wait, the next one begins as long after it as the first."""
_PAGE = 1000
_HISTORY = 1000


class RemoteLooking:
    """The verbs of the transport over HTTP that change nothing."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def wait(self, target: Target, milestone: Milestone, *, timeout: float | None) -> InstanceStatus:
        known = {"until": milestone.name.lower(), "run": target.run, "request": target.row}
        words = f"Instance {target.instance!r} has not {milestone.name.lower()} within {timeout} s."
        answer = await self._poll(f"{instance_path(target.instance)}/wait", known, timeout, words)
        return instance_status(read(answer, InstanceDocument))

    async def changed(self, instance: str, revision: str, *, timeout: float | None) -> InstanceStatus:
        words = f"Instance {instance!r} has not changed within {timeout} s."
        known = {"until": "changed", "revision": revision}
        answer = await self._poll(f"{instance_path(instance)}/wait", known, timeout, words)
        return instance_status(read(answer, InstanceDocument))

    async def dealt_with(self, target: Target, *, timeout: float | None) -> None:
        if target.row is None:
            return
        words = f"A request to instance {target.instance!r} was not dealt with within {timeout} s."
        await self._poll(f"{instance_path(target.instance)}/requests/{target.row}", {}, timeout, words)

    async def _poll(
        self, path: str, known: Mapping[str, str | None], timeout: float | None, words: str
    ) -> httpx.Response:
        """Ask again and again, through whatever connections break, until the answer is not 202. Nothing can be missed
        between two requests: each looks at how things are before it waits."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = 0.0
        params = {name: value for name, value in known.items() if value is not None}
        while True:
            left = _POLL if deadline is None else min(_POLL, deadline - loop.time())
            if left <= 0:
                raise TimeoutError(words)
            asked_at = loop.time()
            try:
                answer = await self._requests.send(
                    "GET",
                    f"/api/v1{path}",
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
            if answer.status_code != httpx.codes.ACCEPTED:
                return answer
            # One that is about to stop answers at once.
            await asyncio.sleep(max(0.0, _FIRST_PAUSE - (loop.time() - asked_at)))

    async def status(self, instance: str) -> InstanceStatus:
        return instance_status(read(await self._get(instance_path(instance)), InstanceDocument))

    async def history(self, instance: str) -> list[Event]:
        while True:
            with contextlib.suppress(GenerationOverError):  # it continued as new between two pages
                return await self._generation(instance)

    async def _generation(self, instance: str) -> list[Event]:
        """One generation's history, page by page."""
        path = f"{instance_path(instance)}/history"
        page = read(await self._get(path, {"limit": _HISTORY}), HistoryPage)
        events = list(page.events)
        while page.next is not None:
            page = read(await self._get(path, {"limit": _HISTORY, "after": page.next}), HistoryPage)
            events += page.events
        return events

    async def page(
        self, where: InstanceFilter, *, limit: int, after: Cursor | None
    ) -> Sequence[InstanceStatus]:
        found: list[InstanceStatus] = []
        while len(found) < limit:
            params = query_of(where) | {"limit": min(limit - len(found), _PAGE)}
            if after is not None:
                params["after"] = cursor_token(after)
            page = read(await self._get("/instances", params), ListingDocument)
            found += map(instance_status, page.instances)
            if page.next is None:
                break
            after = (found[-1].created_at, found[-1].instance_id)
        return found

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        document = read(await self._get("/tally", query_of(where)), TalliesDocument)
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


def query_of(where: InstanceFilter) -> dict[str, Any]:
    """A filter as the gateway's routes take it."""
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
