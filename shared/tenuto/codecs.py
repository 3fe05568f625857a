"""Payload codecs: what becomes of payloads before they leave a process, and how they are read again.

A chain of codecs is set with `TENUTO_PAYLOAD_CODEC`, for every process that handles payloads: clients, orchestrators,
workers. Each payload names the codecs that made it, so that a chain can be changed at any time: what was written before
is read by those that it names.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import secrets
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from tenuto.errors import PayloadSealedError, SettingsError

__all__ = ["Compression", "Encryption", "PayloadCodec", "make_codecs", "parse_keys"]

_MAX_DECOMPRESSED = 256 * 1024 * 1024
"""Bytes that a compressed payload may come to: a few kilobytes could else fill the memory."""
_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_SIZES = frozenset({16, 24, 32})
_MAX_KEY_ID = 64


@runtime_checkable
class PayloadCodec(Protocol):
    """Makes other bytes of a payload's, and the same bytes again of those.

    It is called on the event loop, hence must be quick and never wait; what it makes is read by any other process that
    has it, for as long as the payload is kept.
    """

    @property
    def name(self) -> str:
        """Kept with each payload that it made, and never given to another codec."""
        ...

    @property
    def secret(self) -> bool:
        """Whether nobody can read what it makes without a key. Then failures' messages go through it too."""
        ...

    def encode(self, data: bytes, place: str) -> bytes | None:
        """The other bytes; None: this payload is better left as it is. `place` is the id of the instance whose payload
        it is."""
        ...

    def decode(self, data: bytes, place: str) -> bytes:
        """The bytes that `encode` was given with the same `place`.

        Raises:
            PayloadSealedError: they are not what this codec made for that place, or it lacks the key. The message says
                what to do, and nothing about the data.
        """
        ...


class Compression:
    """zlib, for payloads that become smaller by it."""

    name = "zlib"
    secret = False

    def __init__(self, *, level: int = 6, minimum: int = 1024) -> None:
        """`level`: 1 (fast) to 9 (small). `minimum`: payloads of fewer bytes are left as they are."""
        self._level = level
        self._minimum = minimum

    def encode(self, data: bytes, place: str) -> bytes | None:
        del place
        if len(data) < self._minimum:
            return None
        made = zlib.compress(data, self._level)
        return made if len(made) < len(data) else None

    def decode(self, data: bytes, place: str) -> bytes:
        del place
        unpacker = zlib.decompressobj()
        try:
            made = unpacker.decompress(data, _MAX_DECOMPRESSED)
        except zlib.error as error:
            raise PayloadSealedError(f"a compressed payload is damaged: {error}") from error
        if not unpacker.eof or unpacker.unused_data:
            raise PayloadSealedError("a compressed payload is damaged, or larger than any payload may be")
        return made


