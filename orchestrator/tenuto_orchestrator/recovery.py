"""`recover`: the one way to come into possession of a partition (rule O2).

First start, takeover, ambiguous commit, failed fence, reconnect and wipe all come through here: a new epoch has been
committed, and only then is anything read: outbox, inbox, timers; then the queue is consumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from tenuto.broker.protocol import Delivery, Subscription
from tenuto.core.histories import read_history
from tenuto.core.state import State
from tenuto.errors import QueueMissingError, StoreError
from tenuto.messages import TaskRef, task_ref
from tenuto.store.protocol import OutboxRow, StoredInstance
from tenuto_orchestrator.backlog import take_stock
from tenuto_orchestrator.change import Outgoings, decode_outgoings
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.guard import BrokerGuard
from tenuto_orchestrator.outbox import Entry, Outbox
from tenuto_orchestrator.partition import Acknowledger, Partition
from tenuto_orchestrator.sources import Sources
from tenuto_orchestrator.work import Item, Parcel, Resend

__all__ = ["Recoverer"]

_log = logging.getLogger("tenuto.orchestrator")
_INBOX_ROWS = 100_000
"""Inbox rows read at a takeover, held ones included."""
_TIMERS = 2_000
_CHUNK = 100
"""Instances looked at together."""


class Recoverer:
    def __init__(self, env: Environment, guard: BrokerGuard, sources: Sources, outbox: Outbox) -> None:
        self._env = env
        self._guard = guard
        self._sources = sources
        self._outbox = outbox

    async def recover(
        self, number: int, epoch: int, deadline: Callable[[], float], lost: Callable[[Partition, str], None]
    ) -> None:
        """Read the partition whose new epoch has been committed, and begin to work with it. `deadline` tells until
        when, in loop time, the lease is sure.

        Raises:
            StoreError, BrokerError: something is away; the partition is not in use.

        """
        until = self._env.now() + self._env.horizon
        found = await self._env.store.recovery(number, inbox=_INBOX_ROWS, timers=_TIMERS)
        partition = Partition(
            number=number, epoch=epoch, deadline=deadline(), token=found.broker_token, lost=lost
        )
        if partition.token != self._guard.token:
            # Ours may be the older one (rule B1). Taken for the newer, it would have the outbox emptied before all that
            # is pending is sent, and nobody who finds the partition's token up to date would make up for it.
            await self._guard.check()
        entries = await self._still_wanted(partition, found.outbox)
        partition.deadline = deadline()
        # What an older epoch left in memory may be ahead of the database.
        self._env.residents.drop_partition(number)
        self._env.owned[number] = partition
        try:
            for entry in entries:
                self._outbox.put(entry)
            for row in found.inbox:
                self._sources.letter(partition, row)
            partition.inbox_due = len(found.inbox) == _INBOX_ROWS
            within = [row for row in found.timers if row.fire_at <= until]
            complete = len(found.timers) < _TIMERS or len(within) < len(found.timers)
            self._sources.watch_timers(partition, within, until, complete=complete)
            partition.subscription = await self._subscribe(partition)
        except BaseException:
            self._env.owned.pop(number, None)
            partition.open = False
            self._env.residents.drop_partition(number)
            await partition.close()
            raise
        if not partition.open:  # given up while there was no subscription to be closed
            await partition.close()
            return
        if self._env.recorder.on:
            partition.counting = asyncio.create_task(take_stock(self._env, partition))
        self._env.intake.wake()
        if partition.token != self._guard.token:
            self.send_again(partition, self._guard.token)

    # The outbox ------------------------------------------------------------------------------------------

    async def _still_wanted(self, partition: Partition, rows: Sequence[OutboxRow]) -> list[Entry]:
        """The outbox, less the tasks that have been answered since, and less all tasks for workers where everything
        pending is about to be sent to a new broker."""
        decoded = list(_readable(rows))
        same_broker = partition.token == self._guard.token
        instances = {task.instance for _, outgoings in decoded for task in outgoings.local}
        if same_broker:
            instances |= {task.instance for _, outgoings in decoded for _, task in outgoings.tasks}
        pending = await self._pending(instances)
        entries = []
        for row, outgoings in decoded:
            tasks = [
                (pool, task) for pool, task in outgoings.tasks if same_broker and task_ref(task) in pending
            ]
            local = [task for task in outgoings.local if task_ref(task) in pending]
            wanted = Outgoings(tasks=tasks, posts=outgoings.posts, local=local)
            entries.append(Entry(partition=partition, epoch=row.epoch, seq=row.seq, outgoings=wanted))
        return entries

    async def _pending(self, instances: Iterable[str]) -> _Pending:
        """The activity attempts of these instances that are out."""
        pending = _Pending()
        for chunk in _chunks(sorted(instances)):
            for stored in (await self._env.store.load(chunk)).values():
                pending.add(stored)
            await asyncio.sleep(0)  # beats must go out meanwhile
        return pending

    # The turn queue --------------------------------------------------------------------------------------

    async def _subscribe(self, partition: Partition) -> Subscription:
        queue = self._env.names.turns(partition.number)
        try:
            return await self._consume(partition, queue)
        except QueueMissingError:
            await self._guard.check()
            await self._guard.declare(queue)
            return await self._consume(partition, queue)

    async def _consume(self, partition: Partition, queue: str) -> Subscription:
        early: list[Delivery] = []

        def deliver(delivery: Delivery) -> None:
            if partition.acks is None:
                early.append(delivery)
            elif partition.open:
                self._sources.deliver(partition, delivery)

        def lost(reason: str) -> None:
            partition.give_up(f"its queue {queue} is lost: {reason}")

        subscription = await self._env.broker.subscribe(
            queue, deliver, prefetch=self._env.settings.prefetch, on_lost=lost
        )
        partition.acks = Acknowledger(subscription)
        for delivery in early:
            self._sources.deliver(partition, delivery)
        return subscription

    # After a wipe ----------------------------------------------------------------------------------------

    def send_again(self, partition: Partition, token: str) -> None:
        """The broker is another one than the partition knows: send all that is pending, once (rule B1)."""
        if partition.resending is None or partition.resending.done():
            partition.resending = asyncio.create_task(self._send_again(partition, token))

    async def _send_again(self, partition: Partition, token: str) -> None:
        try:
            after: str | None = None
            while page := await self._env.store.pending(
                partition.number, idle_since=None, limit=_CHUNK, after=after
            ):
                await self._put_resends(partition, page)
                after = page[-1]
        except StoreError as error:  # the next beat begins anew
            _log.warning("partition %d: what is pending cannot be read yet: %s", partition.number, error)
            return
        await self._outbox.flushed(partition)
        stored = asyncio.Event()
        self._env.intake.put(Parcel(partition=partition, token=token, on_commit=stored.set))
        await stored.wait()

    async def _put_resends(self, partition: Partition, instances: Sequence[str]) -> None:
        committed = asyncio.Semaphore(0)
        for instance in instances:
            item = Item(partition=partition, instance=instance, work=Resend(), on_commit=committed.release)
            self._env.intake.put(Parcel(partition=partition, items=[item]))
        for _ in instances:
            await committed.acquire()


def _readable(rows: Iterable[OutboxRow]) -> Iterator[tuple[OutboxRow, Outgoings]]:
    """The outbox rows with what they hold. One of a newer release, or damaged, stays where it is until somebody can
    read it; the tasks in it are missed and sent again by rule B2."""
    for row in rows:
        try:
            yield row, decode_outgoings(row.body)
        except msgspec.DecodeError as error:
            _log.error(
                "outbox row %d of partition %d (epoch %d) cannot be read and is left there: %s",
                *(row.seq, row.partition, row.epoch, error),
            )


class _Pending:
    """Which tasks somebody waits for."""

    def __init__(self) -> None:
        self._out: set[TaskRef] = set()
        self._unread: set[tuple[str, str]] = set()
        """Runs that live and whose history cannot be read: nobody can tell, so whatever they sent is pending. Who can
        read it may come later (rule U1), and would miss what is dropped here."""

    def __contains__(self, task: TaskRef) -> bool:
        return task in self._out or (task.instance, task.run) in self._unread

    def add(self, stored: StoredInstance) -> None:
        record = stored.record
        try:
            state = State.fold(record.id, record.run, read_history(stored.turns))
        except Exception as error:  # noqa: BLE001 - one instance's history must not keep a partition from being recovered
            fields = {"instance_id": record.id, "partition": record.partition}
            _log.error("instance %r: its history cannot be read: %r", record.id, error, extra=fields)
            if not record.status.is_terminal:
                self._unread.add((record.id, record.run))
            return
        self._out.update(
            TaskRef(
                instance=record.id,
                run=record.run,
                generation=record.generation,
                command=task.scheduled.id,
                attempt=task.attempt,
            )
            for task in state.tasks_out()
        )


def _chunks(instances: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(instances), _CHUNK):
        yield instances[start : start + _CHUNK]
