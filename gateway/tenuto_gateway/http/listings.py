"""Listings that somebody follows: each is looked at once per interval, however many follow it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from tenuto.client import Client, InstanceFilter, InstanceStatus
from tenuto.errors import StoreError

__all__ = ["Listing", "Listings"]

_log = logging.getLogger("tenuto.gateway")


class Listing:
    """A listing's first page, looked at again and again."""

    def __init__(self, client: Client, where: InstanceFilter, limit: int, interval: float) -> None:
        self.snapshot: dict[str, InstanceStatus] = {}
        """The page as it was last, newest first."""
        self.followers = 0
        self._client = client
        self._where = where
        self._limit = limit
        self._interval = interval
        self._looks = 0
        self._looked = asyncio.Condition()
        self._task = asyncio.create_task(self._run(), name="tenuto gateway listing")

    async def after(self, looks: int) -> int:
        """Wait until there were more looks than that; how many there were."""
        async with self._looked:
            await self._looked.wait_for(lambda: self._looks > looks)
        return self._looks

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                page = await self._client.list_page(self._where, limit=self._limit)
            except StoreError as error:
                _log.warning("a listing that is followed cannot be looked at: %s", error)
            else:
                async with self._looked:
                    self.snapshot = {one.instance_id: one for one in page.instances}
                    self._looks += 1
                    self._looked.notify_all()
            await asyncio.sleep(self._interval)


class Listings:
    """All listings that somebody follows at present."""

    def __init__(self, client: Client, *, interval: float) -> None:
        """`interval`: seconds between looks."""
        self._client = client
        self._interval = interval
        self._followed: dict[str, Listing] = {}

    @contextlib.contextmanager
    def follow(self, where: InstanceFilter, limit: int) -> Iterator[Listing]:
        """The listing of this filter, which is looked at while somebody is in such a block."""
        key = f"{limit} {where}"
        listing = self._followed.get(key)
        if listing is None:
            listing = self._followed[key] = Listing(self._client, where, limit, self._interval)
        listing.followers += 1
        try:
            yield listing
        finally:
            listing.followers -= 1
            if not listing.followers:
                listing.close()
                del self._followed[key]