class Encryption:
    """Authenticated encryption with AES-GCM, bound to the instance: a payload that was changed, or taken over from
    another instance, is refused.

    Keys have ids, so that they can be rotated: the first encrypts, all decrypt. Each payload takes a random nonce of 96
    bits; retire a key before it has encrypted 2**32 payloads (NIST SP 800-38D). Needs `tenuto[encryption]`.
    """

    name = "aes-gcm"
    secret = True

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`, newest first: by id, of 16, 24 or 32 bytes each.

        Raises:
            SettingsError: there is no key, or one has another size, or `cryptography` is not installed.
        """
        if not keys:
            raise SettingsError("Encryption needs a key: TENUTO_PAYLOAD_KEYS has none.")
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingsError(
                "Encryption of payloads needs the library cryptography: install tenuto[encryption]."
            ) from None
        for key_id, key in keys.items():
            if not 1 <= len(key_id.encode()) <= _MAX_KEY_ID:
                raise SettingsError(f"The id of a payload key needs 1 to {_MAX_KEY_ID} bytes of UTF-8.")
            if len(key) not in _KEY_SIZES:
                raise SettingsError(
                    f"The payload key {key_id!r} has {len(key)} bytes, and AES needs 16, 24 or 32."
                )
        self._ciphers: Mapping[str, Any] = MappingProxyType(
            {key_id: AESGCM(key) for key_id, key in keys.items()}
        )
        self._newest = next(iter(keys))

    def encode(self, data: bytes, place: str) -> bytes:
        key_id = self._newest.encode()
        head = _VERSION + bytes([len(key_id)]) + key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed: bytes = self._ciphers[self._newest].encrypt(nonce, data, head + _place(place))
        return head + nonce + sealed

    def decode(self, data: bytes, place: str) -> bytes:
        if data[:1] != _VERSION or len(data) < 2 or len(data) < 2 + data[1] + _NONCE_BYTES:  # noqa: PLR2004 - the two bytes
            raise PayloadSealedError("an encrypted payload is damaged, or of a newer release")
        head, rest = data[: 2 + data[1]], data[2 + data[1] :]
        key_id = head[2:].decode("utf-8", "replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            known = ", ".join(map(repr, self._ciphers))
            raise PayloadSealedError(
                f"a payload is encrypted with the key {key_id!r}, and this process has {known}: "
                "add that key to TENUTO_PAYLOAD_KEYS, behind the newest, and start the process anew"
            )
        nonce, sealed = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            made: bytes = cipher.decrypt(nonce, sealed, head + _place(place))
        except Exception as error:
            # cryptography's InvalidTag, which says nothing more
            raise PayloadSealedError(
                f"a payload of {place!r} cannot be decrypted with the key {key_id!r}: TENUTO_PAYLOAD_KEYS has another "
                "key of that id, or the payload was changed or belongs to another instance"
            ) from error
        return made


def _place(place: str) -> bytes:
    return b"\0" + place.encode(errors="surrogatepass")


def parse_keys(text: str) -> dict[str, bytes]:
    """The keys of `TENUTO_PAYLOAD_KEYS`: `id:base64`, one per line (or with commas between), newest first.

    Raises:
        SettingsError: it is malformed; the message does not show what it holds.
    """
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(text.replace(",", "\n").split(), start=1):
        key_id, colon, encoded = entry.rpartition(":")
        if not colon or key_id in keys:
            raise SettingsError(
                f"TENUTO_PAYLOAD_KEYS: entry {number} is not `id:base64`, with an id of its own."
            )
        try:
            keys[key_id] = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise SettingsError(f"TENUTO_PAYLOAD_KEYS: the key {key_id!r} is not base64.") from None
    return keys


def make_codecs(chain: str | None, keys: str | None) -> tuple[Sequence[PayloadCodec], Sequence[PayloadCodec]]:
    """The codecs of `TENUTO_PAYLOAD_CODEC` and `TENUTO_PAYLOAD_KEYS`: those that write, in order, and those that only
    read what was written before.

    Raises:
        SettingsError: a name is unknown, an object cannot be imported, a key is missing or malformed.
    """
    readers: dict[str, PayloadCodec] = {Compression.name: Compression()}
    if keys:
        readers[Encryption.name] = Encryption(parse_keys(keys))
    writers = [_named(name.strip(), readers) for name in (chain or "").split(",") if name.strip()]
    return writers, list(readers.values())


def _named(name: str, known: Mapping[str, PayloadCodec]) -> PayloadCodec:
    if name == Encryption.name and name not in known:
        raise SettingsError("TENUTO_PAYLOAD_CODEC names aes-gcm, and TENUTO_PAYLOAD_KEYS has no key for it.")
    if name in known:
        return known[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise SettingsError(
            f"TENUTO_PAYLOAD_CODEC names {name!r}; it may name zlib, aes-gcm, or an object of yours as `module:object`."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"TENUTO_PAYLOAD_CODEC: {name!r} cannot be imported: {error}.") from error
    if not isinstance(found, PayloadCodec):
        raise SettingsError(
            f"TENUTO_PAYLOAD_CODEC: {name!r} is no PayloadCodec (name, secret, encode, decode)."
        )
    return found
