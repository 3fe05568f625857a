"""Waiting for what only the outside world can bring about, and of which only a question tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["until"]

_POLL = 0.2


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, timeout: float = 30.0) -> None:
    """Ask again and again until it holds.

    Raises:
        TimeoutError: it does not after `timeout` seconds; the message says `what`.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"waited {timeout} s in vain until {what}")
        await asyncio.sleep(_POLL)
