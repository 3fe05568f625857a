"""`tenuto publish`, on the in-process broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.protocol import Broker, Delivery, QueueSpec
from tenuto.errors import UsageError
from tenuto.messages import StartMessage
from tenuto.naming import Names
from tenuto_gateway.cli import publishing
from tenuto_gateway.cli.command import Shared
from tenuto_gateway.cli.parameters import read_event


async def test_a_start_takes_a_time_and_a_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    server, arrived = MemoryServer(), asyncio.Queue[Delivery]()
    broker = MemoryBroker(server)
    await broker.open()
    await broker.declare([QueueSpec(name=Names().start)])

    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[Broker]:
        yield broker

    def lost(reason: str) -> None:
        raise AssertionError(reason)

    monkeypatch.setattr(publishing, "open_broker", opened)
    await broker.subscribe(Names().start, arrived.put_nowait, prefetch=10, on_lost=lost)
    await publishing._publish(
        Shared(), "fulfil", start_at=datetime(2100, 1, 1, 2, tzinfo=UTC), event='paid={"by": "Ada=B"}'
    )
    message = msgspec.json.decode((await arrived.get()).body, type=StartMessage)
    assert message.start_at == datetime(2100, 1, 1, 2, tzinfo=UTC)
    assert message.event is not None
    assert (message.event.name, msgspec.json.decode(message.event.payload)) == ("paid", {"by": "Ada=B"})
    await broker.close()


@pytest.mark.parametrize(
    ("given", "event"),
    [(None, None), ("go", ("go", None)), ("go=0", ("go", 0)), ('a b="x=y"', ("a b", "x=y"))],
)
def test_events_as_options(given: str | None, event: tuple[str, object] | None) -> None:
    assert read_event(given) == event


@pytest.mark.parametrize(
    ("given", "words"), [("=1", "not of the form"), ("go=", "'go=.text.'"), ("go=x", "not JSON")]
)
def test_what_is_no_event(given: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_event(given)
