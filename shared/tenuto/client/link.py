"""The client's side of the broker: opened when it is first needed, and never needed for anything to be right.

A client works without a broker, only slower: owners look into their inboxes every few seconds, and the client looks
into the database. So nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from tenuto.broker.protocol import Broker, Outgoing
from tenuto.errors import BrokerError

__all__ = ["Link", "Postman", "retrying"]

logger = logging.getLogger("tenuto.client")

_FLUSH = 1.0
"""Seconds that closing waits for bells to be rung; a bell that is not rung only delays."""


def retrying(what: str) -> AsyncRetrying:
    """Try again after every error of the broker's, for ever, and say so once."""

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            logger.warning(
                "%s: %s; the client looks into the database instead, and keeps trying",
                what,
                state.outcome.exception(),
            )

    return AsyncRetrying(
        retry=retry_if_exception_type(BrokerError),
        wait=wait_exponential(multiplier=0.1, max=10),
        before_sleep=tell,
    )


class Link:
    """A broker that is opened in the background when somebody first asks for it, for as long as that takes."""

    def __init__(self, broker: Broker, *, owned: bool) -> None:
        """`owned`: opened and closed here; otherwise it is open already, and left open."""
        self._broker = broker
        self._owned = owned
        self._opening: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return not self._owned or (self._opening is not None and self._opening.done())

    async def broker(self) -> Broker:
        """The broker, once it is open."""
        if self._owned:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(
                    self._open(), name="tenuto client broker"
                )
            await asyncio.shield(self._opening)
        return self._broker

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            await self._broker.close()

    async def _open(self) -> None:
        await retrying("The broker cannot be used")(self._broker.open)


class Postman:
    """Publishes bells and the like: not waited for, and whether they arrive does not matter.

    What is posted while a publish is under way goes together in the next one, equal messages once.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._posts: dict[tuple[str, bytes], None] = {}
        self._task: asyncio.Task[None] | None = None

    def post(self, queue: str, body: bytes) -> None:
        self._posts[queue, body] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tenuto client bells")

    async def close(self) -> None:
        """Give what was posted a moment to go out."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_FLUSH if self._link.is_open else 0)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            broker = await self._link.broker()
            while self._posts:
                posts, self._posts = self._posts, {}
                # A queue that is missing (RETURNED) is its owner's concern, which looks by itself: rule I1.
                await broker.publish([Outgoing(queue=queue, body=body) for queue, body in posts])
        except Exception:
            logger.exception(
                "A bell could not be rung; the owner of the partition looks by itself every few seconds"
            )
