"""Payload codecs: compression and authenticated encryption."""

from __future__ import annotations

import base64
import zlib

import pytest

from tenuto.codecs import Compression, Encryption, PayloadCodec, make_codecs, parse_keys
from tenuto.errors import PayloadError, SettingsError

OLD, NEW = b"o" * 32, b"n" * 32
DATA = b'{"card":"4111 1111"}' * 100


def test_compression_makes_smaller_what_becomes_smaller() -> None:
    made = Compression().encode(DATA, "i")
    assert made is not None
    assert len(made) < len(DATA) / 10
    assert Compression().decode(made, "i") == DATA
    assert Compression().encode(b"x" * 1023, "i") is None
    assert Compression(minimum=1).encode(b"x", "i") is None, "zlib would make it larger"


@pytest.mark.parametrize("damaged", [b"", b"x", zlib.compress(DATA)[:-1], zlib.compress(DATA) + b"x"])
def test_damaged_compression_is_told(damaged: bytes) -> None:
    with pytest.raises(PayloadError, match="damaged"):
        Compression().decode(damaged, "i")


def test_a_small_payload_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenuto.codecs._MAX_DECOMPRESSED", 10_000)
    assert len(Compression().decode(zlib.compress(b"x" * 10_000), "i")) == 10_000
    with pytest.raises(PayloadError, match="larger than any payload"):
        Compression().decode(zlib.compress(b"x" * 10_001), "i")


def test_encryption_hides_and_is_different_every_time() -> None:
    codec = Encryption({"k1": NEW})
    one, other = codec.encode(DATA, "i"), codec.encode(DATA, "i")
    assert b"4111" not in one
    assert one != other
    assert codec.decode(one, "i") == codec.decode(other, "i") == DATA


def test_the_newest_key_encrypts_and_all_decrypt() -> None:
    before = Encryption({"k1": OLD}).encode(DATA, "i")
    rotated = Encryption({"k2": NEW, "k1": OLD})
    assert rotated.decode(before, "i") == DATA
    made = rotated.encode(DATA, "i")
    assert Encryption({"k2": NEW}).decode(made, "i") == DATA
    with pytest.raises(PayloadError, match="encrypted with the key 'k2', and this process has 'k1'"):
        Encryption({"k1": OLD}).decode(made, "i")


def test_what_was_changed_or_moved_to_another_instance_is_refused() -> None:
    codec = Encryption({"k1": NEW})
    made = codec.encode(DATA, "i")
    with pytest.raises(PayloadError, match="belongs to another instance"):
        codec.decode(made, "j")
    for position in range(len(made)):
        changed = made[:position] + bytes([made[position] ^ 1]) + made[position + 1 :]
        with pytest.raises(PayloadError):
            codec.decode(changed, "i")
    for length in range(len(made)):
        with pytest.raises(PayloadError):
            codec.decode(made[:length], "i")
    with pytest.raises(PayloadError, match="another key of that id"):
        Encryption({"k1": OLD}).decode(made, "i")


@pytest.mark.parametrize("size", [0, 1, 15, 31, 33])
def test_keys_have_the_sizes_of_aes(size: int) -> None:
    with pytest.raises(SettingsError, match="AES needs 16, 24 or 32"):
        Encryption({"k": b"x" * size})


def test_encryption_needs_a_key() -> None:
    with pytest.raises(SettingsError, match="needs a key"):
        Encryption({})
    with pytest.raises(SettingsError, match="1 to 64"):
        Encryption({"k" * 65: NEW})


def test_keys_are_read_newest_first() -> None:
    new, old = base64.b64encode(NEW).decode(), base64.b64encode(OLD).decode()
    assert list(parse_keys(f"k2:{new}\n\n k1:{old}\n")) == ["k2", "k1"]
    assert parse_keys(f"2026:11:{new},k1:{old}") == {"2026:11": NEW, "k1": OLD}


@pytest.mark.parametrize("text", ["c2VjcmV0", "k1:c2VjcmV0!", "k1:c2VjcmV0 k1:c2VjcmV0"])
def test_malformed_keys_are_told_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as told:
        parse_keys(text)
    assert "TENUTO_PAYLOAD_KEYS" in str(told.value)
    assert "c2VjcmV0" not in str(told.value)


class Backwards:
    name = "backwards"
    secret = False

    def encode(self, data: bytes, place: str) -> bytes | None:
        del place
        return data[::-1]

    def decode(self, data: bytes, place: str) -> bytes:
        del place
        return data[::-1]


backwards = Backwards()


def test_a_chain_is_made_of_the_settings() -> None:
    keys = f"k1:{base64.b64encode(NEW).decode()}"
    writers, readers = make_codecs(f"{__name__}:backwards, zlib,aes-gcm", keys)
    assert [codec.name for codec in writers] == ["backwards", "zlib", "aes-gcm"]
    assert isinstance(writers[0], PayloadCodec)
    assert make_codecs(None, None)[0] == []
    only_read = make_codecs(None, keys)
    assert only_read[0] == []
    assert [codec.name for codec in only_read[1]] == ["zlib", "aes-gcm"], "what was written before is read"
    assert [codec.name for codec in readers] == ["zlib", "aes-gcm"]


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("aes-gcm", "has no key"),
        ("gzip", "may name zlib, aes-gcm"),
        ("nowhere:codec", "cannot be imported"),
        ("tenuto.codecs:nothing", "cannot be imported"),
        ("tenuto.codecs:zlib", "is no PayloadCodec"),
    ],
)
def test_a_chain_that_cannot_be_made_is_told(chain: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_codecs(chain, None)
