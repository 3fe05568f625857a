"""Sealing: the seam at which payloads leave a process, and come into one.

Inside a process payloads are plain JSON. What is stored or sent (events, letters, messages, the rows of instances)
holds, in place of a payload that the codecs have changed, an envelope that names them:

    {"$tenuto":1,"codecs":["zlib","aes-gcm"],"data":"…base64…"}

An envelope is JSON itself, so whatever only carries payloads need not know of it. No value of a user's begins like
one (`payloads.encode` sees to it). An envelope is bound to its *place*, the instance whose payload it is: letters are
sealed for whom they are sent to.

A `Sealer` does it for whole structs: every field that holds a payload or a failure, whatever struct it is, so that none
can be forgotten.
"""

from __future__ import annotations

import base64
import binascii
import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar, get_args, get_type_hints

import msgspec

from tenuto.codecs import PayloadCodec, make_codecs
from tenuto.core.documents import read_document
from tenuto.core.events import Failure
from tenuto.errors import PayloadSealedError
from tenuto.payload_store import DATABASE, PayloadStore, make_payload_store
from tenuto.payloads import is_sealed
from tenuto.shelf import Section, Shelf, owner_of

__all__ = ["Sealer", "make_sealer", "make_shelf", "reference", "references"]

S = TypeVar("S", bound=msgspec.Struct)

_NO_OBJECTS: Mapping[str, bytes] = MappingProxyType({})
_SEALED_MESSAGE = "(sealed)"


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class _CodecSettings(Protocol):
    @property
    def payload_codec(self) -> str | None: ...
    @property
    def payload_keys(self) -> _Secret | None: ...


class _StoreSettings(Protocol):
    @property
    def payload_store(self) -> str | None: ...
    @property
    def payload_threshold(self) -> int: ...
    @property
    def namespace(self) -> str: ...


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    version: int = msgspec.field(name="$tenuto")
    codecs: list[str]
    """Those that made `data`, in the order in which they were applied."""
    data: str | None = None
    """Base64. Or else:"""
    key: str | None = None
    """Where the data are in the payload store."""


class _FailureText(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a failure that may hold users' data."""

    message: str
    stack: str = ""
    cause: Failure | None = None


_VERSION = 1
_envelope: msgspec.json.Decoder[_Envelope] = msgspec.json.Decoder(_Envelope)
_text: msgspec.json.Decoder[_FailureText] = msgspec.json.Decoder(_FailureText)
_plain: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)
_encoder = msgspec.json.Encoder()


