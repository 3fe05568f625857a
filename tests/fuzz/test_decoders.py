"""Every decoder: it reads, or it says why not with the one error that its callers know."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import exceptions, header

from tenuto import payloads
from tenuto.broker.rabbitmq.guard import without_undecodable
from tenuto.core.events import decode_events, encode_events
from tenuto.core.histories import read_history
from tenuto.core.letters import decode_letter, encode_letter
from tenuto.errors import PayloadError, SettingsError, UsageError
from tenuto.messages import (
    decode_dropped,
    decode_notice,
    decode_start,
    decode_tasks,
    decode_turn_message,
    encode,
)
from tenuto.naming import check_instance_id, check_name
from tenuto.settings import ClientSettings, OrchestratorSettings, Settings, WorkerSettings, mask_url
from tenuto.store.rows import decode_member
from tenuto_orchestrator.change import decode_outgoings, encode_outgoings
from tests.fuzz.strategies import plain_json, soup

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]

T = TypeVar("T")


def attempt(call: Callable[[], T], refusal: type[Exception]) -> tuple[T | None, str | None]:
    """What the call gives, or the words of its refusal. Any other error is a failure of the test."""
    try:
        return call(), None
    except refusal as error:
        return None, str(error)


DEEP = b"[" * 100_000 + b"]" * 100_000
NOT_UTF8 = b'{"workflow":"w","input":"\xff"}'
DOORS: dict[str, tuple[Decode, Encode]] = {
    "start": (decode_start, encode),
    "turn queue": (decode_turn_message, encode),
    "tasks": (decode_tasks, encode),
    "notice": (decode_notice, encode),
    "dropped": (decode_dropped, encode),
    "letter": (decode_letter, encode_letter),
    "events": (decode_events, encode_events),
    "outbox": (decode_outgoings, encode_outgoings),
}


@pytest.mark.parametrize(("decode", "encode_again"), DOORS.values(), ids=DOORS)
@given(body=soup)
@example(body=DEEP)
@example(body=b'{"workflow":"w","input":' + DEEP + b"}")
@example(body=b'[{"type":"EventRaised","name":"n","payload":' + DEEP + b"}]")
@example(body=NOT_UTF8)
@example(body=b"\xff")
@example(body=b"")
@settings(max_examples=300, deadline=None)
def test_a_decoder_reads_or_says_why_not(decode: Decode, encode_again: Encode, body: bytes) -> None:
    message, refusal = attempt(lambda: decode(body), msgspec.DecodeError)
    if message is None:
        assert refusal
        return
    written = encode_again(message)
    assert encode_again(decode(written)) == written
    assert json.loads(written.decode()) is not None  # what was taken in can be read by anybody


@given(rows=st.lists(soup, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_history_is_read_or_it_is_said_why_not(rows: list[bytes]) -> None:
    events, refusal = attempt(lambda: read_history(rows), msgspec.DecodeError)
    assert events or refusal


@given(document=soup)
@example(document=DEEP)
@example(document=b'{"workflows": {}, "activities": {}, "later": %s}' % DEEP)
def test_a_member_is_one_whatever_it_says(document: bytes) -> None:
    member = decode_member("owner", document)
    assert member.owner == "owner"
    assert isinstance(dict(member.workflows), dict)


class Flat(msgspec.Struct):
    number: int
    text: str = ""


@given(body=soup, hint=st.sampled_from([Any, int, str, list[int], dict[str, float], Flat, bytes]))
@example(body=DEEP, hint=Any)
@example(body=b'"\xff"', hint=str)
@settings(max_examples=300, deadline=None)
def test_a_payload_is_read_or_it_is_said_why_not(body: bytes, hint: Any) -> None:
    _, refusal = attempt(lambda: payloads.decode(body, hint), PayloadError)
    assert refusal != ""


@given(value=plain_json)
@settings(max_examples=200, deadline=None)
def test_what_can_be_written_can_be_read_again(value: Any) -> None:
    try:
        raw = payloads.encode(value)
    except PayloadError:
        return
    assert payloads.decode(raw) is not None or value is None


@pytest.mark.parametrize("depth", [100, 300, 500, 700, 900, 5000])
def test_what_is_written_can_be_read_within_another_document(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    raw, refusal = attempt(lambda: payloads.encode(value), PayloadError)
    if raw is None:
        assert depth > 300
        assert "deep" in (refusal or "")
    else:
        assert decode_events(b'[{"type":"EventRaised","name":"n","payload":%s}]' % bytes(raw))


# AMQP ------------------------------------------------------------------------------------------------------


@st.composite
def content_headers(draw: st.DrawFn) -> bytes:
    """A content header's payload with the frame's end mark, as any publisher may make the broker pass it on."""
    flags = draw(st.integers(0, 0xFFFF))
    parts = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=40),
                st.binary(min_size=1, max_size=40).map(lambda text: bytes([len(text)]) + text),
                st.integers(0, 2**64 - 1).map(lambda number: number.to_bytes(8, "big")),
                st.sampled_from([b"\x00\x00\x00\x06\x01aS\x00\x00\x00\x01\xff", b"\x00\x00\x00\x00"]),
            ),
            max_size=8,
        )
    )
    return b"\x00\x3c\x00\x00" + (5).to_bytes(8, "big") + flags.to_bytes(2, "big") + b"".join(parts) + b"\xce"


def nested_table(depth: int) -> bytes:
    """A header whose table holds a table that holds a table, and so on."""
    table = b"\x00\x00\x00\x00"
    for _ in range(depth):
        entry = b"\x01aF" + table
        table = len(entry).to_bytes(4, "big") + entry
    return b"\x00\x3c\x00\x00" + bytes(8) + (1 << 13).to_bytes(2, "big") + table + b"\xce"


@given(payload=content_headers())
@example(payload=nested_table(2_000))
@example(payload=nested_table(450))
@example(payload=nested_table(440))
@settings(max_examples=500, deadline=None)
def test_no_properties_of_a_message_break_the_connection(payload: bytes) -> None:
    guarded = without_undecodable(payload)
    assert len(guarded) == len(payload)
    try:
        header.ContentHeader().unmarshal(guarded[:-1])
    except (exceptions.AMQPError, ValueError, RecursionError) as error:
        pytest.fail(f"the connection would break: {error!r}")


# Names and settings ----------------------------------------------------------------------------------------


@given(text=st.text(max_size=300))
def test_a_name_is_taken_or_refused(text: str) -> None:
    for check in (check_instance_id, lambda name: check_name("A name", name)):
        _, refusal = attempt(lambda check=check: check(text), UsageError)  # type: ignore[misc]  # bound at once
        if refusal is None:
            assert 1 <= len(text) <= 256
            assert "\0" not in text
        else:
            assert refusal.isprintable()


values = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["-1", "0", "1e400", "nan", "inf", "9" * 5000, "16MiB", "memory://", "true", "[]", "{}"]),
    st.sampled_from(
        ["amqp://user:secret@host:99999999/x", "postgresql://user:secret@[::1", "sqlite://", "://"]
    ),
)


@pytest.mark.parametrize("kind", [Settings, OrchestratorSettings, WorkerSettings, ClientSettings])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_settings_are_taken_or_refused_in_words(kind: type[Settings], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(kind.model_fields)))
    value = data.draw(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TENUTO_{name.upper()}", value)
        made, refusal = attempt(kind, SettingsError)
        if made is None:
            assert f"TENUTO_{name.upper()}" in (refusal or "")
            assert "secret" not in (refusal or "")
        else:
            assert "secret" not in repr(made)


@given(url=st.one_of(values, st.text(max_size=60)))
def test_a_masked_url_is_text(url: str) -> None:
    assert isinstance(mask_url(url), str)
