"""Where work comes from: turn queues, the inbox, timers. All of it becomes parcels in the intake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from tenuto.broker.protocol import Delivery
from tenuto.core.events import ActivityCompleted, ActivityFailed, Failure
from tenuto.core.letters import (
    Answered,
    ChildEnded,
    Continue,
    Purge,
    Raise,
    Repeat,
    Rerun,
    Resume,
    Rewind,
    Start,
    Suspend,
    Terminate,
    decode_letter,
)
from tenuto.core.turn import Arrival, TaskLost, TimerDue, What
from tenuto.messages import (
    ActivityResult,
    Beat,
    Bell,
    Held,
    Results,
    Returned,
    TaskRef,
    TurnMessage,
    Watch,
    decode_turn_message,
    task_ref,
)
from tenuto.naming import partition_of
from tenuto.store.protocol import InboxRow, TimerRow
from tenuto_orchestrator.change import dead_letter
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.holds import hold_row
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.timers import TimerHeap
from tenuto_orchestrator.work import Claimed, Item, Parcel, Watching, Work

__all__ = ["Sources"]

_log = logging.getLogger("tenuto.orchestrator")
_INBOX_PAGE = 2000
"""Inbox rows read at once, over all partitions."""
_LONGEST_WORKER = 160
"""Characters of a worker's name, which is part of a queue's."""
_TIMER_PAGE = 2000
"""Timers of a partition that are read at once."""


class Sources:
    def __init__(self, env: Environment) -> None:
        self._env = env
        self.timers = TimerHeap(self._timer_due, env.now)

    # Turn queues -----------------------------------------------------------------------------------------

    def deliver(self, partition: Partition, delivery: Delivery) -> None:
        """A message from the partition's turn queue."""
        try:
            parcel = self._parcel(partition, delivery.tag, decode_turn_message(delivery.body))
        except (msgspec.DecodeError, ValueError) as error:
            _log.warning("a message on partition %d's turn queue cannot be read: %s", partition.number, error)
            post = dead_letter(self._env.names.dead, delivery.body, str(error))
            parcel = Parcel(partition=partition, tag=delivery.tag, post=post)
        self._env.intake.put(parcel)

    def _parcel(self, partition: Partition, tag: int, message: TurnMessage) -> Parcel:
        match message:
            case Results(results=results):
                for result in results:
                    self._env.durations.note(result.name, result.seconds)
                items = [self._back(partition, r, _answer(r)) for r in results]
            case Returned(tasks=tasks, counted=counted):
                items = [self._back(partition, t, _loss(partition, t, counted=counted)) for t in tasks]
            case Beat():
                items = self._claims(partition, message)
            case Watch(instance=instance, queue=queue):
                self._check_home(partition, instance)
                items = [Item(partition=partition, instance=instance, work=Watching(queue))]
            case Bell():
                partition.inbox_due = True
                items = []
            case _ as unreachable:
                assert_never(unreachable)
        return Parcel(partition=partition, tag=tag, items=items)

    def _claims(self, partition: Partition, beat: Beat) -> list[Item]:
        if len(beat.worker) > _LONGEST_WORKER:
            raise ValueError(f"a worker is called {beat.worker[:80]}…, which is too long")
        moment = asyncio.get_running_loop().time()
        new: dict[str, list[TaskRef]] = {}
        for task in beat.tasks:
            self._check_home(partition, task.instance)
            if partition.beats.hear(beat.worker, task, moment, pool=beat.pool):
                held = new.setdefault(task.instance, [])
                if task.held:
                    held.append(task_ref(task))
        return [
            Item(partition=partition, instance=instance, work=Claimed(tuple(held)))
            for instance, held in new.items()
        ]

    def _back(self, partition: Partition, task: TaskRef, what: What) -> Item:
        """A task has come back, answered or not: no worker has it any more."""
        item = self._item(partition, task, what)
        known = partition.beats.forget(task)
        if isinstance(what, TaskLost) or (
            known is not None and known.held
        ):  # the hold, if it was one, is over
            item.timer = hold_row(task, self._env.now())
        return item

    def _item(self, partition: Partition, ref: TaskRef, what: What) -> Item:
        self._check_home(partition, ref.instance)
        if "\0" in ref.run:  # the row of its hold is named by it
            raise ValueError(f"run {ref.run[:80]!r} holds a NUL")
        arrival = Arrival(what=what, run=ref.run, generation=ref.generation)
        return Item(partition=partition, instance=ref.instance, work=arrival)

    def _check_home(self, partition: Partition, instance: str) -> None:
        if "\0" in instance:  # no database could even look for it
            raise ValueError(f"instance {instance[:80]!r} holds a NUL")
        home = partition_of(instance, self._env.partitions)
        if home != partition.number:
            raise ValueError(f"instance {instance[:80]!r} is of partition {home}")

    # The inbox -------------------------------------------------------------------------------------------

    def letter(self, partition: Partition, row: InboxRow, *, fresh: bool = False) -> bool:
        """A letter that is committed to the partition's inbox; False if it is in memory already. `fresh`: it was not
        read from there, so it may have overtaken others."""
        if not partition.note(row):
            return False
        try:
            self._check_home(partition, row.target)
            work = _work(row)
        except (msgspec.DecodeError, ValueError) as error:  # of a newer release, or forged
            _log.error("inbox row %s for %r cannot be read and is held there: %s", row.id, row.target, error)
            if not row.held:
                self._env.intake.put(Parcel(partition=partition, unreadable=row.id))
            return True
        self._env.intake.put(
            Parcel(
                partition=partition,
                items=[Item(partition=partition, instance=row.target, work=work, row=row, fresh=fresh)],
            )
        )
        return True

    async def refill(self) -> None:
        """Read what the tables hold beyond memory: inboxes where a bell rang, timers whose horizon has come near.
        Called between commits only, so that nothing read here is about to be deleted."""
        due = [p for p in self._env.owned.values() if p.open and p.inbox_due]
        if due:
            for partition in due:
                partition.inbox_due = False
            rows = await self._env.store.inbox([p.number for p in due], limit=_INBOX_PAGE)
            by_number = {partition.number: partition for partition in due}
            news = [self.letter(by_number[row.partition], row) for row in rows]
            if len(rows) == _INBOX_PAGE and any(news):  # those in memory make room when they are committed
                for partition in due:
                    partition.inbox_due = True
                self._env.intake.wake()
        near = self._env.now() + self._env.horizon / 2
        for partition in [p for p in self._env.owned.values() if p.open]:
            if partition.timers_until < near.timestamp():
                await self._read_timers(partition)

    async def _read_timers(self, partition: Partition) -> None:
        until = self._env.now() + self._env.horizon
        since = datetime.fromtimestamp(partition.timers_until, UTC)
        limit = _TIMER_PAGE + sum(row.fire_at == since for row in partition.timers.values())
        rows = await self._env.store.timers([partition.number], since=since, until=until, limit=limit)
        self.watch_timers(partition, rows, until, complete=len(rows) < limit)

    def watch_timers(
        self, partition: Partition, rows: Sequence[TimerRow], until: datetime, *, complete: bool
    ) -> None:
        """Take timers just read from the table: all up to `until`, or (not complete) up to the last one's time."""
        last = until if complete else rows[-1].fire_at
        partition.timers_until = max(partition.timers_until, last.timestamp())
        for row in rows:
            self.timers.add(partition, row)

    def _timer_due(self, partition: Partition, row: TimerRow) -> None:
        what = TimerDue(command=row.key.command, attempt=row.key.attempt)
        arrival = Arrival(what=what, run=row.run, generation=row.generation)
        item = Item(partition=partition, instance=row.instance, work=arrival, timer=row)
        self._env.intake.put(Parcel(partition=partition, items=[item]))

    # The broker's refusals -------------------------------------------------------------------------------

    def refused(self, partition: Partition, task: TaskRef, done: Callable[[], None]) -> None:
        """The broker will never take this task: its activity fails, clearly (rule B4)."""
        failure = Failure(
            type="MessageTooLargeError",
            message="the broker refuses the activity's message: its input is too large for one. Keep the data "
            "elsewhere and pass a reference to it, or raise the broker's limit and TENUTO_MAX_MESSAGE_BYTES",
            retryable=False,
        )
        what = ActivityFailed(command=task.command, attempt=task.attempt, failure=failure)
        self._answered(partition, task, what, done)

    # Local activities ------------------------------------------------------------------------------------

    def answered_here(self, partition: Partition, result: ActivityResult, done: Callable[[], None]) -> None:
        """A task that was executed in this process; `done` is for when its answer is committed."""
        self._answered(partition, result, _answer(result), done)

    def _answered(
        self,
        partition: Partition,
        task: TaskRef,
        what: ActivityCompleted | ActivityFailed,
        done: Callable[[], None],
    ) -> None:
        arrival = Arrival(what=what, run=task.run, generation=task.generation)
        item = Item(partition=partition, instance=task.instance, work=arrival, on_commit=done)
        self._env.intake.put(Parcel(partition=partition, items=[item]))


