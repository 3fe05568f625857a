"""Requests to every instance that fits a filter: what is asked, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from tenuto.client.instance import Cursor
from tenuto.core.letters import Purge, Resume, Suspend, Terminate
from tenuto.core.status import LIVE, TERMINAL, Status
from tenuto.store.protocol import InstanceFilter

__all__ = ["REFUSALS", "BulkResult", "BulkVerb", "fitting", "over_pages"]

REFUSALS: Final = 100
"""Refusals that are told in full."""

BulkVerb: TypeAlias = Suspend | Resume | Terminate | Purge


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What became of a request to many instances."""

    asked: int
    """How many fitted the filter, in a status that the verb applies to, and were sent the request."""
    refused: int = 0
    """How many of them refused it: they had ended, or were gone, when it came. Without `wait` nobody knows."""
    refusals: Sequence[str] = ()
    """Why, of the first hundred."""
    next: Cursor | None = None
    """Of a page: where it ended; the instances behind it have not been asked. None: there are none."""


async def over_pages(ask: Callable[[Cursor | None], Awaitable[BulkResult]]) -> BulkResult:
    """Ask page after page, each from where the one before ended; what became of all of them."""
    asked, refused, refusals = 0, 0, list[str]()
    after: Cursor | None = None
    while True:
        page = await ask(after)
        asked += page.asked
        refused += page.refused
        refusals += page.refusals
        after = page.next
        if after is None:
            return BulkResult(asked=asked, refused=refused, refusals=tuple(refusals[:REFUSALS]))


def fitting(where: InstanceFilter, letter: BulkVerb) -> InstanceFilter | None:
    """The filter, narrowed to the statuses that the verb applies to; None: nothing is left."""
    match letter:
        case Suspend():
            applies = LIVE - {Status.SUSPENDED}
        case Resume():
            applies = frozenset({Status.SUSPENDED})
        case Terminate():
            applies = LIVE
        case Purge(force=force):
            applies = frozenset(Status) if force else TERMINAL
    statuses = where.statuses & applies if where.statuses else applies
    return replace(where, statuses=statuses) if statuses else None
