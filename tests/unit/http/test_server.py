"""The service: it listens, answers over a real connection, and stops."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenuto import App, WorkflowContext
from tenuto.errors import SettingsError
from tenuto.settings import ClientSettings, GatewaySettings, OrchestratorSettings
from tenuto_gateway.dev import DevServer
from tenuto_gateway.http.server import Gateway
from tenuto_gateway.targets import load_target
from tests.unit.client.engine import engine


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Gateway]:
    async with engine() as running, running.client() as client:
        gateway = Gateway(client, GatewaySettings(**({"http_port": 0} | settings)))
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.stop()
            await gateway.stop()
            await gateway.wait()


async def test_it_serves_over_a_connection() -> None:
    async with serving() as gateway, httpx.AsyncClient(base_url=gateway.url) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.post("/v1.0/workflows/dapr/w/start?instanceID=a")).status_code == 202
        assert (await http.post("/v1.0/workflows/dapr/a/raiseEvent/a%2Fb")).status_code == 202
        assert "server" not in (await http.get("/nothing")).headers


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with engine() as running, running.client() as client:
            with pytest.raises(SettingsError, match=f"port {port}.*TENUTO_HTTP_PORT"):
                await Gateway(client, GatewaySettings(http_port=port)).start()
            other = Gateway(client, GatewaySettings(http_port=port), any_port=True)
            await other.start()
            assert not other.url.endswith(f":{port}")
            await other.stop()


async def test_headers_without_end_are_cut_off() -> None:
    async with serving(http_max_header_bytes=1000) as gateway:
        host, _, port = gateway.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nx: " + 10_000 * b"y")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    try:
        subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)  # noqa: ASYNC221
    except FileNotFoundError:
        pytest.skip("openssl is not installed; it makes the certificate for this test")
    async with serving(http_tls_certificate=certificate, http_tls_key=key) as gateway:
        assert gateway.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(base_url=gateway.url, verify=trust) as http:
            assert (await http.get("/healthz")).status_code == 200
    async with engine() as running, running.client() as client:
        with pytest.raises(SettingsError, match="cannot be used"):
            Gateway(client, GatewaySettings(http_tls_certificate=key, http_tls_key=tmp_path / "none"))


async def test_the_development_server_has_one() -> None:
    app = App("greetings")

    @app.workflow
    async def hello(_ctx: WorkflowContext, name: str) -> str:
        return f"Hello {name}"

    assert hello is not None
    settings = OrchestratorSettings(database_url="sqlite+aiosqlite:///:memory:", partitions=2)
    server = DevServer(app, settings, gateway_settings=GatewaySettings(http_port=0))
    await server.start()
    assert server.gateway is not None
    async with httpx.AsyncClient(base_url=server.gateway.url) as http:
        started = await http.post("/v1.0/workflows/dapr/hello/start?instanceID=one", json="Ada")
        assert started.status_code == 202
        async with server.client() as client:
            assert await client.get("one").result(timeout=30) == "Hello Ada"
        shown = (await http.get("/v1.0/workflows/dapr/one")).json()
        assert shown["properties"]["dapr.workflow.output"] == '"Hello Ada"'
    await server.stop()


async def test_the_example_of_long_work_over_http() -> None:
    """Start, 202, poll `Location` until done."""
    target = load_target(str(Path(__file__).parents[3] / "examples" / "async_http.py"))
    module = sys.modules["async_http"]
    settings = OrchestratorSettings(database_url="sqlite+aiosqlite:///:memory:", partitions=2)
    gateway = GatewaySettings(http_port=0, http_max_wait=0.1)
    server = DevServer(target, settings, None, ClientSettings(poll_interval=0.05), gateway_settings=gateway)
    await server.start()
    assert server.gateway is not None
    document = await asyncio.to_thread(module.run, server.gateway.url, "talk.ogg", 2)
    await server.stop()
    assert (document["status"], document["output"]) == (
        "COMPLETED",
        ["words of minute 0", "words of minute 1"],
    )
    assert document["custom_status"] == {"done": 2, "of": 2}