def _loss(partition: Partition, task: Held, *, counted: bool) -> TaskLost:
    """The next worker gets the heartbeat details of the one that had it, as far as those are known."""
    holding = partition.beats.get(task)
    details = task.details if task.details is not None or holding is None else holding.details
    return TaskLost(
        command=task.command,
        attempt=task.attempt,
        counted=counted,
        sending=task.sending,
        details=details,
    )


def _answer(result: ActivityResult) -> ActivityCompleted | ActivityFailed:
    if result.failure is not None:
        return ActivityFailed(
            command=result.command, attempt=result.attempt, failure=result.failure, details=result.details
        )
    if result.result is None:
        raise ValueError("an activity result must have a result or a failure")
    return ActivityCompleted(command=result.command, attempt=result.attempt, result=result.result)


def _work(row: InboxRow) -> Work:
    letter = decode_letter(row.body)
    match letter:
        case Start() | Rewind() | Rerun() | Purge() | Repeat():
            return letter
        case Answered(generation=generation, command=command, attempt=attempt):
            what = _kept_answer(letter, command, attempt)
            return Arrival(what=what, run=row.run, generation=generation)
        case ChildEnded(generation=generation) | Continue(generation=generation):
            return Arrival(what=letter, run=row.run, generation=generation)
        case Raise() | Suspend() | Resume() | Terminate():
            return Arrival(what=letter, run=row.run)
        case _ as unreachable:
            assert_never(unreachable)


def _kept_answer(letter: Answered, command: int, attempt: int) -> ActivityCompleted | ActivityFailed:
    if letter.failure is not None:
        return ActivityFailed(
            command=command, attempt=attempt, failure=letter.failure, details=letter.details
        )
    result = letter.result if letter.result is not None else msgspec.Raw(b"null")
    return ActivityCompleted(command=command, attempt=attempt, result=result)
