"""What the routes share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from tenuto.client import Client
from tenuto.errors import TenutoError
from tenuto.settings import GatewaySettings
from tenuto_gateway.http.listings import Listings

__all__ = ["Context", "Here"]

T = TypeVar("T")

_log = logging.getLogger("tenuto.gateway")

_READY = 1.0
"""Seconds for which the answer to whether the database answers is given again."""


@dataclass(kw_only=True)
class Context:
    """A gateway's own things."""

    client: Client
    """Open while the gateway runs."""
    settings: GatewaySettings
    listings: Listings
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the gateway begins to stop: whoever waits is answered at once."""

    _ready: asyncio.Task[bool] | None = None
    _asked_at: float = float("-inf")

    async def is_ready(self) -> bool:
        """Whether the database answers. Anybody may ask, so it is looked at once a second, whoever asks."""
        now = asyncio.get_running_loop().time()
        if self._ready is None or (self._ready.done() and now >= self._asked_at + _READY):
            self._asked_at = now
            self._ready = asyncio.create_task(self._look(), name="tenuto gateway readiness")
        return await asyncio.shield(self._ready)

    async def _look(self) -> bool:
        try:
            async with asyncio.timeout(self.settings.request_timeout):
                await self.client.list_page(limit=1)
        except (TenutoError, TimeoutError) as error:
            _log.warning("the gateway is not ready: %s", error)
            return False
        return True

    async def unless_closing(self, wait: Coroutine[Any, Any, T]) -> T:
        """What is waited for.

        Raises:
            TimeoutError: the gateway is about to stop; the caller may ask another.
        """
        task, end = asyncio.ensure_future(wait), asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError("The gateway is about to stop; ask again.")
            return task.result()
        finally:
            task.cancel()
            end.cancel()


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_context)]
