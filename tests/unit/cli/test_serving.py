"""`tenuto gateway`, as far as it can be told without a process."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.client import Client
from tenuto.client.direct import DirectTransport
from tenuto_gateway.cli import serving
from tenuto_gateway.cli.command import Shared


async def test_a_gateway_is_not_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """TENUTO_API_URL, which clients of the same environment need, does not lead it to itself."""
    monkeypatch.setenv("TENUTO_API_URL", "http://127.0.0.1:8420")
    clients: list[Client] = []

    async def serve(*_: object, **__: object) -> None: ...

    def gateway_of(client: Client, _settings: object) -> Any:
        clients.append(client)

    monkeypatch.setattr(serving, "serve", serve)
    monkeypatch.setattr(serving, "gateway_of", gateway_of)
    await serving._gateway(Shared())
    assert [type(client._transport) for client in clients] == [DirectTransport]
