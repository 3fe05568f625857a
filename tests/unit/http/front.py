"""A gateway for tests: the real application over a real client, in this process, and plain HTTP requests to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tenuto.settings import GatewaySettings
from tenuto_gateway.http.app import make_app
from tenuto_gateway.http.context import Context
from tests.unit.client.engine import Engine, engine

BASE = "http://127.0.0.1:8420"


@dataclass
class Front:
    """What a test works with."""

    engine: Engine
    http: httpx.AsyncClient
    context: Context

    async def start(self, instance: str, **options: Any) -> None:
        """An instance that runs."""
        await self.context.client.start("w", instance_id=instance, **options)


@asynccontextmanager
async def front(*, poll: float = 3600.0, workflows: Any = None, **settings: Any) -> AsyncIterator[Front]:
    async with (
        engine(workflows=workflows) as running,
        running.client(poll=poll, request_timeout=20.0) as client,
    ):
        app, context = make_app(client, GatewaySettings(**settings))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
            yield Front(engine=running, http=http, context=context)
