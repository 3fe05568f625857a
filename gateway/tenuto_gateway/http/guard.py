"""What stands before every route: limits, authentication, the audit, measuring.

Whoever is not let in learns nothing, not even which paths there are. Of a request the audit holds who did what to which
instance; never a query, a body or a token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenuto.settings import GatewaySettings
from tenuto_gateway.http import callers
from tenuto_gateway.http.callers import ANYBODY, Caller, Callers, is_loopback
from tenuto_gateway.http.measures import Measures
from tenuto_gateway.http.problems import BadRequestError, problem

__all__ = ["PUBLIC", "Guard", "needs"]

audit = logging.getLogger("tenuto.audit")
_log = logging.getLogger("tenuto.gateway")

PUBLIC = frozenset({"/healthz", "/readyz"})
"""Paths that need no authentication: they tell whether the gateway lives, and nothing else."""
_TRACE = TraceContextTextMapPropagator()
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def needs(scope: callers.Scope) -> Any:
    """A dependency that lets only callers of this scope through."""

    async def check(request: Request) -> None:
        caller: Caller = request.state.caller
        if caller.scope < scope:
            raise BadRequestError(
                403,
                f"{caller.name} has the scope {caller.scope.name.lower()}; this needs {scope.name.lower()}",
            )

    check.__dict__["scope"] = scope
    return Depends(check)


class Guard:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, *, settings: GatewaySettings, who: Callers, measures: Measures) -> None:
        self._app = app
        self._settings = settings
        self._who = who
        self._measures = measures
        self._origins = frozenset(filter(None, settings.http_cors_origins.replace(" ", "").split(",")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        # Ids may hold slashes: what is encoded stays so until the route has been found.
        scope["path"] = (
            (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0].decode("latin-1")
        )
        began = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, sending)
            else:
                # A start belongs to the trace of whoever asked for it.
                token = attach(_TRACE.extract(headers))
                try:
                    await self._app(scope, _Bounded(receive, self._settings.http_max_body_bytes), sending)
                finally:
                    detach(token)
        except Exception:  # noqa: BLE001  it has been answered with 500, unless the answer had begun
            _log.exception("%s %s failed", scope["method"], _route(scope))
        finally:
            self._measures.request(scope["method"], _route(scope), status, time.perf_counter() - began)
            if scope["method"] not in _READING:
                _record(scope, status)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Why this request goes no further, if it does not; who calls is written into its state."""
        size = sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["path"])
        if size + len(scope["query_string"]) > self._settings.http_max_header_bytes:
            return problem(431, f"More than {self._settings.http_max_header_bytes} bytes of headers.")
        if scope["path"] in PUBLIC:
            scope.setdefault("state", {})["caller"] = ANYBODY
            return None
        caller = self._caller(headers)
        if caller is None:
            return problem(401, "Send a valid bearer token.", www_authenticate="Bearer")
        scope.setdefault("state", {})["caller"] = caller
        if self._who.is_open and (fault := self._foreign(headers)) is not None:
            return problem(403, fault)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._settings.http_max_body_bytes:
            return problem(413, f"A body may have {self._settings.http_max_body_bytes} bytes.")
        return None

    def _caller(self, headers: Mapping[str, str]) -> Caller | None:
        if self._who.is_open:
            return ANYBODY
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            token = headers.get("dapr-api-token", "")  # what Dapr's clients send
        return self._who.find(token.strip()) if token else None

    def _foreign(self, headers: Mapping[str, str]) -> str | None:
        """Without tokens, a page in a browser of this machine could call: only known origins and names may."""
        origin = headers.get("origin")
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            place = urlsplit(origin or "").netloc
        except ValueError:
            return "The Host header, or the Origin, is malformed."
        if origin is not None and origin not in self._origins and place != headers.get("host"):
            return "Calls from that origin's pages are not allowed: see TENUTO_HTTP_CORS_ORIGINS."
        if is_loopback(self._settings.http_host) and host and not is_loopback(host):
            return "The Host header must name this machine as it is listened on."
        return None


class _Bounded:
    """A request's body, no longer than it may be."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BadRequestError(413, f"A body may have {self._limit} bytes.")
        return message


def _route(scope: Scope) -> str:
    """The route's template; what is no route has one name, so that strangers cannot invent many."""
    return getattr(scope.get("route"), "path", "unknown")


def _record(scope: Scope, status: int) -> None:
    state = scope.get("state", {})
    caller: Caller | None = state.get("caller")
    address = scope.get("client")
    named = dict(scope.get("path_params", {}))
    if (started := state.get("started")) is not None:  # no path names the instance that it makes
        named["new" if "instance" in named else "instance"] = started
    named |= state.get("named", {})  # nor what else it is about
    audit.info(
        "%s from %s: %s %s%s: %d",
        caller.name if caller is not None else "a stranger",
        address[0] if address else "an unknown address",
        scope["method"],
        _route(scope),
        "".join(f" {name}={value!r}" for name, value in named.items()),
        status,
    )
