"""The seam at which payloads leave a process and come into one."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from pydantic import SecretStr

from tenuto import messages
from tenuto.codecs import Compression, Encryption
from tenuto.core import events, letters
from tenuto.core.events import ActivityCompleted, Failure, TimerFired
from tenuto.core.letters import FirstEvent
from tenuto.errors import PayloadError, SettingsError
from tenuto.payloads import decode, encode, is_sealed
from tenuto.sealing import Sealer, make_sealer
from tenuto.settings import Settings

KEY = b"k" * 32
PLAIN = msgspec.Raw(b'{"card":"4111 1111"}')
FAILURE = Failure(
    type="CardError",
    message="4111 1111 refused",
    stack="line 4111 1111",
    cause=Failure(type="E", message="4111 1111"),
    retryable=False,
)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer([Compression(), Encryption({"k1": KEY})])


def kinds() -> Iterator[type[msgspec.Struct]]:
    """Every event, letter and message there is."""
    for module in (events, letters, messages):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, msgspec.Struct) and kind is not Failure:
                yield kind


def filled(kind: type[msgspec.Struct]) -> msgspec.Struct | None:
    """One with a payload in every field that takes one; None: it takes none. Other fields matter to nobody here."""
    values: dict[str, Any] = {}
    taken = False
    for name, hint in get_type_hints(kind).items():
        if hint is msgspec.Raw:
            values[name], taken = PLAIN, True
        elif Failure in {hint, *get_args(hint)}:
            values[name], taken = FAILURE, True
        elif FirstEvent in {hint, *get_args(hint)}:
            values[name] = FirstEvent(name="news", payload=PLAIN)
        elif name in {field.name for field in msgspec.structs.fields(kind) if field.required}:
            values[name] = "x"
    return kind(**values) if taken else None


def test_whatever_holds_a_payload_or_a_failure_is_sealed_whole(sealer: Sealer) -> None:
    """Neither the broker nor the database sees plain data: no event, letter or message was forgotten."""
    structs = [struct for kind in dict.fromkeys(kinds()) if (struct := filled(kind)) is not None]
    assert len(structs) > 20
    for struct in structs:
        sealed = sealer.seal(struct, "order-17")
        assert b"4111" not in msgspec.json.encode(sealed), type(struct)
        assert sealer.open(sealed, "order-17") == struct
        assert sealer.seal(sealed, "order-17") is sealed


def test_without_codecs_nothing_is_touched() -> None:
    plain = Sealer()
    event = ActivityCompleted(command=1, result=PLAIN)
    assert plain.is_plain
    assert plain.seal(event, "i") is event
    assert plain.open(event, "i") is event
    assert plain.seal_payload(PLAIN, "i") is PLAIN
    assert plain.seal_failure(FAILURE, "i") is FAILURE


def test_what_is_sealed_stays_as_it_is(sealer: Sealer) -> None:
    done = sealer.seal(ActivityCompleted(command=1, result=PLAIN), "i")
    assert sealer.seal(done, "i") is done
    fired = TimerFired(command=1)
    assert sealer.seal(fired, "i") is fired


def test_a_sealed_failure_tells_its_type_and_nothing_else(sealer: Sealer) -> None:
    sealed = sealer.seal_failure(FAILURE, "i")
    assert (sealed.type, sealed.retryable, sealed.message) == ("CardError", False, "(sealed)")
    assert (sealed.stack, sealed.cause) == ("", None)
    assert sealer.open_failure(sealed, "i") == FAILURE


def test_compression_alone_leaves_failures_readable() -> None:
    compressing = Sealer([Compression(minimum=1)])
    assert compressing.seal_failure(FAILURE, "i") is FAILURE
    large = encode("x" * 10_000)
    sealed = compressing.seal_payload(large, "i")
    assert len(sealed) < 200
    assert compressing.open_payload(sealed, "i") == large
    assert Sealer(readers=[Compression()]).open_payload(sealed, "elsewhere") == large


@pytest.mark.parametrize("value", [0, "", False, None, [], {}])
def test_falsy_payloads_stay_as_sent(sealer: Sealer, value: object) -> None:
    payload = encode(value)
    sealed = sealer.seal_payload(payload, "i")
    assert is_sealed(sealed)
    assert decode(sealer.open_payload(sealed, "i")) == value


def test_an_envelope_belongs_to_its_place(sealer: Sealer) -> None:
    sealed = sealer.seal_payload(PLAIN, "order-17")
    with pytest.raises(PayloadError, match="'order-18' cannot be decrypted"):
        sealer.open_payload(sealed, "order-18")


def test_a_missing_codec_is_named_with_the_remedy(sealer: Sealer) -> None:
    sealed = sealer.seal_payload(PLAIN, "i")
    with pytest.raises(
        PayloadError, match="codec 'aes-gcm', which this process does not have: set TENUTO_PAYLOAD_CODEC"
    ):
        Sealer().open_payload(sealed, "i")
    with pytest.raises(PayloadError, match="sealed, and this process cannot open it"):
        decode(sealed)


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"$tenuto":',
        b'{"$tenuto":1}',
        b'{"$tenuto":"1","codecs":[],"data":""}',
        b'{"$tenuto":1,"codecs":["zlib"],"data":"!"}',
        b'{"$tenuto":1,"codecs":["zlib"],"data":"eA=="}',
        b'{"$tenuto":1,"codecs":[],"data":"' + base64.b64encode(b'1,"x":2') + b'"}',
        b'{"$tenuto":1,"codecs":[],"data":"' + base64.b64encode(b"[" * 5000) + b'"}',
        b'{"$tenuto":1,"codecs":[],"data":"' + base64.b64encode(b"\xff") + b'"}',
    ],
)
def test_a_damaged_envelope_is_told(damaged: bytes) -> None:
    with pytest.raises(PayloadError, match="damaged"):
        Sealer(readers=[Compression()]).open_payload(msgspec.Raw(damaged + b" "), "i")


def test_an_envelope_of_a_newer_release_is_told() -> None:
    with pytest.raises(PayloadError, match="newer release"):
        Sealer().open_payload(msgspec.Raw(b'{"$tenuto":2,"codecs":[],"data":"","more":1}'), "i")


def test_no_value_of_a_users_looks_like_an_envelope() -> None:
    with pytest.raises(PayloadError, match="reserved"):
        encode({"$tenuto": 1})
    assert decode(encode({"a": {"$tenuto": 1}})) == {"a": {"$tenuto": 1}}


def test_each_codec_of_a_chain_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        Sealer([Compression(), Compression()])


def test_the_settings_make_a_sealer_and_keep_its_keys_to_themselves() -> None:
    keys = f"k1:{base64.b64encode(KEY).decode()}"
    settings = Settings(payload_codec="zlib,aes-gcm", payload_keys=SecretStr(keys))
    assert keys not in repr(settings)
    sealed = make_sealer(settings).seal_payload(PLAIN, "i")
    assert make_sealer(settings, [Compression()]).open_payload(sealed, "i") == PLAIN, (
        "keys given are for reading too"
    )
    assert make_sealer(Settings()).is_plain
    with pytest.raises(SettingsError, match="has no key"):
        make_sealer(Settings(payload_codec="aes-gcm"))
