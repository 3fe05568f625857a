"""DESIGN: inputs and results are converted by their type hints, whatever those are; falsy payloads arrive as sent."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, NewType, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from tenuto.payloads import decode, encode

T = TypeVar("T")
OrderId = NewType("OrderId", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Item:
    name: str
    price: Decimal
    colour: Colour = Colour.RED
    photo: bytes = b""


class Parcel(msgspec.Struct):
    items: list[Item]
    size: Size
    sent: datetime | None = None


class Model(BaseModel):
    id: UUID
    due: date
    patience: timedelta
    tags: set[str]


class Box(msgspec.Struct, Generic[T]):
    content: T


class Crate(BaseModel, Generic[T]):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    content: T


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is added
spans = st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000))
items = st.builds(Item, text, decimals, st.sampled_from(Colour), st.binary(max_size=20))
parcels = st.builds(Parcel, st.lists(items, max_size=3), st.sampled_from(Size), st.none() | moments)
models = st.builds(Model, id=st.uuids(), due=st.dates(), patience=spans, tags=st.sets(text, max_size=3))

SIMPLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bytes, st.binary(max_size=50)),
    (UUID, st.uuids()),
    (Decimal, decimals),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, spans),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (int, st.integers(-(2**63), 2**63 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, text),
    (Item, items),
    (Parcel, parcels),
    (Model, models),
    (OrderId, st.integers(0, 1000)),
    (type(None), st.none()),
]


def within(pair: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """The type, bare and in containers and generics, each with a value of it."""
    hint, values = pair
    shapes: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (hint, values),
        (list[hint], st.lists(values, max_size=3)),
        (tuple[hint, ...], st.lists(values, max_size=3).map(tuple)),
        (tuple[hint, int], st.tuples(values, st.integers(0, 9))),
        (dict[str, hint], st.dictionaries(text, values, max_size=3)),
        (hint | None, st.none() | values),
        (Box[hint], values.map(lambda value: Box(content=value))),
    ]
    if hint not in (
        Item,
        Parcel,
    ):  # pydantic refuses structs, and has its own mind about bytes in dataclasses
        shapes.append((Crate[hint], values.map(lambda value: Crate[hint](content=value))))
    if hint not in (Item, Parcel, Model):  # those are not hashable
        shapes.append((frozenset[hint], st.frozensets(values, max_size=3)))
    return st.one_of([strategy.map(lambda value, hint=shape: (hint, value)) for shape, strategy in shapes])


@pytest.mark.semantics("the type that the hint names")
@given(case=st.sampled_from(SIMPLE).flatmap(within))
@settings(max_examples=600, deadline=None)
def test_a_value_comes_back_as_the_type_that_the_hint_names(case: tuple[Any, Any]) -> None:
    hint, value = case
    back = decode(encode(value), hint)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [0, "", False, None, [], {}, 0.0])
def test_falsy_payloads_come_back_as_sent(value: object) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Item(name="x", price=Decimal(1)), int | Item),
        (3, int | Item),
        ("text", str | list[int]),
        ([1], str | list[int]),
        (Model(id=UUID(int=1), due=date(2026, 1, 1), patience=timedelta(1), tags=set()), Model | None),
    ],
)
def test_unions_come_back_as_the_member_that_was_sent(value: object, hint: Any) -> None:
    assert decode(encode(value), hint) == value
