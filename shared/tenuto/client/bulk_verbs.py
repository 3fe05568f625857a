"""Requests to all instances that fit a filter: a part of `Client`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from tenuto.client.bulk import BulkResult, BulkVerb, over_pages
from tenuto.client.instance import Cursor
from tenuto.client.transport import Transport
from tenuto.core.letters import Purge, Resume, Suspend, Terminate
from tenuto.payloads import check_size, encode
from tenuto.store.protocol import InstanceFilter

__all__ = ["BulkVerbs"]

_PAGE: Final = 500
"""Instances of one query, and letters of one insert; also how many requests are under way at a time."""


class BulkVerbs(ABC):
    """Each goes through the listing page by page, newest first, and asks every instance in a status that the verb
    applies to; `InstanceFilter()` is all of them. To repeat one is safe: it finds what is left.

    With `wait` (the default) a page is dealt with before the next is asked, and what was refused is told; without it
    all is durable when the call returns. `timeout` is in seconds, for each page. After a `TimeoutError` the pages
    behind have not been asked.
    """

    _max_payload_bytes: int

    @property
    @abstractmethod
    def _open_transport(self) -> Transport: ...

    async def suspend_all(
        self,
        where: InstanceFilter,
        reason: str | None = None,
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """Suspend those that are alive."""
        return await self.bulk(where, Suspend(reason=reason), wait=wait, timeout=timeout)

    async def resume_all(
        self,
        where: InstanceFilter,
        reason: str | None = None,
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """Resume those that are suspended."""
        return await self.bulk(where, Resume(reason=reason), wait=wait, timeout=timeout)

    async def terminate_all(
        self,
        where: InstanceFilter,
        output: Any = None,
        reason: str | None = None,
        *,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """Terminate those that are alive and, from `recursive`, their children.

        Raises:
            PayloadError: the output cannot become JSON, or is larger than the settings' `max_payload_bytes`.
        """
        raw = check_size(encode(output), self._max_payload_bytes, "The output")
        letter = Terminate(output=raw, reason=reason, recursive=recursive)
        return await self.bulk(where, letter, wait=wait, timeout=timeout)

    async def purge_all(
        self,
        where: InstanceFilter,
        *,
        force: bool = False,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """Delete those that have ended, with `force` also those that are alive (they are terminated first); from
        `recursive` their children too, which are not in the count unless they fit the filter themselves."""
        letter = Purge(force=force, recursive=recursive)
        return await self.bulk(where, letter, wait=wait, timeout=timeout)

    async def bulk_page(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        limit: int,
        after: Cursor | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """One page of what the verbs above do: the letter to at most `limit` instances, from where the page before
        ended (its `next`)."""
        return await self._open_transport.bulk(
            where, letter, limit=limit, after=after, wait=wait, timeout=timeout
        )

    async def bulk(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """What the verbs above do, given as the letter that each instance gets."""

        async def ask(after: Cursor | None) -> BulkResult:
            return await self.bulk_page(where, letter, limit=_PAGE, after=after, wait=wait, timeout=timeout)

        return await over_pages(ask)
