"""Server-sent events, over a real connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tenuto.client import Client
from tenuto.settings import GatewaySettings
from tenuto_gateway.http.server import Gateway
from tests.unit.client.engine import Engine, engine, until


@pytest.fixture
async def served() -> AsyncIterator[tuple[Engine, Client, Gateway, httpx.AsyncClient]]:
    async with engine() as running, running.client(poll=0.01) as client:
        gateway = Gateway(client, GatewaySettings(http_port=0, poll_interval=0.01))
        await gateway.start()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as http:
            yield running, client, gateway, http
        await gateway.stop()


Served = tuple[Engine, Client, Gateway, httpx.AsyncClient]


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_an_instance_is_followed_to_its_end(served: Served) -> None:
    running, client, _, http = served
    handle = await client.start("w", {"a": "line\nbreak"}, instance_id="one")
    async with http.stream("GET", "/api/v1/instances/one/updates") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        name, first = await anext(stream)
        assert (name, first["status"], first["input"]) == ("instance", "RUNNING", {"a": "line\nbreak"})
        await handle.suspend("lunch")
        assert (await anext(stream))[1]["status"] == "SUSPENDED"
        await running.owner.end("one", output=b"[1,\n2]")
        assert (await anext(stream))[1]["output"] == [1, 2]
        assert await anext(stream) == ("end", {"instance_id": "one"})
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_listing_is_followed_by_one_look_for_all(served: Served) -> None:
    running, client, gateway, http = served
    await client.start("w", instance_id="one", tags={"team": "red"})
    path = "/api/v1/updates?tag=team=red"
    async with http.stream("GET", path) as first, http.stream("GET", path) as second:
        streams = [events(first), events(second)]
        assert [(await anext(stream))[1]["instance_id"] for stream in streams] == ["one", "one"]
        assert len(gateway._context.listings._followed) == 1
        handle = await client.start("w", instance_id="two", tags={"team": "red"})
        await client.start("w", instance_id="other")
        assert [(await anext(stream))[1]["instance_id"] for stream in streams] == ["two", "two"]
        await running.owner.end("two")
        assert [(await anext(stream))[1]["status"] for stream in streams] == ["COMPLETED", "COMPLETED"]
        await handle.purge()
        assert [await anext(stream) for stream in streams] == 2 * [("gone", {"instance_id": "two"})]

    async def nobody_follows() -> bool:
        return not gateway._context.listings._followed

    await until(nobody_follows)


async def test_streams_end_when_the_gateway_stops(served: Served) -> None:
    _, client, gateway, http = served
    await client.start("w", instance_id="one")
    async with (
        http.stream("GET", "/api/v1/instances/one/updates") as one,
        http.stream("GET", "/api/v1/updates") as listing,
    ):
        streams = [events(one), events(listing)]
        for stream in streams:
            await anext(stream)
        await gateway.stop()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
