"""Messages to AMQP frames, and frames to deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from tenuto.broker.protocol import Delivery, Outgoing
from tenuto.broker.rabbitmq.channel import Delivered

__all__ = ["Encoder", "UnencodableError", "delivery", "number_of_returned"]

_FRAME_OVERHEAD: Final = 8
_FRAME_MAX: Final = 131_072
"""RabbitMQ's default, for a connection that negotiated no limit."""
_APPLICATION: Final = "tenuto"
_KNOWN_QUEUES: Final = 1_024
_LONGEST_NAME: Final = 128
_TRANSIENT, _PERSISTENT = 1, 2


class UnencodableError(Exception):
    """A message that AMQP cannot carry."""


class Encoder:
    """Encodes messages for one channel."""

    def __init__(self, *, channel: int, frame_max: int) -> None:
        self._channel = channel
        self._limit = (frame_max or _FRAME_MAX) - _FRAME_OVERHEAD
        self._publish_frames: dict[tuple[str, bool], bytes] = {}

    def encode(self, message: Outgoing, number: int) -> bytes:
        """The frames that publish a message. Its number comes back in `number_of_returned`.

        Raises:
            UnencodableError: a name, id or header is too long or no text.
        """
        if any(len(name) > _LONGEST_NAME for name in message.headers):
            raise UnencodableError(
                f"a header's name is longer than {_LONGEST_NAME} characters"
            )  # pamqp cuts it
        try:
            header = marshal(
                ContentHeader(body_size=len(message.body), properties=_properties(message, number)),
                self._channel,
            )
            method = self._publish_frame(message.queue, mandatory=message.mandatory)
        except (TypeError, ValueError, OverflowError) as error:
            raise UnencodableError(str(error)) from error
        if len(header) > self._limit + _FRAME_OVERHEAD:
            raise UnencodableError(f"headers of {len(header)} bytes; a frame takes {self._limit}")
        return b"".join((method, header, *self._body_frames(message.body)))

    def _publish_frame(self, queue: str, *, mandatory: bool) -> bytes:
        frame = self._publish_frames.get((queue, mandatory))
        if frame is None:
            if len(self._publish_frames) >= _KNOWN_QUEUES:
                self._publish_frames.clear()
            frame = marshal(
                spec.Basic.Publish(exchange="", routing_key=queue, mandatory=mandatory), self._channel
            )
            self._publish_frames[queue, mandatory] = frame
        return frame

    def _body_frames(self, body: bytes) -> list[bytes]:
        return [
            marshal(ContentBody(body[start : start + self._limit]), self._channel)
            for start in range(0, len(body), self._limit)
        ]


def _properties(message: Outgoing, number: int) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers) or None,
        delivery_mode=_PERSISTENT if message.persistent else _TRANSIENT,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message.message_id,
        timestamp=None if message.timestamp is None else datetime.fromtimestamp(int(message.timestamp), UTC),
        # A returned message says nothing else that would tell it from its equals: message ids are the user's.
        app_id=f"{_APPLICATION}/{number}" if message.mandatory else _APPLICATION,
    )


def number_of_returned(properties: spec.Basic.Properties) -> int:
    """The number that a returned message was encoded with."""
    return int((properties.app_id or "").removeprefix(f"{_APPLICATION}/"))


def delivery(message: Delivered) -> Delivery:
    """What the engine sees of a delivered message, whoever published it."""
    properties = message.properties
    return Delivery(
        tag=message.method.delivery_tag or 0,
        body=message.body,
        redelivered=bool(message.method.redelivered),
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        timestamp=None if properties.timestamp is None else properties.timestamp.timestamp(),
        headers={} if properties.headers is None else _headers(properties.headers),
    )


def _headers(headers: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in headers.items()}


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bytes() | bytearray():
            return value.decode(errors="replace")
        case _:
            return str(value)
