"""The HTTP door: whatever is sent, no request makes a server error, and the engine behind goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto import App, WorkflowContext
from tenuto.settings import ClientSettings, GatewaySettings, OrchestratorSettings
from tenuto_gateway.dev import DevServer
from tenuto_gateway.http.app import application
from tenuto_gateway.http.openapi import openapi

app = App("fuzzed")
BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@app.workflow
async def echo(ctx: WorkflowContext, value: Any) -> Any:
    await ctx.wait_for_external_event("go")
    return value


async def _serve(folder: Path, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]]) -> None:
    """An engine with a gateway that waits for nobody, until it is told to stop."""
    place = {"database_url": f"sqlite+aiosqlite:///{folder}/fuzz.db", "partitions": 2}
    gateway = GatewaySettings(http_port=0, http_max_wait=0.05, http_max_body_bytes=100_000)
    server = DevServer(
        app, OrchestratorSettings(**place), None, ClientSettings(poll_interval=0.05), gateway_settings=gateway
    )
    end = asyncio.Event()
    await server.start()
    try:
        assert server.gateway is not None
        ready.set_result((asyncio.get_running_loop(), end, server.gateway.url))
        await end.wait()
    finally:
        await server.stop()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with the whole engine behind it, on a thread of its own."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()
    folder = tmp_path_factory.mktemp("fuzz")
    thread = threading.Thread(target=lambda: asyncio.run(_serve(folder, ready)), daemon=True)
    thread.start()
    loop, end, url = ready.result(timeout=60)
    httpx.post(
        f"{url}/api/v1/instances", json={"workflow": "echo", "instance_id": "there"}
    ).raise_for_status()
    yield url
    try:
        assert httpx.get(f"{url}/readyz").status_code == 200
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(timeout=60)


DESCRIBED = schemathesis.openapi.from_dict(openapi(application())).exclude(path_regex="updates$")
"""What the gateway says of itself; but the streams, which have no end."""
OPERATIONS = {found.ok().label: found.ok() for found in DESCRIBED.get_all_operations()}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@BOUNDED
@given(data=st.data())
def test_no_request_that_the_document_describes_makes_a_server_error(
    url: str, operation: Any, data: st.DataObject
) -> None:
    case = data.draw(operation.as_strategy())
    answer = case.call(base_url=url)
    if operation.path.startswith("/v1.0/"):
        # Dapr answers 500 where the instance refuses, so only what is no such answer is a failure.
        assert answer.status_code < 500 or answer.json()["errorCode"].startswith("ERR_"), answer.text
    else:
        assert answer.status_code < 500, answer.text


ROUTES = (
    "/api/v1/instances",
    *(f"/api/v1/instances/there/{verb}" for verb in ("events/go", "suspend", "resume", "terminate")),
    *(f"/v1.0/workflows/dapr/{path}" for path in ("echo/start", "there/raiseEvent/go")),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "workflow",
            "input",
            "instance_id",
            "version",
            "tags",
            "reuse",
            "start_at",
            "event",
            "reason",
            "output",
            "x",
        ]
    ),
    PLAIN | st.just("echo") | st.just({"action": "IGNORE"}) | st.just("2026-11-20T12:00:00Z"),
    max_size=6,
)
BODIES = (
    st.binary(max_size=200)
    | PLAIN.map(lambda value: json.dumps(value).encode())
    | FIELDS.map(lambda value: json.dumps(value, allow_nan=True).encode())
    | st.sampled_from(
        [b"[" * 50_000, b'{"a":' * 5000, b'"\\ud800"', b"\xef\xbb\xbf{}", b'{"workflow":"echo","input":01}']
    )
)


@pytest.mark.parametrize("path", ROUTES)
@settings(parent=BOUNDED, max_examples=40)
@given(body=BODIES)
def test_no_body_makes_a_server_error(url: str, path: str, body: bytes) -> None:
    answer = httpx.post(f"{url}{path}", content=body)
    if path.startswith("/v1.0/"):
        assert answer.status_code < 500 or answer.json()["errorCode"].startswith("ERR_"), answer.text
    else:
        assert answer.status_code < 500, answer.text
