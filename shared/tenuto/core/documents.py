"""JSON documents that come from elsewhere: whatever is wrong with one, a single kind of error tells.

msgspec keeps payloads as they came and looks into them no further than their brackets; so a document could hold what
is no Unicode, or be nested so deeply that it can be read from here and not from where the stack is deeper. Neither may
get past a door: what is stored must be readable wherever it is read.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

__all__ = ["check_nesting", "read_document"]

T = TypeVar("T")

_HEADROOM = 200
"""Levels of nesting, and frames of the stack, by which a later reader may be worse off."""
_OPENING, _CLOSING = b"[" * _HEADROOM, b"]" * _HEADROOM


def read_document(decoder: msgspec.json.Decoder[T], body: bytes, *, from_outside: bool = False) -> T:
    """Decode a document.

    With `from_outside` it may not come near the limit of nesting either, so that it can be kept and read again.

    Raises:
        msgspec.DecodeError: it is no JSON, no UTF-8, nested too deeply, or not what the decoder is for
            (msgspec.ValidationError, which is one).
    """
    try:
        if not body.isascii():
            body.decode()
        if from_outside:
            check_nesting(body)
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"JSON is malformed: no UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error


def check_nesting(body: bytes) -> None:
    """See to it that a document can be read where the stack is deeper than here, and within another document.

    Raises:
        RecursionError: it cannot.
        msgspec.DecodeError: it is no JSON.
    """
    if body.count(b"[") + body.count(b"{") > _HEADROOM:
        msgspec.json.decode(b"".join((_OPENING, body, _CLOSING)), type=msgspec.Raw)
