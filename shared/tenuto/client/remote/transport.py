"""The transport over HTTP: everything goes through the gateway, so neither the database nor the broker need be reached.

What changes something is sent once: where the connection breaks before the answer came, an error says that the outcome
is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, assert_never
from urllib.parse import quote, urlencode

import httpx
import msgspec

from tenuto.client.answers import judge, judge_rerun, judge_start
from tenuto.client.bulk import BulkResult, BulkVerb
from tenuto.client.documents import (
    BulkDocument,
    PendingDocument,
    PurgedDocument,
    Reason,
    RerunRequest,
    StartedDocument,
    StartRequest,
    TerminateRequest,
    cursor_of,
    cursor_token,
)
from tenuto.client.instance import Cursor, InstanceStatus
from tenuto.client.remote.bulk import bulk_route
from tenuto.client.remote.looking import RemoteLooking, query_of
from tenuto.client.remote.requests import Requests, instance_path, read
from tenuto.client.transport import (
    Ask,
    Order,
    RequestPendingError,
    RerunOrder,
    StartPendingError,
    Target,
)
from tenuto.core.letters import Purge, Raise, Resume, Rewind, Suspend, Terminate
from tenuto.errors import NotFoundError, UsageError
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InboxRow, InstanceFilter

__all__ = ["HttpTransport"]


_Judge: TypeAlias = Callable[[str, str | None, InstanceStatus | None], None]
"""Raises if a request for a new instance was refused, going by what the instance shows."""


class HttpTransport(RemoteLooking):
    """A `Transport` over the gateway's `/api/v1`."""

    def __init__(self, settings: ClientSettings, *, http: httpx.AsyncClient) -> None:
        """`http` is closed with it."""
        super().__init__(Requests(http))
        self._settings = settings

    async def open(self) -> None:
        await self._requests.send("GET", "/healthz")

    async def close(self) -> None:
        await self._requests.close()

    async def start(self, order: Order, *, wait: bool, timeout: float | None) -> Target:
        body = StartRequest(
            workflow=order.workflow,
            input=order.input,
            instance_id=order.instance,
            version=order.version,
            tags=order.tags,
            reuse=order.reuse,
            start_at=order.start_at,
            event=order.event,
            message_id=order.message_id,
        )
        what = f"The start of instance {order.instance!r}"
        return await self._begin(what, "/instances", body, judge_start, wait=wait, timeout=timeout)

    async def rerun(self, order: RerunOrder, *, wait: bool, timeout: float | None) -> Target:
        body = RerunRequest(
            event_id=order.event_id,
            instance_id=order.instance,
            input=order.input,
            message_id=order.message_id,
        )
        what, path = f"The rerun as instance {order.instance!r}", f"{instance_path(order.source)}/rerun"
        return await self._begin(what, path, body, judge_rerun, wait=wait, timeout=timeout)

    async def _begin(
        self, what: str, path: str, body: Any, judging: _Judge, *, wait: bool, timeout: float | None
    ) -> Target:
        """Ask for a new instance."""
        seconds = self._patience(timeout)
        deadline = self._deadline(seconds)
        answer = await self._post(path, body, wait=wait, seconds=seconds)
        started = read(answer, StartedDocument)
        target = Target(instance=started.instance_id, run=started.run, row=started.request)
        if not wait or answer.status_code != httpx.codes.ACCEPTED:
            return target
        try:
            await self._follow(target, deadline, _late(what, seconds))
        except TimeoutError as error:
            raise StartPendingError(str(error), target) from None
        judging(target.instance, target.run, await self._look(target.instance))
        return replace(target, row=None)

    async def prepare(self, order: Order) -> tuple[Target, InboxRow]:  # noqa: ARG002  a transport's
        raise _no_transactions()

    async def insert(self, row: InboxRow, connection: Any) -> None:  # noqa: ARG002  a transport's
        raise _no_transactions()

    async def ring(self, instance: str) -> None:
        """The gateway rings by itself."""

    async def ask(self, instance: str, letter: Ask, *, wait: bool, timeout: float | None) -> None:
        body: Any
        match letter:
            case Raise(name=name, payload=body, create=create, message_id=message_id):
                query = {} if message_id is None else {"message_id": message_id}
                query |= {} if create is None else {"create": "true"}
                path = f"/events/{quote(name, safe='')}?{urlencode(query)}".rstrip("?")
            case Suspend(reason=reason):
                path, body = "/suspend", Reason(reason=reason)
            case Resume(reason=reason):
                path, body = "/resume", Reason(reason=reason)
            case Rewind(reason=reason):
                path, body = "/rewind", Reason(reason=reason)
            case Terminate(output=output, reason=reason, recursive=recursive):
                path, body = "/terminate", TerminateRequest(output=output, reason=reason, recursive=recursive)
            case _:
                assert_never(letter)
        seconds = self._patience(timeout)
        deadline = self._deadline(seconds)
        answer = await self._post(instance_path(instance) + path, body, wait=wait, seconds=seconds)
        if wait and answer.status_code == httpx.codes.ACCEPTED:
            await self._settle(instance, letter, read(answer, PendingDocument), deadline, seconds)

    async def purge(self, instance: str, letter: Purge, *, timeout: float | None) -> int:
        seconds = self._patience(timeout)
        deadline = self._deadline(seconds)
        answer = await self._requests.send(
            "DELETE",
            f"/api/v1{instance_path(instance)}",
            params={"force": letter.force, "recursive": letter.recursive, "timeout": _told(seconds)},
            seconds=seconds,
        )
        if answer.status_code == httpx.codes.ACCEPTED:
            pending = read(answer, PendingDocument)
            await self._settle(instance, letter, pending, deadline, seconds)
            return pending.purged or 0
        return read(answer, PurgedDocument).purged

    async def bulk(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        limit: int,
        after: Cursor | None,
        wait: bool,
        timeout: float | None,
    ) -> BulkResult:
        verb, query, body = bulk_route(letter)
        place = {} if after is None else {"after": cursor_token(after)}
        # The gateway asks everybody to say so who has no filter; whoever calls this client has said it.
        told = query_of(where) | {"everything": True, "limit": limit} | query | place
        path = f"/bulk/{verb}?{urlencode(told, doseq=True)}"
        answer = await self._post(path, body, wait=wait, seconds=self._patience(timeout))
        document = read(answer, BulkDocument)
        return BulkResult(
            asked=document.asked,
            refused=document.refused,
            refusals=tuple(document.refusals),
            next=None if document.next is None else cursor_of(document.next),
        )

    async def _post(self, path: str, body: Any, *, wait: bool, seconds: float) -> httpx.Response:
        return await self._requests.send(
            "POST",
            f"/api/v1{path}",
            params={"wait": wait, "timeout": _told(seconds)},
            content=None if body is None else msgspec.json.encode(body),
            seconds=seconds,
        )

    async def _settle(
        self, instance: str, letter: Ask | Purge, pending: PendingDocument, deadline: float, seconds: float
    ) -> None:
        """Wait on where the gateway waits no longer. Raises if the letter was refused."""
        what = f"{type(letter).__name__} for instance {instance!r}"
        try:
            target = Target(instance=instance, row=pending.request)
            await self._follow(target, deadline, _late(what, seconds))
        except TimeoutError as error:
            raise RequestPendingError(str(error), row=pending.request, asked_at=pending.asked_at) from None
        judge(instance, letter, await self._look(instance), asked_at=pending.asked_at)

    async def _follow(self, target: Target, deadline: float, words: str) -> None:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise TimeoutError(words)
        try:
            await self.dealt_with(target, timeout=left)
        except TimeoutError:
            raise TimeoutError(words) from None

    async def _look(self, instance: str) -> InstanceStatus | None:
        try:
            return await self.status(instance)
        except NotFoundError:
            return None

    def _patience(self, timeout: float | None) -> float:
        return self._settings.request_timeout if timeout is None else timeout

    def _deadline(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds


def _told(seconds: float) -> float:
    """The time to wait as the gateway takes it."""
    return min(max(seconds, 0.001), 86_400.0)


def _late(what: str, seconds: float) -> str:
    return (
        f"{what} was not dealt with within {seconds:g} s. It is stored and will be carried out; is an orchestrator "
        "running?"
    )


def _no_transactions() -> UsageError:
    return UsageError(
        "A start within your own transaction goes through the database: this client talks to a gateway "
        "(TENUTO_API_URL), and knows none."
    )
