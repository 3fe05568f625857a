"""What the direct transport tells of instances: looks into the database, alone or together with all others who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from tenuto.client.answers import not_found, refusal
from tenuto.client.instance import Cursor, InstanceStatus, status_of
from tenuto.client.link import Link, Postman
from tenuto.client.notices import Notices
from tenuto.client.queues import QueueStatus, inspect_queues
from tenuto.client.surroundings import Surroundings
from tenuto.client.transport import Target
from tenuto.client.waits import Gone, Told, Waits
from tenuto.core.events import Event, decode_events
from tenuto.core.letters import Purge
from tenuto.core.status import LIVE
from tenuto.errors import BrokerUnavailableError
from tenuto.messages import Watch, encode
from tenuto.naming import Names
from tenuto.registry import Registry, registry_of
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InstanceFilter, InstanceRecord, Store, Tally

__all__ = ["Looking", "limit"]

_PAGE = 1000


class Looking:
    """The verbs of the direct transport that change nothing."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        store: Store,
        surroundings: Surroundings,
        waits: Waits,
        notices: Notices,
        link: Link,
        postman: Postman,
    ) -> None:
        self._settings = settings
        self._store = store
        self._surroundings = surroundings
        self._waits = waits
        self._notices = notices
        self._link = link
        self._postman = postman

    async def status(self, instance: str) -> InstanceStatus:
        return _there(instance, await self._waits.record(instance, lambda _: True))

    async def changed(self, instance: str, revision: str, *, timeout: float | None) -> InstanceStatus:
        async with limit(timeout, f"Instance {instance!r} has not changed within {timeout} s."):
            await self._notices.prepared(self._settings.poll_interval)
            # Owners tell when it starts and when it ends; what lies between is for the slow look.
            await self._watch(instance)
            return _there(instance, await self._waits.record(instance, partial(_other, revision)))

    async def _watch(self, instance: str) -> None:
        watch = Watch(instance=instance, queue=self._notices.queue)
        self._postman.post(await self._surroundings.turns(instance), encode(watch))

    async def dealt_with(self, target: Target, *, timeout: float | None) -> None:
        if target.row is None:
            return
        seconds = self._settings.request_timeout if timeout is None else timeout
        words = f"A request to instance {target.instance!r} was not dealt with within {seconds:g} s."
        async with limit(seconds, words):
            await self._notices.prepared(self._settings.poll_interval)
            with self._waits.request(target.row, sent=True) as request:
                match await request.answer():
                    case Told(error=str(error)):
                        raise refusal(error)
                    case Told() | Gone():
                        pass

    async def history(self, instance: str) -> list[Event]:
        turns = await self._store.history(instance)
        if not turns:
            await self.status(instance)  # an instance without a turn is not an instance that is not there
        return [event for turn in turns for event in decode_events(turn)]

    async def page(
        self, where: InstanceFilter, *, limit: int, after: Cursor | None
    ) -> Sequence[InstanceStatus]:
        return [status_of(record) for record in await self._store.find(where, limit=limit, after=after)]

    async def _covered(self, found: InstanceStatus, letter: Purge) -> int:
        """How many instances a purge deletes: this one, and with `recursive` its descendants that have ended."""
        covered = 1
        generation = [found.instance_id] if letter.recursive else []
        while generation:
            parent = generation.pop()
            after: Cursor | None = None
            while page := await self.page(
                InstanceFilter(parent=parent, builtin=True), limit=_PAGE, after=after
            ):
                after = (page[-1].created_at, page[-1].instance_id)
                going = [child.instance_id for child in page if letter.force or child.status.is_terminal]
                covered += len(going)
                generation += going
        return covered

    async def tally(self, where: InstanceFilter) -> Sequence[Tally]:
        return await self._store.tally(where)

    async def registry(self) -> Registry:
        live = await self._store.tally(InstanceFilter(statuses=LIVE))
        return registry_of(await self._surroundings.members(), live)

    async def queues(self) -> Sequence[QueueStatus]:
        deployment = await self._surroundings.deployment()
        members = await self._surroundings.members()
        names = Names(self._settings.namespace, deployment.layout)
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                broker = await self._link.broker()
        except TimeoutError:
            raise BrokerUnavailableError(
                "The broker cannot be reached, so its queues cannot be seen."
            ) from None
        return await inspect_queues(broker, names, deployment, members)


@asynccontextmanager
async def limit(seconds: float | None, message: str) -> AsyncIterator[None]:
    """At most so many seconds for the block, and a `TimeoutError` with this message after them; None: no limit."""
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            yield
    except TimeoutError:
        if bound.expired():
            raise TimeoutError(message) from None
        raise


def _other(revision: str, record: InstanceRecord | None) -> bool:
    return record is None or status_of(record).revision != revision


def _there(instance: str, record: InstanceRecord | None) -> InstanceStatus:
    if record is None:
        raise not_found(instance)
    return status_of(record)
