"""Request bodies and answers as JSON. msgspec reads and writes them: payloads stay as they came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from tenuto import payloads
from tenuto.core.documents import read_document

__all__ = ["answer", "answers", "body_of", "payload_of", "takes"]

T = TypeVar("T")

_payload: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)


def answer(document: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A document as the answer."""
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def body_of(kind: type[T], *, optional: bool = False) -> Callable[[Request], Awaitable[T]]:
    """A dependency that reads the body as this kind of document; `optional`: an empty one is one without fields."""
    decoder = msgspec.json.Decoder(kind)

    async def read(request: Request) -> T:
        body = await request.body()
        if optional and not body:
            return kind()
        document = read_document(decoder, body, from_outside=True)
        msgspec.json.decode(body)  # payloads are looked into no further than their brackets
        return document

    return read


async def payload_of(request: Request) -> msgspec.Raw:
    """The whole body as a payload; an empty one is null.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    body = await request.body()
    if not body:
        return payloads.NULL
    document = read_document(_payload, body, from_outside=True)
    msgspec.json.decode(body)
    return document


def takes(kind: type | None, *, required: bool = True) -> dict[str, Any]:
    """How the OpenAPI document shows a body: as this kind of document, or (None) as any JSON."""
    schema = {} if kind is None else {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def answers(kind: type | None, status: int, words: str) -> dict[int | str, dict[str, Any]]:
    """How the OpenAPI document shows an answer; None: it has no body."""
    shown: dict[str, Any] = {"description": words}
    if kind is not None:
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        shown["content"] = {"application/json": {"schema": schema}}
    return {status: shown}
