"""Values as JSON and back."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import PayloadError
from tenuto.payloads import NULL, decode, encode


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Item:
    name: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


class Struct(msgspec.Struct):
    number: int
    item: Item | None = None


class Model(pydantic.BaseModel):
    name: str
    number: int = 0
    at: datetime | None = None
    ratio: float = 1.0


class Other(pydantic.BaseModel):
    flavour: str


@dataclass
class Mixed:
    model: Model
    models: list[Model]
    items: dict[str, Item]


class Strange:
    pass


naive_or_utc = st.datetimes(timezones=st.just(UTC))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
items = st.builds(Item, name=st.text(), price=decimals, tags=st.sets(st.text(), max_size=3))
models = st.builds(Model, name=st.text(), number=st.integers(), at=st.none() | naive_or_utc, ratio=floats)
mixtures = st.builds(
    Mixed,
    model=models,
    models=st.lists(models, max_size=2),
    items=st.dictionaries(st.text(), items, max_size=2),
)
ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, floats),
    (bool, st.booleans()),
    (str, st.text()),
    (bytes, st.binary()),
    (type(None), st.none()),
    (datetime, naive_or_utc),
    (date, st.dates()),
    (timedelta, st.timedeltas(min_value=timedelta(days=-(10**6)), max_value=timedelta(days=10**6))),
    (UUID, st.uuids()),
    (Decimal, decimals),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Item, items),
    (Struct, st.builds(Struct, number=st.integers(), item=st.none() | items)),
    (Model, models),
    (list[Item], st.lists(items, max_size=3)),
    (dict[str, Model], st.dictionaries(st.text(), models, max_size=2)),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (Model | None, st.none() | models),
    (Model | Other, models | st.builds(Other, flavour=st.text())),
    (Annotated[list[int], {"not": "hashable"}], st.lists(st.integers())),
    (Mixed, mixtures),
]
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(("hint", "values"), ROUND_TRIPS, ids=[str(hint) for hint, _ in ROUND_TRIPS])
def test_round_trips(hint: Any, values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def same(value: Any) -> None:
        again = decode(encode(value), hint)
        assert again == value
        assert type(again) is type(value)

    same()


@given(plain_json)
def test_plain_json_needs_no_hint(value: Any) -> None:
    assert decode(encode(value)) == value
    assert decode(bytes(encode(value)), Any) == value


def test_null() -> None:
    assert bytes(NULL) == b"null"
    assert decode(NULL) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "nan at $ is no JSON number"),
        ({"a": [1.0, math.inf]}, "inf at $['a'][1]"),
        (Model(name="x", ratio=math.nan), "nan at $.ratio"),
        ([Item("a", Decimal(1)), Struct(1, Item("b", Strange()))], "type Strange at $[1].item.price"),  # type: ignore[arg-type]  # what is tested
        (Strange(), "type Strange at $ cannot become JSON"),
        ({"a": {"b": (1, Strange())}}, "type Strange at $['a']['b'][1]"),
        ({(1, 2): 3}, "the key (1, 2) (a tuple) at $ cannot"),
        ("\ud800", "the string at $ is not valid Unicode"),
        ({"a": {"\ud800": 1}}, "(a str) at $['a'] cannot be the name"),
    ],
)
def test_what_json_cannot_carry_is_an_error_that_says_where(value: Any, words: str) -> None:
    with pytest.raises(PayloadError) as raised:
        encode(value)
    assert words in str(raised.value)


def test_a_cycle_is_an_error() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(PayloadError, match="nested too deeply, or holds itself"):
        encode(cycle)


def test_null_is_no_reason_to_refuse() -> None:
    assert decode(encode({"a": None, "b": "null", "c": [1.5, None]})) == {
        "a": None,
        "b": "null",
        "c": [1.5, None],
    }


@pytest.mark.parametrize(
    ("raw", "hint", "words"),
    [
        (b'"3"', int, "Expected `int`, got `str`"),
        (b'{"name":"x","number":"3"}', Model, "valid integer - at `$.number`"),
        (b'{"model":{"name":1},"models":[],"items":{}}', Mixed, "$.model"),
        (b'{"name":"x","price":"y"}', Item, "Item"),
        (b'{"taste":1}', Model | Other, "`$.Model.name`"),
        (b'"green"', Colour, "Invalid enum value"),
        (b"null", Item, "Expected `object`, got `null`"),
        (b"{", dict, "is no JSON"),
        (b"", Any, "is no JSON"),
        (b"\xff", str, "is no JSON"),
        (b"1", Strange, "JSON cannot become a Strange"),
        (b"5", type(None), "Expected `null`"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where(raw: bytes, hint: Any, words: str) -> None:
    with pytest.raises(PayloadError) as raised:
        decode(raw, hint)
    assert words in str(raised.value)


def test_a_hint_that_nothing_can_read_is_an_error() -> None:
    with pytest.raises(PayloadError, match="cannot be read from JSON"):
        decode(b"1", Strange | Struct)


def test_models_are_read_strictly_but_dates_from_text() -> None:
    model = decode(b'{"name":"x","at":"2026-01-02T03:04:05Z"}', Model)
    assert model.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    mixed = decode(b'{"model":{"name":"x","at":"2026-01-02T03:04:05Z"},"models":[],"items":{}}', Mixed)
    assert mixed.model == model


def test_unknown_fields_are_ignored() -> None:
    assert decode(b'{"name":"x","price":"1","more":[]}', Item) == Item("x", Decimal(1))


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    user_id: int = pydantic.Field(alias="userId")
    other: str = pydantic.Field(validation_alias=pydantic.AliasChoices("o", "other_name"), default="")

    @pydantic.computed_field  # type: ignore[prop-decorator] - mypy does not support it
    @property
    def double(self) -> int:
        return self.user_id * 2


@dataclass
class HoldsAliased:
    one: Aliased
    many: list[Aliased]


def test_aliases_and_computed_fields_come_back() -> None:
    model = Aliased.model_validate({"userId": 1, "o": "x"})
    assert msgspec.json.decode(encode(model)) == {"userId": 1, "other": "x"}
    assert decode(encode(model), Aliased) == model
    assert decode(b'{"user_id": 1, "other_name": "x"}', Aliased) == model, "read by name, too"
    assert decode(encode(HoldsAliased(model, [model])), HoldsAliased) == HoldsAliased(model, [model])
    assert decode(encode([model]), list[Aliased | Other]) == [model]


class Secretive(pydantic.BaseModel):
    name: str = "******"
    password: pydantic.SecretStr
    inner: list[Secretive] = []


class Open(pydantic.BaseModel):
    password: pydantic.SecretStr
    key: pydantic.SecretBytes

    @pydantic.field_serializer("password", "key")
    def reveal(self, secret: pydantic.SecretStr | pydantic.SecretBytes) -> str | bytes:
        return secret.get_secret_value()


def test_secrets_are_refused_rather_than_masked() -> None:
    secretive = Secretive(password=pydantic.SecretStr("pw"))
    with pytest.raises(PayloadError, match=r"the secret at \$\.password would be written as asterisks"):
        encode(secretive)
    with pytest.raises(PayloadError, match=r"the secret at \$\.inner\[0\]\.password"):
        encode({"k": [Secretive(password=pydantic.SecretStr(""), inner=[secretive])]})


def test_secrets_with_a_serializer_of_their_own_pass() -> None:
    revealed = Open(password=pydantic.SecretStr("p**"), key=pydantic.SecretBytes(b"k"))
    assert decode(encode(revealed), Open) == revealed


class Binary(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    body: bytes


class Textual(pydantic.BaseModel):
    body: bytes


def test_bytes_in_models() -> None:
    assert decode(encode(Binary(body=b"\xff")), Binary) == Binary(body=b"\xff")
    with pytest.raises(PayloadError, match=r"ser_json_bytes"):
        encode(Textual(body=b"\xff"))


@dataclass
class Breaks:
    number: int

    def __post_init__(self) -> None:
        raise KeyError("no such number")


class BreaksToo(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def breaks(cls, value: int) -> int:
        raise LookupError(value)

    @pydantic.model_serializer
    def breaks_as_well(self) -> dict[str, Any]:
        raise LookupError("written")


@pytest.mark.parametrize("hint", [Breaks, BreaksToo, list[Breaks], list[BreaksToo], Breaks | None])
def test_whatever_a_type_of_the_users_raises_is_a_payload_error(hint: Any) -> None:
    body = b'{"number": 1}' if not str(hint).startswith("list") else b'[{"number": 1}]'
    with pytest.raises(PayloadError, match=r"does not fit .*(KeyError: 'no such number'|LookupError: 1)"):
        decode(body, hint)


def test_whatever_a_serializer_of_the_users_raises_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="written"):
        encode([BreaksToo.model_construct(number=1)])
