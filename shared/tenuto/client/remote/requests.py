"""A request to the gateway, its answer, and what errors mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tenuto.client.answers import refusal
from tenuto.client.documents import Problem
from tenuto.environment import mask_url
from tenuto.errors import GatewayError, SettingsError, UsageError
from tenuto.settings import ClientSettings

__all__ = ["Requests", "http_client", "instance_path", "read"]

T = TypeVar("T")

_MARGIN = 10.0
"""Seconds by which an answer may come later than what was asked for."""
_KEPT = 3.0
"""Seconds for which an idle connection is kept: less than gateways keep it."""
_UNAVAILABLE = frozenset({502, 503, 504})


def http_client(settings: ClientSettings) -> httpx.AsyncClient:
    """What connects to the gateway of the settings.

    Raises:
        SettingsError: its URL is none, or the token can be none.
    """
    url = httpx.URL(settings.api_url or "")
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError(
            f"TENUTO_API_URL is {mask_url(str(url))!r}, which is not of the form https://host or http://host:port"
        )
    headers: dict[str, str] = {}
    if settings.api_token is not None:
        token = settings.api_token.strip()
        if not token or not (token.isascii() and token.isprintable()):
            raise SettingsError(
                "TENUTO_API_TOKEN is no token: it is empty, or has characters that are not printable ASCII"
            )
        headers["authorization"] = f"Bearer {token}"
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=httpx.Timeout(_MARGIN, connect=settings.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_KEPT),
        verify=ssl.create_default_context() if url.scheme == "https" else True,
    )


class Requests:
    """Sends requests, until it is closed."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._trace = TraceContextTextMapPropagator()
        self._under_way: set[asyncio.Task[httpx.Response]] = set()
        self._closed = False

    async def close(self) -> None:
        """Wake whoever waits for an answer, with an error."""
        self._closed = True
        for task in self._under_way:
            task.cancel()
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        seconds: float = 0.0,
    ) -> httpx.Response:
        """A request and its answer, which the gateway may take so many seconds for."""
        if self._closed:
            raise UsageError("The client is closed.")
        headers: dict[str, str] = {}
        self._trace.inject(headers)
        target = httpx.URL(path)
        sending = self._http.request(
            method,
            target.copy_merge_params(params or {}),
            content=content,
            headers=headers,
            timeout=httpx.Timeout(self._http.timeout.connect, read=seconds + _MARGIN, pool=None),
        )
        task = asyncio.ensure_future(sending)
        self._under_way.add(task)
        try:
            answer = await task
        except asyncio.CancelledError:
            if self._closed:
                raise UsageError("The client was closed while this call waited.") from None
            raise
        except httpx.LocalProtocolError:  # its words quote the headers, the token among them
            raise GatewayError(
                f"A {method} for the gateway at {self.where} breaks the rules of HTTP."
            ) from None
        except httpx.HTTPError as error:
            unknown = "" if method == "GET" else "; whether the request was carried out is not known"
            raise GatewayError(
                f"The gateway at {self.where} cannot be reached ({type(error).__name__}: {error}){unknown}."
            ) from error
        finally:
            self._under_way.discard(task)
        return answer if answer.is_success else self._refuse(answer)

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        status = answer.status_code
        if status == httpx.codes.UNAUTHORIZED:
            raise SettingsError(f"The gateway at {self.where} wants a valid token: set TENUTO_API_TOKEN.")
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
        except msgspec.DecodeError:
            raise GatewayError(
                f"What answers at {self.where} is no Tenuto gateway, or something in between refuses: {status}."
            ) from None
        if problem.error == TimeoutError.__name__:
            raise TimeoutError(problem.detail)
        if problem.error is not None and status not in _UNAVAILABLE:
            raise refusal(f"{problem.error}: {problem.detail}")
        if status < httpx.codes.INTERNAL_SERVER_ERROR:
            raise UsageError(problem.detail)
        raise GatewayError(f"The gateway at {self.where} cannot serve this at present: {problem.detail}")

    @property
    def where(self) -> str:
        """The gateway's URL, fit for messages."""
        return mask_url(str(self._http.base_url))


def read(answer: httpx.Response, kind: type[T]) -> T:
    """An answer as this kind of document. Raises GatewayError if it is none."""
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise GatewayError(
            f"The answer of {mask_url(str(answer.url))} cannot be understood, perhaps since it is of another release: "
            f"{error}."
        ) from None


def instance_path(instance: str) -> str:
    """The path of an instance under the API's."""
    # A path's part that is all dots would be taken for a step up.
    part = quote(instance, safe="")
    return "/instances/" + (part.replace(".", "%2E") if not part.strip(".") else part)
