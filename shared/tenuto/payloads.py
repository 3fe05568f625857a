"""Users' values as JSON and back, by their type hints.

msgspec does the work, for dataclasses, structs, enums, datetimes, UUID, Decimal, bytes and plain JSON;
pydantic models, at whatever depth, go through its hooks in strict mode, so that `"3"` does not become 3. Where
a hint is one that msgspec cannot express (such as a union of models), pydantic reads it whole.

Of models: fields are written by their aliases, and read by alias or name; computed fields are left out. Secrets
(`SecretStr`) are refused, since pydantic would write asterisks. `bytes` that are no UTF-8 need
`ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")`. JSON does not tell subclasses apart: what a field's
type does not have is not written, and comes back as that type.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from tenuto.core.documents import check_nesting
from tenuto.errors import PayloadError, PayloadSealedError

__all__ = ["NULL", "check_size", "decode", "encode", "is_sealed", "too_large"]

_PLAIN = frozenset({int, bool, type(None)})
_SECRETS = (Secret, SecretBytes, SecretStr)
_BYTES_HINT = (
    'bytes in pydantic models are UTF-8, unless the model has ConfigDict(ser_json_bytes="base64", '
    'val_json_bytes="base64")'
)
_SEAL = b'{"$tenuto":'
NULL = msgspec.Raw(b"null")
"""What a call without an input sends."""


def encode(value: Any) -> msgspec.Raw:
    """A value as JSON.

    Raises:
        PayloadError: it holds something that JSON cannot carry: an object of an unknown type, a NaN or an
            infinity, a string that is no Unicode, a cycle; or it is nested too deeply to be read again. The message
            names the type and the path to it.
    """
    try:
        body = _encoder.encode(value)
        check_nesting(body)
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
        raise PayloadError(_find_fault(value) or f"the value cannot become JSON: {error}") from error
    if body.startswith(_SEAL):
        raise PayloadError("a value whose first member is named '$tenuto' is reserved: name it otherwise")
    # msgspec turns NaN and infinities into null without a word. Values that hold no null need no second look.
    if b"null" in body and (fault := _find_fault(value)) is not None:
        raise PayloadError(fault)
    return msgspec.Raw(body)


def is_sealed(raw: bytes | msgspec.Raw) -> bool:
    """Whether it is no plain payload, but an envelope (`tenuto.sealing`)."""
    return len(raw) > len(_SEAL) and memoryview(raw)[: len(_SEAL)] == _SEAL


def too_large(what: str, size: int, limit: int) -> str:
    """What is said of a payload over the limit, in words that begin with `what`."""
    return (
        f"{what} has {size} bytes, and a payload has {limit} at most: keep the data elsewhere and pass a reference to "
        "it, or raise TENUTO_MAX_PAYLOAD_BYTES"
    )


def check_size(raw: msgspec.Raw, limit: int, what: str) -> msgspec.Raw:
    """The payload itself. Of one that is sealed nobody can tell; it was checked before.

    Raises:
        PayloadError: it has more than `limit` bytes; the message begins with `what`.
    """
    if len(raw) > limit and not is_sealed(raw):
        raise PayloadError(too_large(what, len(raw), limit))
    return raw


def decode(raw: bytes | msgspec.Raw, hint: Any = Any) -> Any:
    """JSON as a value of the type that `hint` says; `Any` gives plain JSON (dict, list, str, int …).

    Raises:
        PayloadError: the document is no JSON, or does not fit the hint; the message says where. Or it is sealed.
    """
    if is_sealed(raw):
        raise PayloadSealedError(
            "the payload is sealed, and this process cannot open it: set TENUTO_PAYLOAD_CODEC and TENUTO_PAYLOAD_KEYS "
            "as those that wrote it have them"
        )
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        reader: Callable[[Any], Any] = _model_reader(hint)
    else:
        try:
            reader = _reader(hint)
        except TypeError:  # the hint is not hashable (Annotated with a mutable argument)
            reader = _make_reader(hint)
    try:
        return reader(raw)
    except ValidationError as error:
        raise PayloadError(f"the payload does not fit {_name(hint)}: {_explain(error)}") from error
    except msgspec.ValidationError as error:
        raise PayloadError(f"the payload does not fit {_name(hint)}: {error}") from error
    except NotImplementedError as error:  # from the hook: the type is none that JSON can become
        raise PayloadError(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError(f"the payload is no JSON that can be read: {error}") from error
    except Exception as error:  # from a validator or `__post_init__` of the user's
        raise PayloadError(
            f"the payload does not fit {_name(hint)}: {type(error).__name__}: {error}"
        ) from error


def _enc_hook(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return msgspec.Raw(_dump_model(value))
    raise NotImplementedError(f"objects of type {type(value).__qualname__} cannot become JSON")


def _dec_hook(kind: type, value: Any) -> Any:
    if issubclass(kind, BaseModel):
        try:
            return kind.model_validate_json(_encoder.encode(value), strict=True, by_alias=True, by_name=True)
        except ValidationError as error:
            raise ValueError(_explain(error)) from error  # msgspec adds the path to it
    raise NotImplementedError(f"JSON cannot become a {kind.__qualname__}")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def _dump_model(model: BaseModel) -> bytes:
    try:
        body = model.model_dump_json(by_alias=True, round_trip=True).encode()
    except PydanticSerializationError as error:
        hint = f"; {_BYTES_HINT}" if "utf-8" in str(error) else ""
        raise PayloadError(f"a {_name(type(model))} cannot become JSON: {error}{hint}") from error
    if b"**" in body and (path := _masked_secret(model, "$", body)) is not None:
        raise PayloadError(
            f"the secret at {path} would be written as asterisks; payloads are kept in the database and go over the "
            "broker, so pass a reference to it, or have a field_serializer write what may be kept"
        )
    return body


def _masked_secret(value: Any, path: str, body: bytes) -> str | None:
    """Where a value holds a secret whose mask is in the JSON instead of it."""
    if isinstance(value, _SECRETS):
        return path if str(value) and msgspec.json.encode(str(value)) in body else None
    paths = (_masked_secret(part, path + step, body) for step, part in _parts(value) or ())
    return next((found for found in paths if found is not None), None)


def _model_reader(model: type[BaseModel]) -> Callable[[Any], Any]:
    return lambda raw: model.model_validate_json(bytes(raw), strict=True, by_alias=True, by_name=True)


def _make_reader(hint: Any) -> Callable[[Any], Any]:
    try:
        return msgspec.json.Decoder(hint, dec_hook=_dec_hook).decode
    except TypeError as error:  # msgspec cannot express this hint
        refused = error
    try:
        adapter = TypeAdapter(hint)
    except PydanticUserError as error:
        raise PayloadError(f"the type hint {_name(hint)} cannot be read from JSON: {refused}") from error
    return lambda raw: adapter.validate_json(bytes(raw), strict=True, by_alias=True, by_name=True)


_reader = lru_cache(maxsize=1024)(_make_reader)


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{fault['msg']} - at `{'.'.join(['$', *map(str, fault['loc'])])}`"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def _find_fault(value: Any) -> str | None:
    """What in a value JSON cannot carry, and where: in words, or None."""
    try:
        return _fault_in(value, "$")
    except RecursionError:
        return "the value is nested too deeply, or holds itself"


def _fault_in(value: Any, path: str) -> str | None:
    if type(value) in _PLAIN:
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value!r} at {path} is no JSON number"
    parts = _parts(value)
    if parts is None:
        return _refusal(value, path)
    if isinstance(value, Mapping) and (fault := _find_bad_key(value, path)) is not None:
        return fault
    faults = (_fault_in(part, path + step) for step, part in parts)
    return next((fault for fault in faults if fault is not None), None)


def _find_bad_key(value: Mapping[Any, Any], path: str) -> str | None:
    for key in value:
        if not (isinstance(key, str) and key.isascii()) and _refusal({key: None}, path) is not None:
            return (
                f"the key {key!r} (a {type(key).__qualname__}) at {path} cannot be the name of a JSON member"
            )
    return None


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What a container holds, each with its step in a path; None for what is no container."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, BaseModel):
        return list(_fields(value, type(value).model_fields))
    if isinstance(value, msgspec.Struct):
        return list(_fields(value, value.__struct_fields__))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return list(_fields(value, [field.name for field in dataclasses.fields(value)]))
    return None


def _fields(value: Any, names: Any) -> list[tuple[str, Any]]:
    return [(f".{name}", getattr(value, name)) for name in names if hasattr(value, name)]


def _refusal(value: Any, path: str) -> str | None:
    """Why a value that holds no others cannot become JSON."""
    if isinstance(value, str) and value.isascii():
        return None
    try:
        _encoder.encode(value)
    except UnicodeEncodeError:
        return f"the string at {path} is not valid Unicode (a lone surrogate)"
    except (TypeError, ValueError, NotImplementedError, OverflowError) as error:
        reason = f": {error}" if str(error) else ""
        return f"a value of type {type(value).__qualname__} at {path} cannot become JSON{reason}"
    return None
