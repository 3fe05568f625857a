"""Letters: what instances and outsiders say to an instance, carried by the inbox table (rule I1).

A letter is a row written in its cause's commit (an instance's turn, a client's request, the public door) and
deleted in the commit that consumes it, so it takes effect exactly once whatever the broker does.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from tenuto.core.documents import read_document
from tenuto.core.events import Failure, OptionalRaw, Parent, ReplyTo
from tenuto.core.status import ReusePolicy

__all__ = [
    "Answered",
    "ChildEnded",
    "Continue",
    "FirstEvent",
    "Letter",
    "Purge",
    "Raise",
    "Repeat",
    "Request",
    "Rerun",
    "Resume",
    "Rewind",
    "Start",
    "Suspend",
    "Terminate",
    "decode_letter",
    "encode_letter",
]


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class Request(_Struct, frozen=True, kw_only=True):
    """Who is to be told when a letter has taken effect: one process's notification queue."""

    id: str
    queue: str


class FirstEvent(_Struct, frozen=True, kw_only=True):
    """An event that comes with a start, as one step."""

    name: str
    payload: msgspec.Raw
    sender: str | None = None


class Start(_Struct, frozen=True, kw_only=True, tag=True):
    """Make an instance. Its run id and seed are chosen by the sender, so a repeated row makes the same run."""

    workflow: str
    version: str | None = None
    input: msgspec.Raw
    run: str
    seed: str
    tags: dict[str, str] = {}
    parent: Parent | None = None
    reuse: ReusePolicy = ReusePolicy()
    event: FirstEvent | None = None
    """Comes with the start: the first event of the new instance or, where the reuse policy keeps the one that is there,
    an event to that one."""
    reply: ReplyTo | None = None
    trace: dict[str, str] = {}
    start_at: datetime | None = None
    """Not before then."""
    rewind: bool = False
    """The parent was rewound: where this very run is there and has ended badly, it is rewound too."""
    request: Request | None = None


class ChildEnded(_Struct, frozen=True, kw_only=True, tag=True):
    """A child's outcome, to its parent. Exactly one of `result` and `failure` is set."""

    generation: int
    command: int
    attempt: int
    result: OptionalRaw = None
    failure: Failure | None = None
    cascade: bool = False
    """It was terminated by this very parent. One that waits for it nevertheless was rewound, and the child will be."""


class Answered(_Struct, frozen=True, kw_only=True, tag=True):
    """A worker's answer, kept for an instance that no code can take on at present (rule O5). Exactly one of `result`
    and `failure` is set."""

    generation: int
    command: int
    attempt: int
    result: OptionalRaw = None
    failure: Failure | None = None
    details: OptionalRaw = None


class Raise(_Struct, frozen=True, kw_only=True, tag=True):
    """An external event."""

    name: str
    payload: msgspec.Raw
    sender: str | None = None
    create: datetime | None = None
    """When it was sent, if it is to be kept for an instance that does not exist yet (rule C7)."""
    message_id: str | None = None
    """The sender's; the event counts once for each (rule N2)."""
    trace: dict[str, str] = {}
    """W3C trace context of whoever sent it."""
    request: Request | None = None


class Suspend(_Struct, frozen=True, kw_only=True, tag=True):
    reason: str | None = None
    request: Request | None = None


class Resume(_Struct, frozen=True, kw_only=True, tag=True):
    reason: str | None = None
    request: Request | None = None


class Rewind(_Struct, frozen=True, kw_only=True, tag=True):
    """Let an instance that failed, or was terminated, go on in place."""

    reason: str | None = None
    request: Request | None = None


class Rerun(_Struct, frozen=True, kw_only=True, tag=True):
    """Make an instance that begins with a part of the history of one that has ended. Its run id and seed are chosen by
    the sender, so a repeated row makes the same run."""

    source: str
    """The instance that has ended."""
    command: int
    """Of what that one asked for, what is done again first."""
    input: OptionalRaw = None
    """Payload: another input for it."""
    run: str
    seed: str
    trace: dict[str, str] = {}
    request: Request | None = None


class Terminate(_Struct, frozen=True, kw_only=True, tag=True):
    output: msgspec.Raw
    reason: str | None = None
    recursive: bool = True
    """Its children too, those that it does not abandon."""
    cascade: bool = False
    """From its parent, which has ended or does not want it any more."""
    request: Request | None = None


class Purge(_Struct, frozen=True, kw_only=True, tag=True):
    """Delete the instance and, from `recursive`, its children. `force` also while it is alive."""

    force: bool = False
    recursive: bool = True
    request: Request | None = None


class Continue(_Struct, frozen=True, kw_only=True, tag=True):
    """From an instance to itself: begin the new generation that continue-as-new made."""

    generation: int


class Repeat(_Struct, frozen=True, kw_only=True, tag=True):
    """A start message came a second time and wants a reply: publish the outcome again, if there is one yet."""

    reply: ReplyTo


Letter: TypeAlias = (
    Start
    | ChildEnded
    | Answered
    | Raise
    | Suspend
    | Resume
    | Rewind
    | Rerun
    | Terminate
    | Purge
    | Continue
    | Repeat
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Letter] = msgspec.json.Decoder(Letter)


def encode_letter(letter: Letter) -> bytes:
    """A letter as JSON: the body of an inbox row."""
    return _encoder.encode(letter)


def decode_letter(body: bytes) -> Letter:
    """The inverse of `encode_letter`.

    Raises:
        msgspec.DecodeError: the body is no letter of this release.
    """
    return read_document(_decoder, body)
