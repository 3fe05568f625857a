"""Envelopes and ciphertexts of whoever: they are opened, or it is said why not, and never anything else."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenuto.codecs import Compression, Encryption
from tenuto.core.events import ActivityCompleted, decode_events, encode_events
from tenuto.errors import PayloadError, PayloadSealedError
from tenuto.payloads import decode, encode, is_sealed
from tenuto.sealing import Sealer
from tests.fuzz.strategies import plain_json, soup

KEY = b"k" * 16
SEALER = Sealer([Compression(minimum=1), Encryption({"k1": KEY})])


@st.composite
def envelopes(draw: st.DrawFn) -> bytes:
    """What begins like an envelope: of any version and codecs, with any data."""
    names = st.lists(st.sampled_from(["zlib", "aes-gcm", "gzip", ""]), max_size=4)
    data = draw(st.one_of(soup, st.binary(max_size=80)))
    if draw(st.booleans()):
        data = Compression(minimum=0).encode(data, "i") or data
    if draw(st.booleans()):
        data = Encryption({"k1": KEY}).encode(data, draw(st.sampled_from(["i", "j"])))
    text = draw(st.one_of(st.just(base64.b64encode(data).decode()), st.text(max_size=20)))
    members: dict[str, Any] = {"$tenuto": draw(st.sampled_from([1, 1, 1, 2, None, "1"]))}
    members["codecs"] = draw(st.one_of(names, st.none()))
    members["data"] = text
    made = msgspec.json.encode(members)
    return made[: draw(st.integers(0, len(made)))] if draw(st.integers(0, 9)) == 0 else made


@given(body=envelopes())
@example(body=b'{"$tenuto":1,"codecs":[],"data":"W10sMQ=="}')
@settings(max_examples=400, deadline=None)
def test_an_envelope_is_opened_or_it_is_said_why_not(body: bytes) -> None:
    try:
        opened = SEALER.open_payload(msgspec.Raw(body), "i")
    except PayloadSealedError:
        return
    events = [ActivityCompleted(command=1, result=opened)]
    if not is_sealed(body):
        return
    (again,) = decode_events(encode_events(events))  # what was taken in can be kept
    assert again == events[0]


@given(data=st.binary(max_size=200), codec=st.sampled_from([Compression(), Encryption({"k1": KEY})]))
@settings(max_examples=300, deadline=None)
def test_a_codec_decodes_or_says_why_not(data: bytes, codec: Compression | Encryption) -> None:
    with suppress(PayloadSealedError):
        codec.decode(data, "i")


@given(value=plain_json, place=st.text(max_size=10))
@settings(max_examples=200, deadline=None)
def test_what_is_sealed_is_opened_again(value: Any, place: str) -> None:
    try:
        payload = encode(value)
    except PayloadError:
        return
    sealed = SEALER.seal_payload(payload, place)
    assert is_sealed(sealed)
    assert bytes(SEALER.open_payload(sealed, place)) == bytes(payload)
    assert decode(SEALER.open_payload(sealed, place)) == decode(payload)
