"""`tenuto.lock`: a lock is an instance while anybody holds it or waits for it."""

from __future__ import annotations

from tenuto.core.context import WorkflowContext
from tenuto.core.reserved import LOCK, LockRequest, Ticket, grant_event
from tenuto.errors import PayloadError

__all__ = ["lock"]

_REQUESTS = 200
"""Requests after which it continues as new, so that its history stays short."""


async def lock(ctx: WorkflowContext, queue: list[Ticket] | None = None) -> None:
    """Grant tickets in the order of their arrival, one at a time; the first in the queue holds the lock.

    A ticket is given back by its holder or, where the holder has ended, by the engine, in the commit that ended it.
    """
    queue = queue or []
    for _ in range(_REQUESTS):
        try:
            request = await ctx.wait_for_external_event(LOCK, type=LockRequest)
        except PayloadError as error:  # nobody but the engine should send such events
            ctx.logger.warning("an event is no request to a lock: %s", error)
            continue
        holder = queue[0] if queue else None
        if request.wanted:
            queue.append(request.ticket)
        elif request.ticket in queue:
            queue.remove(request.ticket)
        if not queue:  # a request that comes later finds that this has ended, and starts the lock anew
            return
        # A rewound holder may have asked again before its ticket came back: it is granted once more.
        if holder is None or request == LockRequest(ticket=holder, wanted=False):
            ctx.send_event(queue[0].instance, grant_event(queue[0].command), queue[0])
    ctx.continue_as_new(queue)