class Sealer:
    """Seals what leaves the process, and opens what comes in. Without codecs it changes nothing."""

    def __init__(self, codecs: Sequence[PayloadCodec] = (), *, readers: Sequence[PayloadCodec] = ()) -> None:
        """`codecs` are applied in this order. `readers` besides them read what was written before.

        Raises:
            ValueError: two codecs have one name.
        """
        self._codecs = tuple(codecs)
        self._readers: Mapping[str, PayloadCodec] = {codec.name: codec for codec in (*readers, *codecs)}
        if len({codec.name for codec in codecs}) < len(self._codecs):
            raise ValueError("each codec of a chain needs a name of its own")
        self._secret = any(codec.secret for codec in codecs)

    @property
    def is_plain(self) -> bool:
        """Whether it seals nothing."""
        return not self._codecs

    # Payloads --------------------------------------------------------------------------------------------

    def seal_payload(self, payload: msgspec.Raw, place: str, section: Section | None = None) -> msgspec.Raw:
        """The payload as it may leave the process; one that is sealed stays as it is. Where it is large, it is left to
        the section to be stored apart."""
        large = section is not None and len(payload) > section.threshold
        if not (self._codecs or large) or is_sealed(payload):
            return payload
        data, names = bytes(payload), []
        if large and section is not None and (known := section.known.get(data)) is not None:
            return known
        for codec in self._codecs:
            made = codec.encode(data, place)
            if made is not None:
                data = made
                names.append(codec.name)
        if section is not None and len(data) > section.threshold:
            envelope = _Envelope(version=_VERSION, codecs=names, key=section.add(data))
            sealed = section.known[bytes(payload)] = msgspec.Raw(_encoder.encode(envelope))
            return sealed
        if not names:
            return payload
        envelope = _Envelope(version=_VERSION, codecs=names, data=base64.b64encode(data).decode())
        return msgspec.Raw(_encoder.encode(envelope))

    def open_payload(
        self, payload: msgspec.Raw, place: str, objects: Mapping[str, bytes] = _NO_OBJECTS
    ) -> msgspec.Raw:
        """The payload as plain JSON; one that is not sealed stays as it is. `objects` are what `references` named.

        Raises:
            PayloadSealedError: it is damaged or of another place, or this process lacks a codec or a key.
        """
        if not is_sealed(payload):
            return payload
        envelope = _read_envelope(payload, place)
        data = _data_of(envelope, place, objects)
        for name in reversed(envelope.codecs):
            codec = self._readers.get(name)
            if codec is None:
                raise PayloadSealedError(
                    f"a payload of {place!r} was written by the codec {name!r}, which this process does not have: set "
                    "TENUTO_PAYLOAD_CODEC and TENUTO_PAYLOAD_KEYS as those that wrote it have them"
                )
            data = codec.decode(data, place)
        try:  # whatever a codec lets through becomes a part of other documents
            return read_document(_plain, data)
        except msgspec.DecodeError as error:
            raise PayloadSealedError(f"a sealed payload of {place!r} is damaged: {error}") from error

    def open_bytes(
        self, payload: bytes | None, place: str, objects: Mapping[str, bytes] = _NO_OBJECTS
    ) -> bytes | None:
        """As `open_payload`, for a column of an instance's row."""
        if payload is None or not is_sealed(payload):
            return payload
        return bytes(self.open_payload(msgspec.Raw(payload), place, objects))

    # Structs ---------------------------------------------------------------------------------------------

    def seal(self, struct: S, place: str, section: Section | None = None) -> S:
        """The event, letter or message with every payload sealed and, where a codec is secret, every failure too."""
        if not self._codecs and section is None:
            return struct
        changed: dict[str, object] = {}
        payloads, failures, structs = _fields(type(struct))
        for name in structs:
            part = getattr(struct, name)
            if part is not None and (kept := self.seal(part, place, section)) is not part:
                changed[name] = kept
        for name in payloads:
            payload = getattr(struct, name)
            if payload is None:
                continue
            if (sealed := self.seal_payload(payload, place, section)) is not payload:
                changed[name] = sealed
        if self._secret:
            for name in failures:
                failure = getattr(struct, name)
                if failure is not None and (told := self.seal_failure(failure, place)) is not failure:
                    changed[name] = told
        return msgspec.structs.replace(struct, **changed) if changed else struct

    def open(self, struct: S, place: str, objects: Mapping[str, bytes] = _NO_OBJECTS) -> S:
        """The inverse of `seal`. Raises as `open_payload`."""
        changed: dict[str, object] = {}
        payloads, failures, structs = _fields(type(struct))
        for name in structs:
            part = getattr(struct, name)
            if part is not None and (kept := self.open(part, place, objects)) is not part:
                changed[name] = kept
        for name in payloads:
            payload = getattr(struct, name)
            if payload is None:
                continue
            if (opened := self.open_payload(payload, place, objects)) is not payload:
                changed[name] = opened
        for name in failures:
            failure = getattr(struct, name)
            if failure is not None and failure.sealed is not None:
                changed[name] = self.open_failure(failure, place)
        return msgspec.structs.replace(struct, **changed) if changed else struct

    def seal_failure(self, failure: Failure, place: str) -> Failure:
        """The failure with its message, stack and causes sealed, where a codec is secret. Its type stays readable, and
        so does one that says that a payload cannot be opened: whoever reads it may not have the key either."""
        if not self._secret or failure.sealed is not None or failure.type == PayloadSealedError.__name__:
            return failure
        text = _FailureText(message=failure.message, stack=failure.stack, cause=failure.cause)
        sealed = self.seal_payload(msgspec.Raw(_encoder.encode(text)), place)
        return Failure(type=failure.type, message=_SEALED_MESSAGE, retryable=failure.retryable, sealed=sealed)

    def open_failure(self, failure: Failure, place: str) -> Failure:
        """The inverse of `seal_failure`. Raises as `open_payload`."""
        if failure.sealed is None:
            return failure
        try:
            text = read_document(_text, bytes(self.open_payload(failure.sealed, place)))
        except msgspec.DecodeError as error:
            raise PayloadSealedError(f"a sealed failure of {place!r} is damaged: {error}") from error
        return msgspec.structs.replace(
            failure, message=text.message, stack=text.stack, cause=text.cause, sealed=None
        )


