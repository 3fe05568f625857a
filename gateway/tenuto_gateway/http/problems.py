"""Errors as RFC 9457 problem documents. This is the one place that maps them to status codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tenuto.client.documents import Problem
from tenuto.errors import (
    AlreadyExistsError,
    BrokerError,
    DataRefusedError,
    GenerationOverError,
    InstanceOverError,
    NotFoundError,
    RequestError,
    SchemaError,
    StoreError,
    TenutoError,
    UnknownWorkflowError,
    UsageError,
)

__all__ = ["HANDLERS", "BadRequestError", "problem", "refused"]

_PLACE = re.compile(r" - at `(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|missing required) field `(?P<name>[^`]*)`")

STATUSES: tuple[tuple[type[TenutoError], int], ...] = (
    (NotFoundError, 404),
    (AlreadyExistsError, 409),
    (InstanceOverError, 410),
    (GenerationOverError, 410),
    (RequestError, 409),
    (UsageError, 422),
    (DataRefusedError, 422),
    (SchemaError, 503),
    (StoreError, 503),
    (BrokerError, 503),
)
"""The first that fits counts."""

_TITLES: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "Authentication is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict with the present state",
    410: "It is over",
    413: "The body is too large",
    422: "The request makes no sense",
    431: "The headers are too large",
    500: "Internal error",
    504: "It takes longer than the gateway waits",
    503: "A server behind the gateway is not available",
}
_BEHIND = {
    StoreError: "The database cannot be used at present; the gateway's log tells more.",
    BrokerError: "The message broker cannot be used at present; the gateway's log tells more.",
}


class BadRequestError(Exception):
    """A request that is wrong by itself, whatever the instance."""

    def __init__(self, status: int, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field


def problem(
    status: int, detail: str, *, error: str | None = None, field: str | None = None, **headers: str
) -> Response:
    """A problem document. Underscores in the headers' names stand for hyphens."""
    if status == 503:  # noqa: PLR2004  the status of which that is said
        headers.setdefault("retry_after", "1")
    body = Problem(
        title=_TITLES.get(status, "The request failed"),
        status=status,
        detail=detail,
        error=error,
        field=field,
    )
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/problem+json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def refused(error: TenutoError) -> tuple[int, str]:
    """The status code of an error, and what may be said of it: servers' own words, which may name hosts, stay here."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    for kind, words in _BEHIND.items():
        if isinstance(error, kind) and not isinstance(error, DataRefusedError):
            return status, words
    return status, str(error)


async def _of_tenuto(_request: Request, error: TenutoError) -> Response:
    status, words = refused(error)
    field = error.field if isinstance(error, UsageError) else None
    if isinstance(error, UnknownWorkflowError):
        field = "workflow"
    return problem(status, words, error=type(error).__name__, field=field)


async def _of_request(_request: Request, error: BadRequestError) -> Response:
    return problem(error.status, error.detail, field=error.field)


async def _of_body(_request: Request, error: msgspec.DecodeError) -> Response:
    """A body that is no JSON is 400; one that is not what the route takes is 422, with the field that is wrong."""
    words = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return problem(400, f"The body cannot be read: {words}")
    place, name = _PLACE.search(words), _FIELD.search(words)
    path = [place["path"].removeprefix("$.")] if place else []
    return problem(422, words, field=".".join([*path, name["name"]] if name else path) or None)


async def _of_parameters(_request: Request, error: RequestValidationError) -> Response:
    wrong = error.errors()[0]
    place = ".".join(str(part) for part in wrong["loc"][1:])
    return problem(422, f"{place}: {wrong['msg']}", field=place)


async def _of_routing(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:  # noqa: PLR2004  no route
        return problem(404, f"There is no such path: {request.url.path}")
    allowed = (error.headers or {}).get("Allow")
    return problem(error.status_code, str(error.detail), **({"allow": allowed} if allowed else {}))


async def _of_time(_request: Request, error: TimeoutError) -> Response:
    """A request of many steps, which took longer than the gateway waits; the words say what is stored."""
    return problem(504, str(error), error="TimeoutError")


async def _of_ours(_request: Request, _error: Exception) -> Response:
    return problem(500, "Something went wrong in the gateway; its log tells what.")


HANDLERS: Mapping[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    TenutoError: _of_tenuto,
    BadRequestError: _of_request,
    msgspec.DecodeError: _of_body,
    RequestValidationError: _of_parameters,
    HTTPException: _of_routing,
    TimeoutError: _of_time,
    Exception: _of_ours,
}
"""What makes every error a problem document, as FastAPI takes it."""
