"""`/healthz` and `/readyz`, over HTTP and where the event loop does not answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytest.importorskip("prometheus_client", reason="needs the extra tenuto[metrics]")

from tenuto.metrics.probes import with_probes
from tenuto.metrics.server import MetricsServer


async def get(url: str) -> tuple[int, Any]:
    async with httpx.AsyncClient() as client:
        response = await client.get(url, timeout=20)
    return response.status_code, response.json()


async def test_a_service_that_cannot_serve_is_not_ready_and_lives() -> None:
    reasons: list[str | None] = [None, "the database is away"]
    server = MetricsServer([], port=0, address="127.0.0.1", unready=lambda: reasons.pop(0))
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    assert await get(f"{url}/readyz") == (200, {"status": "ready"})
    assert await get(f"{url}/readyz") == (503, {"status": "not ready", "reason": "the database is away"})
    assert await get(f"{url}/healthz") == (200, {"status": "ok"})
    await server.stop()


def asked(loop: asyncio.AbstractEventLoop, path: str, unready: Callable[[], str | None]) -> tuple[str, Any]:
    told: list[str] = []
    app = with_probes(lambda *_: pytest.fail("not for us"), unready, loop, patience=0.01)
    body = b"".join(app({"PATH_INFO": path}, lambda status, _headers, _info=None: told.append(status)))  # type: ignore[arg-type, return-value]
    return told[0], json.loads(body)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_loop_that_does_not_turn_is_told(path: str) -> None:
    loop = asyncio.new_event_loop()
    stuck = asked(loop, path, lambda: None)
    loop.close()
    closed = asked(loop, path, lambda: None)
    for (status, body), reason in ((stuck, "not turned"), (closed, "closed")):
        assert status == "503 Service Unavailable"
        assert reason in body["reason"]


async def test_a_bug_in_the_question_is_no_answer() -> None:
    server = MetricsServer([], port=0, address="127.0.0.1", unready=lambda: {}["reason"])
    await server.start()
    with pytest.raises(json.JSONDecodeError):  # a bare 500
        await get(f"http://127.0.0.1:{server.port}/readyz")
    await server.stop()
