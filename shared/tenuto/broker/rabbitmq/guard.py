"""Keeps what foreign publishers wrote from breaking the connection.

RabbitMQ passes the properties of a message on as they are. pamqp decodes them all before anybody asks, and
aiormq gives up the connection where it cannot: a time stamp in microseconds or a header that is not UTF-8
would end the connection of every consumer, be delivered again on the next one, and end that as well. So a
look is taken at each content header on its way in, and properties that cannot be decoded are cut out of it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, cast

import aio_pika
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp import commands as spec
from pamqp import constants, decode
from yarl import URL

__all__ = ["GuardedConnection", "without_undecodable"]

_PREFIX = 12
"""Class, weight and body size of a content header."""
_FLAGS = 2
_MARGIN = 10
"""Frames of the stack."""
_CONTINUED = 1
_BY_FLAG = tuple(spec.Basic.Properties.flags.items())
"""In the order in which they follow each other."""


class GuardedConnection(aio_pika.Connection):
    """aio-pika's plain connection, with the guard before its reader."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kwargs["transport_factory"] = _GuardedTransport()


class _GuardedTransport(TransportFactory):
    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await plain.create(url, **kwargs)
        # aiormq asks of its reader what `_GuardedReader` has, and no more.
        return cast("asyncio.StreamReader", _GuardedReader(reader)), writer


class _GuardedReader:
    """Follows aiormq's way of reading a frame: one byte for its kind, the rest of its head, then its
    payload."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._kind = 0
        self._reads = 0

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    async def read(self, size: int = -1) -> bytes:
        return await self._reader.read(size)

    async def readexactly(self, size: int) -> bytes:
        data = await self._reader.readexactly(size)
        self._reads += 1
        if self._reads == 1:
            self._kind = data[0]
        elif self._reads == 3:  # noqa: PLR2004 - see the class
            self._reads = 0
            if self._kind == constants.FRAME_HEADER:
                return without_undecodable(data)
        return data


def without_undecodable(payload: bytes) -> bytes:
    """A content header's payload (with the frame's end mark) without the properties that cannot be decoded.

    Of the same length, whatever is cut out: what follows the last property is not looked at.
    """
    (flags,) = struct.unpack_from(">H", payload, _PREFIX)
    if flags & _CONTINUED:  # more flags than AMQP 0-9-1 has properties: nobody can tell what they mean
        flags, kept_flags = 0, 0
    else:
        kept_flags = flags
    properties = payload[_PREFIX + _FLAGS : -1]
    kept = []
    for name, flag in _BY_FLAG:
        if flags & flag:
            length = _length(name, properties)
            if length is not None and _decodes(name, properties[:length]):
                kept.append(properties[:length])
            else:
                kept_flags &= ~flag
            # Where the length cannot be known, nothing that follows can be.
            properties = b"" if length is None else properties[length:]
    if flags and kept_flags == flags:
        return payload
    head = payload[:_PREFIX] + struct.pack(">H", kept_flags) + b"".join(kept)
    return head.ljust(len(payload) - 1, b"\0") + payload[-1:]


def _length(name: str, data: bytes) -> int | None:
    """The bytes that a property takes; None if there are fewer."""
    match spec.Basic.Properties.amqp_type(name):
        case "shortstr":
            length = 1 + data[0] if data else 1
        case "table":
            length = 4 + int.from_bytes(data[:4], "big")
        case "timestamp":
            length = 8
        case _:
            length = 1
    return length if length <= len(data) else None


def _decodes(name: str, data: bytes) -> bool:
    try:
        _deeper(_MARGIN, lambda: decode.by_type(data, spec.Basic.Properties.amqp_type(name)))
    except (ValueError, OverflowError, OSError, RecursionError):
        return False
    return True


def _deeper(frames: int, call: Callable[[], object]) -> object:
    """Call from further down the stack: tables within tables must not be too deep for whoever decodes them next."""
    return call() if frames == 0 else _deeper(frames - 1, call)
