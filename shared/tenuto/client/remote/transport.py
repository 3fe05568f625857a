"""The transport over HTTP: everything goes through the gateway, so neither the database nor the broker need be reached.

What changes something is sent once: where the connection breaks before the answer came, an error says that the outcome
is not known.
"""

from __future__ import annotations

from typing import Any, assert_never
from urllib.parse import quote, urlencode

import httpx
import msgspec

from tenuto.client.bulk import BulkResult, BulkVerb
from tenuto.client.documents import (
    PurgedDocument,
    Reason,
    RerunRequest,
    StartedDocument,
    StartRequest,
    TerminateRequest,
)
from tenuto.client.remote.bulk import bulk
from tenuto.client.remote.looking import RemoteLooking
from tenuto.client.remote.requests import Requests, instance_path, read
from tenuto.client.transport import Ask, Order, RerunOrder, Target
from tenuto.core.letters import Purge, Raise, Resume, Rewind, Suspend, Terminate
from tenuto.errors import UsageError
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InboxRow, InstanceFilter

__all__ = ["HttpTransport"]


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
        answer = await self._send(
            f"The start of instance {order.instance!r}", "/instances", body, wait=wait, timeout=timeout
        )
        started = read(answer, StartedDocument)
        return Target(instance=started.instance_id, run=started.run, row=started.request)

    async def rerun(self, order: RerunOrder, *, wait: bool, timeout: float | None) -> Target:
        body = RerunRequest(
            event_id=order.event_id,
            instance_id=order.instance,
            input=order.input,
            message_id=order.message_id,
        )
        answer = await self._send(
            f"The rerun as instance {order.instance!r}",
            f"{instance_path(order.source)}/rerun",
            body,
            wait=wait,
            timeout=timeout,
        )
        started = read(answer, StartedDocument)
        return Target(instance=started.instance_id, run=started.run, row=started.request)

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
        await self._send(
            f"{type(letter).__name__} for instance {instance!r}",
            instance_path(instance) + path,
            body,
            wait=wait,
            timeout=timeout,
        )

    async def purge(self, instance: str, letter: Purge, *, timeout: float | None) -> int:
        seconds = self._settings.request_timeout if timeout is None else timeout
        answer = await self._requests.send(
            "DELETE",
            f"/api/v1{instance_path(instance)}",
            params={"force": letter.force, "recursive": letter.recursive, "timeout": _told(seconds)},
            seconds=seconds,
        )
        if answer.status_code == httpx.codes.ACCEPTED:
            raise _late(f"Purge for instance {instance!r}", seconds)
        return read(answer, PurgedDocument).purged

    async def bulk(
        self, where: InstanceFilter, letter: BulkVerb, *, wait: bool, timeout: float | None
    ) -> BulkResult:
        return await bulk(self, where, letter, wait=wait, timeout=timeout)

    async def _send(
        self, what: str, path: str, body: Any, *, wait: bool, timeout: float | None
    ) -> httpx.Response:
        seconds = self._settings.request_timeout if timeout is None else timeout
        answer = await self._requests.send(
            "POST",
            f"/api/v1{path}",
            params={"wait": wait, "timeout": _told(seconds)},
            content=msgspec.json.encode(body),
            seconds=seconds,
        )
        if wait and answer.status_code == httpx.codes.ACCEPTED:
            raise _late(what, seconds)
        return answer


def _told(seconds: float) -> float:
    """The time to wait as the gateway takes it."""
    return min(max(seconds, 0.001), 86_400.0)


def _late(what: str, seconds: float) -> TimeoutError:
    return TimeoutError(
        f"{what} was not dealt with within {seconds:g} s. It is stored and will be carried out; is an orchestrator "
        "running?"
    )


def _no_transactions() -> UsageError:
    return UsageError(
        "A start within your own transaction goes through the database: this client talks to a gateway "
        "(TENUTO_API_URL), and knows none."
    )
