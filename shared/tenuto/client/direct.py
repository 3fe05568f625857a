"""The direct transport: requests go into the database's inbox, the broker makes it quick (rule I2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec

from tenuto.broker.protocol import Broker
from tenuto.client.answers import judge, judge_rerun, judge_start, not_found, refusal
from tenuto.client.bulk import BulkResult, BulkVerb
from tenuto.client.bulk_sender import BulkSender
from tenuto.client.groups import GroupWriter
from tenuto.client.instance import Cursor, InstanceStatus, status_of
from tenuto.client.link import Link, Postman
from tenuto.client.looking import Looking, limit
from tenuto.client.notices import Notices
from tenuto.client.surroundings import Surroundings
from tenuto.client.transport import (
    Ask,
    Milestone,
    Order,
    RequestPendingError,
    RerunOrder,
    StartPendingError,
    Target,
)
from tenuto.client.waits import Answer, Gone, Told, Waits
from tenuto.clock import Clock
from tenuto.core.letters import Letter, Purge, Raise, Request, Rerun, Start, encode_letter
from tenuto.core.status import ReuseAction, Status
from tenuto.errors import NotFoundError
from tenuto.messages import Bell, encode
from tenuto.naming import Names
from tenuto.sealing import Sealer
from tenuto.settings import ClientSettings
from tenuto.store.protocol import Admission, InboxRow, InstanceFilter, InstanceRecord, Store
from tenuto.tracing import producing

__all__ = ["DirectTransport"]

_BELL = encode(Bell())
_FIRST_ORCHESTRATOR = 10.0
"""Seconds that the very first orchestrator of a database is waited for, at most."""


_Judge: TypeAlias = Callable[[str, str | None, InstanceRecord | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begin:
    """How a new instance is asked for."""

    what: str
    message_id: str | None
    judge: _Judge
    """What became of it, where nobody has told."""
    grace: bool = False
    """Whether the instance does not show why it was refused, so that a notification is worth waiting for."""


class DirectTransport(Looking):
    """A `Transport` over the store and the broker. Requests made at the same time are written together."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        store: Store,
        owns_store: bool,
        broker: Broker,
        owns_broker: bool,
        clock: Clock,
        new_id: Callable[[], str],
        sealer: Sealer,
    ) -> None:
        """What is owned is opened and closed here; the rest must be open, and stays so.

        Payloads come sealed, other than those of letters to many instances: `sealer` seals them for each.
        """
        self._owns_store = owns_store
        self._clock = clock
        self._new_id = new_id
        self._letters = GroupWriter(self._deliver)
        self._admissions = GroupWriter(store.admit)
        self._link = Link(broker, owned=owns_broker)
        waits = Waits(store, interval=settings.poll_interval, listening=lambda: self._notices.listening)
        super().__init__(
            settings,
            store=store,
            surroundings=Surroundings(
                store,
                namespace=settings.namespace,
                patience=min(settings.connect_timeout, _FIRST_ORCHESTRATOR),
            ),
            waits=waits,
            notices=Notices(
                self._link,
                Names(settings.namespace).notices(new_id()),
                hear=waits.hear,
                regained=waits.look,
            ),
            link=self._link,
            postman=Postman(self._link),
        )
        self._bulk = BulkSender(
            settings,
            store=store,
            surroundings=self._surroundings,
            waits=waits,
            notices=self._notices,
            ring=self.ring,
            sealer=sealer,
            new_id=new_id,
        )

    async def open(self) -> None:
        if self._owns_store:
            await self._store.open()

    async def close(self) -> None:
        await self._letters.flush()
        await self._admissions.flush()
        await self._waits.close()
        await self._notices.close()
        await self._postman.close()
        await self._link.close()
        if self._owns_store:
            await self._store.close()

    # Starts ----------------------------------------------------------------------------------------------

    async def start(self, order: Order, *, wait: bool, timeout: float | None) -> Target:
        with _creating(order) as trace:
            target, row = await self.prepare(replace(order, trace=trace))
            begin = _Begin(what="The start", message_id=order.message_id, judge=judge_start)
            return await self._begin(begin, target, row, wait=wait, timeout=timeout)

    async def rerun(self, order: RerunOrder, *, wait: bool, timeout: float | None) -> Target:
        run, message_id = self._new_id(), order.message_id
        row = self._new_id() if message_id is None else _row_of_message(order.instance, message_id)
        attributes = {"durabletask.type": "orchestration", "durabletask.task.instance_id": order.instance}
        with producing("create_orchestration", "rerun", attributes) as trace:
            letter = Rerun(
                source=order.source,
                command=order.event_id,
                input=order.input,
                run=run,
                seed=self._new_id(),
                trace=trace,
                request=Request(id=row, queue=self._notices.queue),
            )
            begin = _Begin(what="The rerun as", message_id=order.message_id, judge=judge_rerun, grace=True)
            target = Target(instance=order.instance, run=run, row=row)
            made = await self._row(row, order.instance, letter)
            return await self._begin(begin, target, made, wait=wait, timeout=timeout)

    async def _begin(
        self, begin: _Begin, target: Target, row: InboxRow, *, wait: bool, timeout: float | None
    ) -> Target:
        """Ask for a new instance."""
        if not wait:
            return await self._send_start(begin, target, row)
        await self._notices.prepared(self._settings.poll_interval)
        with self._waits.request(row.id, grace=begin.grace) as request:
            target = await self._send_start(begin, target, row)
            try:
                async with self._patience(timeout, f"{begin.what} of instance {target.instance!r}"):
                    return await self._settled(target, await request.answer(), begin.judge)
            except TimeoutError as error:
                raise StartPendingError(str(error), target) from None

    async def prepare(self, order: Order) -> tuple[Target, InboxRow]:
        if order.trace is None:
            with _creating(order) as trace:
                return await self.prepare(replace(order, trace=trace))
        await self._surroundings.require_workflow(order.workflow)
        run, message_id = self._new_id(), order.message_id
        row = self._new_id() if message_id is None else _row_of_message(order.instance, message_id)
        letter = Start(
            workflow=order.workflow,
            version=order.version,
            input=order.input,
            run=run,
            seed=self._new_id(),
            tags=order.tags,
            reuse=order.reuse,
            trace=order.trace,
            start_at=order.start_at,
            event=order.event,
            request=Request(id=row, queue=self._notices.queue),
        )
        # With IGNORE the instance that is there may be another run than this one.
        known = None if order.reuse.action is ReuseAction.IGNORE else run
        target = Target(instance=order.instance, run=known, row=row)
        return target, await self._row(row, order.instance, letter)

    async def insert(self, row: InboxRow, connection: Any) -> None:
        await self._store.deliver([row], connection=connection)

    async def _send_start(self, begin: _Begin, target: Target, row: InboxRow) -> Target:
        if begin.message_id is None:
            await self._letters.add(row)
        elif not await self._admissions.add(Admission(row=row, message_id=begin.message_id)):
            self._waits.look()  # it may have been dealt with long ago, and no notification comes to a repetition
            return replace(target, run=None)
        await self.ring(target.instance)
        return target

    async def _settled(self, target: Target, answer: Answer, judge: _Judge = judge_start) -> Target:
        """The start was dealt with. Raises if it was refused."""
        match answer:
            case Told(error=None):
                pass
            case Told(error=str(error)):
                raise refusal(error)
            case Gone():
                record = await self._waits.record(target.instance, lambda _: True)
                judge(target.instance, target.run, record)
        return replace(target, row=None)

    # Letters ---------------------------------------------------------------------------------------------

    async def ring(self, instance: str) -> None:
        self._postman.post(await self._surroundings.turns(instance), _BELL)

    async def ask(self, instance: str, letter: Ask, *, wait: bool, timeout: float | None) -> None:
        if not isinstance(letter, Raise):
            await self._send(instance, letter, wait=wait, timeout=timeout)
            return
        attributes = {
            "durabletask.type": "event",
            "durabletask.event.name": letter.name,
            "durabletask.event.target_instance_id": instance,
        }
        with producing("orchestration_event", letter.name, attributes) as trace:
            traced = msgspec.structs.replace(letter, trace=trace)
            await self._send(instance, traced, wait=wait, timeout=timeout)

    async def purge(self, instance: str, letter: Purge, *, timeout: float | None) -> int:
        covered = await self._covered(await self.status(instance), letter)
        try:
            await self._send(instance, letter, wait=True, timeout=timeout)
        except RequestPendingError as late:
            late.covers = covered
            raise
        return covered

    async def bulk(
        self,
        where: InstanceFilter,
        letter: BulkVerb,
        *,
        limit: int,
        after: Cursor | None,
        wait: bool,
        timeout: float | None,
    ) -> BulkResult:
        return await self._bulk.send(where, letter, limit=limit, after=after, wait=wait, timeout=timeout)

    async def _send(self, instance: str, letter: Ask | Purge, *, wait: bool, timeout: float | None) -> None:
        message_id = letter.message_id if isinstance(letter, Raise) else None
        row = self._new_id() if message_id is None else _row_of_message(instance, _event_message(message_id))
        if not wait:
            await self._put(row, instance, letter, message_id)
            return
        await self._notices.prepared(self._settings.poll_interval)
        asked_at = self._clock.now()
        letter = msgspec.structs.replace(letter, request=Request(id=row, queue=self._notices.queue))
        with self._waits.request(row, grace=True) as request:
            new = await self._put(row, instance, letter, message_id)
            try:
                async with self._patience(timeout, f"{type(letter).__name__} for instance {instance!r}"):
                    if not new:
                        # It may have been dealt with long ago, and no notification comes to a repetition.
                        with self._waits.request(row, sent=True) as again:
                            await again.answer()
                        return
                    match await request.answer():
                        case Told(error=None):
                            pass
                        case Told(error=str(error)):
                            raise refusal(error)
                        case Gone():
                            record = await self._waits.record(instance, lambda _: True)
                            judge(instance, letter, record, asked_at=asked_at)
            except TimeoutError as error:
                raise RequestPendingError(str(error), row=row, asked_at=asked_at) from None

    async def _put(self, row: str, instance: str, letter: Ask | Purge, message_id: str | None) -> bool:
        """Send a letter. False: one of this message id was sent before (rule N2)."""
        made = await self._row(row, instance, letter)
        if message_id is None:
            await self._letters.add(made)
        elif not await self._admissions.add(Admission(row=made, message_id=_event_message(message_id))):
            return False
        await self.ring(instance)
        return True

    async def _row(self, row: str, instance: str, letter: Letter) -> InboxRow:
        partition = await self._surroundings.partition(instance)
        return InboxRow(id=row, partition=partition, target=instance, body=encode_letter(letter))

    async def _deliver(self, rows: Sequence[InboxRow]) -> Sequence[None]:
        await self._store.deliver(rows)
        return [None] * len(rows)

    # Looking ---------------------------------------------------------------------------------------------

    async def wait(self, target: Target, milestone: Milestone, *, timeout: float | None) -> InstanceStatus:
        words = f"Instance {target.instance!r} has not {milestone.name.lower()} within {timeout} s."
        async with limit(timeout, words):
            await self._notices.prepared(self._settings.poll_interval)
            if target.row is not None:
                with self._waits.request(target.row, sent=True) as request:
                    await self._settled(target, await request.answer())
            if target.run is None:  # else the start's own request made the owner watch it
                await self._watch(target.instance)
            record = await self._waits.record(target.instance, partial(_reached, target.run, milestone))
        if record is None:
            raise not_found(target.instance, started_here=target.row is not None)
        if target.run not in (None, record.run):
            raise NotFoundError(
                f"The run of instance {target.instance!r} that was started here is gone: another has taken its place."
            )
        return status_of(record)

    def _patience(self, timeout: float | None, what: str) -> AbstractAsyncContextManager[None]:
        seconds = self._settings.request_timeout if timeout is None else timeout
        return limit(
            seconds,
            f"{what} was not dealt with within {seconds:g} s. It is stored and will be carried out; "
            "is an orchestrator running?",
        )


def _creating(order: Order) -> AbstractContextManager[dict[str, str]]:
    """The span of a start; gives the trace context that the start carries."""
    attributes = {
        "durabletask.type": "orchestration",
        "durabletask.task.name": order.workflow,
        "durabletask.task.instance_id": order.instance,
        "durabletask.task.version": order.version,
    }
    return producing("create_orchestration", order.workflow, attributes)


def _reached(run: str | None, milestone: Milestone, record: InstanceRecord | None) -> bool:
    """Whether there is nothing left to wait for."""
    if record is None or run not in (None, record.run):
        return True
    return record.status.is_terminal if milestone is Milestone.ENDED else record.status is not Status.PENDING


def _event_message(message_id: str) -> str:
    """As it is remembered: apart from the id of a start, which may be of the same message."""
    return f"event {message_id}"


def _row_of_message(instance: str, message_id: str) -> str:
    """The inbox row of a start with a message id, so that a repetition can tell whether it was dealt with."""
    return sha256(f"{instance}\0{message_id}".encode(errors="surrogatepass")).hexdigest()[:32]
