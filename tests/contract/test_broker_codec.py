"""What foreign publishers may write, and what AMQP cannot carry."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from tenuto.broker import Outgoing
from tenuto.broker.rabbitmq.channel import Delivered
from tenuto.broker.rabbitmq.codec import Encoder, UnencodableError, delivery, number_of_returned
from tenuto.broker.rabbitmq.guard import without_undecodable

FLAGS = spec.Basic.Properties.flags
HEAD = 7
FRAME_MAX = 131_072


def content_header(flags: int, properties: bytes) -> bytes:
    """A content header frame with raw properties."""
    payload = struct.pack(">HHQH", 60, 0, 5, flags) + properties
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


def guarded(frame: bytes) -> spec.Basic.Properties:
    """The properties that the connection's reader sees."""
    checked = frame[:HEAD] + without_undecodable(frame[HEAD:])
    assert len(checked) == len(frame)
    _, _, header = unmarshal(checked)
    assert isinstance(header, ContentHeader)
    assert header.body_size == 5
    return header.properties


def shortstr(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def test_sound_properties_pass_untouched() -> None:
    properties = spec.Basic.Properties(
        content_type="text/plain",
        headers={"a": 1, "b": ["x", {"c": True}]},
        message_id="idé",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )
    frame = marshal(ContentHeader(body_size=5, properties=properties), 1)
    assert without_undecodable(frame[HEAD:]) == frame[HEAD:]
    assert guarded(frame) == properties


@pytest.mark.parametrize("timestamp", [1_700_000_000_000_000, 2**63, 2**64 - 1])
def test_a_timestamp_beyond_all_years_is_left_out(timestamp: int) -> None:
    raw = shortstr(b"id-1") + struct.pack(">Q", timestamp) + shortstr(b"app")
    seen = guarded(content_header(FLAGS["message_id"] | FLAGS["timestamp"] | FLAGS["app_id"], raw))
    assert (seen.message_id, seen.timestamp, seen.app_id) == ("id-1", None, "app")


def test_text_that_is_not_utf8_is_left_out() -> None:
    raw = shortstr(b"\xff\xfe") + shortstr(b"reply") + shortstr(b"id")
    seen = guarded(content_header(FLAGS["correlation_id"] | FLAGS["reply_to"] | FLAGS["message_id"], raw))
    assert (seen.correlation_id, seen.reply_to, seen.message_id) == (None, "reply", "id")


@pytest.mark.parametrize("table", [b"\x01aZ", b"\x05ab", b"\x01\xffS\0\0\0\x01x", b"\x01aS\0\0\xff\xff"])
def test_headers_that_are_no_table_are_left_out(table: bytes) -> None:
    raw = struct.pack(">I", len(table)) + table + shortstr(b"id")
    seen = guarded(content_header(FLAGS["headers"] | FLAGS["message_id"], raw))
    assert seen.message_id == "id"


def test_properties_that_end_too_early_are_left_out() -> None:
    seen = guarded(content_header(FLAGS["correlation_id"] | FLAGS["message_id"], shortstr(b"c") + b"\x20id"))
    assert (seen.correlation_id, seen.message_id) == ("c", None)


@given(flags=st.integers(0, 2**16 - 1), raw=st.binary(max_size=200))
def test_no_properties_break_the_reader(flags: int, raw: bytes) -> None:
    guarded(content_header(flags, raw))


def test_foreign_headers_become_text() -> None:
    properties = spec.Basic.Properties(
        headers={"text": "t", "bytes": bytearray(b"b\xff"), "number": 3, "truth": True, "table": {"k": 1}},
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )
    method = spec.Basic.Deliver(consumer_tag="c", delivery_tag=7, redelivered=True)
    seen = delivery(Delivered(method=method, properties=properties, body=b"body"))
    assert (seen.tag, seen.redelivered, seen.body) == (7, True, b"body")
    assert seen.timestamp == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert seen.headers == {
        "text": "t",
        "bytes": "b\ufffd",
        "number": "3",
        "truth": "True",
        "table": "{'k': 1}",
    }


@pytest.mark.parametrize(
    "message",
    [
        Outgoing(queue="q" * 256, body=b""),
        Outgoing(queue="q", body=b"", message_id="i" * 256),
        Outgoing(queue="q", body=b"", headers={"h" * 256: ""}),
        Outgoing(queue="q", body=b"", headers={"h": "v" * FRAME_MAX}),
        Outgoing(queue="q", body=b"", timestamp=1e20),
    ],
)
def test_what_amqp_cannot_carry(message: Outgoing) -> None:
    with pytest.raises(UnencodableError):
        Encoder(channel=1, frame_max=FRAME_MAX).encode(message, 1)


def test_a_returned_message_tells_its_number() -> None:
    encoded = Encoder(channel=1, frame_max=FRAME_MAX).encode(Outgoing(queue="q", body=b"body"), 41)
    consumed, _, _ = unmarshal(encoded)
    _, _, header = unmarshal(encoded[consumed:])
    assert isinstance(header, ContentHeader)
    assert number_of_returned(header.properties) == 41
