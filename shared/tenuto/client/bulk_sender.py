"""How the direct transport asks every instance that fits a filter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

import msgspec

from tenuto.client.bulk import REFUSALS, BulkResult, BulkVerb, fitting
from tenuto.client.instance import Cursor
from tenuto.client.looking import limit
from tenuto.client.notices import Notices
from tenuto.client.surroundings import Surroundings
from tenuto.client.waits import Answer, Told, Waits
from tenuto.core.letters import Request, encode_letter
from tenuto.sealing import Sealer
from tenuto.settings import ClientSettings
from tenuto.store.protocol import InboxRow, InstanceFilter, InstanceRecord, Store

__all__ = ["BulkSender"]


class BulkSender:
    """Asks a page of a listing: one query, one insert into the inbox and one bell per partition."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        store: Store,
        surroundings: Surroundings,
        waits: Waits,
        notices: Notices,
        ring: Callable[[str], Awaitable[None]],
        sealer: Sealer,
        new_id: Callable[[], str],
    ) -> None:
        """`ring`: tells the owner of an instance, given by its id; equal bells ring once."""
        self._settings = settings
        self._store = store
        self._surroundings = surroundings
        self._waits = waits
        self._notices = notices
        self._ring = ring
        self._sealer = sealer
        self._new_id = new_id

    async def send(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        limit: int,
        after: Cursor | None,
        wait: bool,
        timeout: float | None,
    ) -> BulkResult:
        """As `Transport.bulk`."""
        narrowed = fitting(where, letter)
        page = [] if narrowed is None else await self._store.find(narrowed, limit=limit, after=after)
        if not page:
            return BulkResult(asked=0)
        refusals = await self._send_page(page, letter, wait=wait, timeout=timeout)
        return BulkResult(
            asked=len(page),
            refused=len(refusals),
            refusals=tuple(refusals[:REFUSALS]),
            next=(page[-1].created_at, page[-1].id) if len(page) == limit else None,
        )

    async def _send_page(
        self, page: Sequence[InstanceRecord], letter: BulkVerb, *, wait: bool, timeout: float | None
    ) -> list[str]:
        """The refusals. Each letter is for the very run that the listing showed."""
        rows = [await self._row(record, letter, wait=wait) for record in page]
        if not wait:
            await self._deliver(rows)
            return []
        await self._notices.prepared(self._settings.poll_interval)
        seconds = self._settings.request_timeout if timeout is None else timeout
        words = (
            f"{type(letter).__name__} for {len(rows)} instances was not dealt with within {seconds:g} s. It is stored "
            "and will be carried out; those behind them were not asked yet: repeat it."
        )
        with ExitStack() as stack:
            requests = [stack.enter_context(self._waits.request(row.id, grace=True)) for row in rows]
            await self._deliver(rows)
            async with limit(seconds, words):
                answers = [await request.answer() for request in requests]
        return [refusal for answer in answers if (refusal := _refusal(answer)) is not None]

    async def _row(self, record: InstanceRecord, letter: BulkVerb, *, wait: bool) -> InboxRow:
        row = self._new_id()
        if wait:
            letter = msgspec.structs.replace(letter, request=Request(id=row, queue=self._notices.queue))
        return InboxRow(
            id=row,
            partition=await self._surroundings.partition(record.id),
            target=record.id,
            run=record.run,
            body=encode_letter(self._sealer.seal(letter, record.id)),
        )

    async def _deliver(self, rows: Sequence[InboxRow]) -> None:
        await self._store.deliver(rows)
        for target in {row.partition: row.target for row in rows}.values():
            await self._ring(target)


def _refusal(answer: Answer) -> str | None:
    return answer.error if isinstance(answer, Told) else None
