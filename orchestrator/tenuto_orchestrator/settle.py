"""After the commit: memory follows the database, then the world hears of it.

Timers, inbox rows and doorbells enter memory only here (rule C5), and only for partitions whose fence held.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

from tenuto.core.status import Status
from tenuto.messages import NoticeEntry, TaskRef
from tenuto_orchestrator.change import Change, Part
from tenuto_orchestrator.courier import Courier
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.measures import Measures
from tenuto_orchestrator.outbox import Entry, Outbox
from tenuto_orchestrator.partition import Partition, Stall
from tenuto_orchestrator.sources import Sources
from tenuto_orchestrator.sweeper import Sweeper
from tenuto_orchestrator.work import Parcel

__all__ = ["Settler"]

_log = logging.getLogger("tenuto.orchestrator")
_WATCHED = 50_000
"""Instances of a partition whose starts and ends are told to waiting clients."""


class Settler:
    def __init__(
        self, env: Environment, sources: Sources, outbox: Outbox, courier: Courier, sweeper: Sweeper
    ) -> None:
        self._env = env
        self._sweeper = sweeper
        self._sources = sources
        self._outbox = outbox
        self._courier = courier
        self._measures = Measures(env)

    async def backlog_falls(self) -> None:
        """Wait while too much is unconfirmed (rule C4)."""
        if self._outbox.backlog > self._env.settings.outbox_limit:
            await self._outbox.below(self._env.settings.outbox_limit)

    def settle(self, parcels: Sequence[Parcel], changes: Sequence[Change], parts: Sequence[Part]) -> None:
        """A batch is committed for the partitions of `parts`: publish, follow, acknowledge."""
        kept = dict.fromkeys(part.partition for part in parts if part.partition.open)
        for part in parts:
            if part.partition in kept:
                self.publish(part)
        for change in changes:
            if change.partition in kept:
                self._follow(change)
        for parcel in parcels:
            if parcel.partition in kept:
                _follow_parcel(parcel)
        for partition in kept:
            if partition.acks is not None:
                partition.acks.flush()
        self._measures.committed(change for change in changes if change.partition in kept)

    def publish(self, part: Part) -> None:
        """Hand a committed outbox row to the publisher (rule C4: never before the commit)."""
        row = part.writes.outbox_added
        if row is not None:
            self._outbox.put(
                Entry(partition=part.partition, epoch=row.epoch, seq=row.seq, outgoings=part.outgoings)
            )

    def _follow(self, change: Change) -> None:
        partition = change.partition
        if change.traced is not None:
            self._env.spans.emit(change.traced, self._env.now())
        self._drop_unwanted(change)
        self._sweep(change)
        self._follow_instance(change)
        for row in change.timers_cleared:
            self._sources.timers.remove(partition, row)
        for row in change.timers_set:
            self._sources.timers.add(partition, row)
        self._follow_letters(change)
        for queue, entry in change.notices:
            self._courier.notify(queue, entry)
        for item in change.items:
            if item.on_commit is not None and item not in change.deferred:
                item.on_commit()
        self._env.intake.put_back([Parcel(partition=partition, items=[item]) for item in change.deferred])

    def _follow_letters(self, change: Change) -> None:
        partition = change.partition
        for letter_row in change.taken:
            partition.known.discard(letter_row.id)
        if change.dropped:
            partition.known.difference_update(change.dropped)
            partition.held.pop(change.instance, None)
        for letter_row in (*change.held, *change.still_held):
            partition.held.setdefault(change.instance, {})[letter_row.id] = None
        self._follow_kept(change)
        for letter_row in change.overtook:
            partition.known.discard(letter_row.id)
            partition.inbox_due = True
            self._env.intake.wake()
        for letter_row in change.letters:
            owner = self._env.owned.get(letter_row.partition)
            if owner is None or not owner.open:
                self._courier.ring(self._env.names.turns(letter_row.partition))
            elif letter_row.held:
                owner.note(letter_row)
                owner.held.setdefault(letter_row.target, {})[letter_row.id] = None
            else:
                self._sources.letter(owner, letter_row, fresh=True)

    def _follow_kept(self, change: Change) -> None:
        """What waits for the instance to be started."""
        partition = change.partition
        for row, until in change.kept:
            partition.kept[row.id] = (change.instance, until)
        for id_ in (*change.released, *change.expired):
            partition.known.discard(id_)
            partition.kept.pop(id_, None)
            partition.held.get(change.instance, {}).pop(id_, None)
        if change.released:
            partition.inbox_due = True
            self._env.intake.wake()

    def _follow_instance(self, change: Change) -> None:
        partition, instance = change.partition, change.instance
        before = change.status_before
        if instance in partition.held_back and (change.record is not None or change.gone):
            self._outbox.follow(instance, change.record)
        if change.watchers:
            partition.watchers.setdefault(instance, set()).update(change.watchers)
            while len(partition.watchers) > _WATCHED:  # clients look by themselves, if more slowly
                del partition.watchers[next(iter(partition.watchers))]
        if change.gone:
            self._env.residents.drop(instance)
            partition.stalled.pop(instance, None)
            self._tell_watchers(partition, instance, over=True)
            return
        if change.stalled:
            self._env.residents.drop(instance)
            record = (
                change.record
                if change.record is not None or change.resident is None
                else change.resident.record
            )
            marked = record is None or record.status is Status.STALLED
            _log.warning("instance %r is held: %s", instance, change.reason, extra={"instance_id": instance})
            mark_at = (
                math.inf if marked else asyncio.get_running_loop().time() + self._env.settings.stall_grace
            )
            known = partition.stalled.get(instance)
            cause = change.cause or ("StalledError" if known is None else known.cause)
            partition.stalled[instance] = Stall(reason=change.reason, mark_at=mark_at, cause=cause)
            return
        resident = change.resident
        if resident is None:
            return
        over = False
        if change.record is not None:
            partition.stalled.pop(instance, None)
            resident.record = change.record
            over = resident.record.status.is_terminal
            if over or before in (None, Status.PENDING, Status.STALLED):
                self._tell_watchers(partition, instance, over=over)
        self._env.residents.put(resident)
        if over:  # whoever asks for it again finds it in the database
            self._env.residents.drop(instance)

    def _drop_unwanted(self, change: Change) -> None:
        """Tell the workers that hold tasks of the instance for which it does not wait any more."""
        for task, holding in change.partition.beats.of(change.instance):
            if not _is_wanted(change, task):
                change.partition.beats.forget(task)
                self._courier.drop(holding.worker, task)

    def _sweep(self, change: Change) -> None:
        """What was stored apart goes with the run or the generation that it belonged to."""
        if change.delete is not None:
            self._sweeper.run_is_gone(change.delete.id, change.delete.run)
        if change.drop_below is not None and change.record is not None:
            self._sweeper.generation_is_gone(change.instance, change.record.run, change.drop_below - 1)

    def _tell_watchers(self, partition: Partition, instance: str, *, over: bool) -> None:
        queues = partition.watchers.pop(instance, ()) if over else partition.watchers.get(instance, ())
        for queue in sorted(queues):
            self._courier.notify(queue, NoticeEntry(instance=instance))


def _is_wanted(change: Change, task: TaskRef) -> bool:
    """Whether the task is pending after the change, as far as one can tell (rule N1)."""
    resident = change.resident
    record = change.record if change.record is not None or resident is None else resident.record
    if change.gone:
        return False
    if record is None:  # there is no such instance, unless it is stalled and was not even looked at
        return change.instance in change.partition.stalled
    if record.run != task.run or record.status.is_terminal:
        return False
    if change.stalled or resident is None or resident.execution is None:  # nobody can tell at present
        return True
    state = resident.execution.state
    return state.generation == task.generation and state.is_pending(task.command, task.attempt)


def _follow_parcel(parcel: Parcel) -> None:
    partition = parcel.partition
    if parcel.token is not None:
        partition.token = parcel.token
    if parcel.on_commit is not None:
        parcel.on_commit()
    if parcel.tag is not None and partition.acks is not None:
        partition.acks.commit(parcel.tag)  # rule C2: after the fenced commit, also of an empty turn