def references(struct: msgspec.Struct) -> list[str]:
    """The keys of a struct's payloads that are stored apart: what `open` wants."""
    sealed = [getattr(struct, name) for name in _fields(type(struct)).payloads]
    return [key for payload in sealed if payload is not None and (key := reference(payload)) is not None]


def reference(payload: msgspec.Raw | bytes) -> str | None:
    """The key of a payload that is stored apart; None: it is not."""
    if not is_sealed(payload):
        return None
    try:
        return read_document(_envelope, bytes(payload)).key
    except msgspec.DecodeError:
        return None  # whoever opens it will say so


def _read_envelope(payload: msgspec.Raw, place: str) -> _Envelope:
    try:
        envelope = read_document(_envelope, bytes(payload))
    except msgspec.DecodeError as error:
        raise PayloadSealedError(f"a sealed payload of {place!r} is damaged: {error}") from error
    if envelope.version != _VERSION:
        raise PayloadSealedError(f"a payload of {place!r} was sealed by a newer release")
    return envelope


def _data_of(envelope: _Envelope, place: str, objects: Mapping[str, bytes]) -> bytes:
    key = envelope.key
    if key is None:
        try:
            return base64.b64decode(envelope.data or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise PayloadSealedError(f"a sealed payload of {place!r} is damaged: {error}") from error
    owner = owner_of(key)
    if owner is None or owner.instance != place:
        raise PayloadSealedError(f"a payload of {place!r} refers to an object that is not of that instance")
    if key not in objects:
        raise PayloadSealedError(
            f"a payload of {place!r} is stored apart, as {key}, and not found: is TENUTO_PAYLOAD_STORE the one that "
            "those who wrote it have?"
        )
    return objects[key]


class _Fields(NamedTuple):
    payloads: tuple[str, ...]
    failures: tuple[str, ...]
    structs: tuple[str, ...]
    """Those that hold a struct which has some itself."""


@cache
def _fields(kind: type[msgspec.Struct]) -> _Fields:
    """The names of a struct's fields that are to be sealed."""
    payloads, failures, structs = [], [], []
    for name, hint in get_type_hints(kind).items():
        kinds = {hint, *get_args(hint)}
        if msgspec.Raw in kinds:
            payloads.append(name)
        elif Failure in kinds:
            failures.append(name)
        elif any(
            inspect.isclass(one) and issubclass(one, msgspec.Struct) and any(_fields(one)) for one in kinds
        ):
            structs.append(name)
    return _Fields(tuple(payloads), tuple(failures), tuple(structs))


def make_sealer(settings: _CodecSettings, codecs: Sequence[PayloadCodec] | None = None) -> Sealer:
    """The sealer of a process: with these codecs, or with those that the settings name.

    Raises:
        SettingsError: the settings name a codec that there is not, or lack a key.
    """
    keys = None if settings.payload_keys is None else settings.payload_keys.get_secret_value()
    writers, readers = make_codecs(settings.payload_codec if codecs is None else None, keys)
    return Sealer(writers if codecs is None else codecs, readers=readers)


def make_shelf(
    settings: _StoreSettings, store: PayloadStore | None = None, *, database: object | None = None
) -> Shelf:
    """The shelf of a process: over this store, or over that which the settings name, which may be its `database`.

    Raises:
        SettingsError: the settings name a store that cannot be used.
    """
    return Shelf(
        make_payload_store(settings.payload_store, database) if store is None else store,
        threshold=settings.payload_threshold,
        namespace=settings.namespace,
        for_workers=store is not None or settings.payload_store != DATABASE,
    )
