"""A request to every instance that fits a filter, over HTTP: page by page, a few requests at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from tenuto.client.bulk import BulkResult, BulkVerb, fitting
from tenuto.client.instance import Cursor
from tenuto.client.transport import Transport
from tenuto.core.letters import Purge
from tenuto.errors import RequestError
from tenuto.store.protocol import InstanceFilter

__all__ = ["bulk"]

_PAGE: Final = 100
_AT_ONCE: Final = 10
_SHOWN: Final = 100


async def bulk(
    transport: Transport, where: InstanceFilter, letter: BulkVerb, *, wait: bool, timeout: float | None
) -> BulkResult:
    """As `Transport.bulk`, by its other verbs."""
    asked, refusals = 0, list[str]()
    narrowed = fitting(where, letter)
    after: Cursor | None = None
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(instance: str) -> None:
        async with slots:
            try:
                if isinstance(letter, Purge):
                    await transport.purge(instance, letter, timeout=timeout)
                else:
                    await transport.ask(instance, letter, wait=wait, timeout=timeout)
            except RequestError as error:
                refusals.append(f"{type(error).__name__}: {error}")

    while narrowed is not None:
        page = await transport.page(narrowed, limit=_PAGE, after=after)
        await asyncio.gather(*(ask(found.instance_id) for found in page))
        asked += len(page)
        if len(page) < _PAGE:
            break
        after = (page[-1].created_at, page[-1].instance_id)
    return BulkResult(asked=asked, refused=len(refusals), refusals=tuple(refusals[:_SHOWN]))
