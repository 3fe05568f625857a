"""The desk: what becomes of one instance in one batch. Everything it decides is in a `Change`; nothing is done yet.

An instance has at most one turn per batch. What exists is decided by letters: a `Start` makes an instance, a `Purge`
removes it, and each of them wants to see the outcome of what came before it, so behind a turn they wait for the next
batch. All the rest are arrivals for `advance`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

from msgspec import structs

from tenuto.core.events import Event, ExecutionStarted
from tenuto.core.letters import Continue, Letter, Purge, Repeat, Rerun, Rewind, Start, encode_letter
from tenuto.core.status import ReuseAction, Status
from tenuto.core.turn import Arrival
from tenuto.errors import StalledError, StoreError
from tenuto.messages import NoticeEntry
from tenuto.naming import partition_of
from tenuto.store.protocol import InboxRow, InstanceRecord, StoredInstance
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.deadlines import due
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.executor import Executor
from tenuto_orchestrator.existence import Existence
from tenuto_orchestrator.holds import hold as hold_tasks
from tenuto_orchestrator.limits import check_turn, refuse_events
from tenuto_orchestrator.losses import lost_tasks, send_again
from tenuto_orchestrator.order import overtaking
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.reruns import Reruns
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.rewinds import is_a_turn, rewind
from tenuto_orchestrator.seals import Seals
from tenuto_orchestrator.stalls import hold, mark_stalled, passes_stall, stall, terminates
from tenuto_orchestrator.work import Claimed, Expire, Inspect, Item, MarkStalled, Resend, Retire, Watching

__all__ = ["Desk"]

_log = logging.getLogger("tenuto.orchestrator")
_NOTHING: Mapping[str, StoredInstance] = MappingProxyType({})


class Desk:
    def __init__(self, env: Environment, executor: Executor) -> None:
        self._env = env
        self._executor = executor
        self._seals = Seals(env.sealer, env.shelf)
        self._existence = Existence(env, self._envelope)
        self._reruns = Reruns(env, executor, self._seals, self._envelope)

    async def handle(
        self,
        partition: Partition,
        instance: str,
        items: Sequence[Item],
        resident: Resident | None,
        *,
        children: Sequence[str],
        stored: Mapping[str, StoredInstance] = _NOTHING,
        now: datetime,
    ) -> Change:
        """Decide about all of a batch's items for one instance. `children` are its child instances, looked up if a
        purge is among the items; `stored` has histories by instance: its own, if it may have to be rewound,
        and those of others that it may have to begin with.
        An engine's bug stalls the instance; it neither ends it nor stops the others."""
        overtook = list(overtaking(items, resident))
        items = [item for item in items if item not in overtook]
        change = Change(partition=partition, instance=instance, items=items, resident=resident)
        change.overtook += [item.row for item in overtook if item.row is not None]
        if self.passes_by(partition, instance, items):
            hold(change, items, self._envelope)
            return change
        try:
            if resident is not None and resident.unreadable is not None:
                self._keep(change, items, children, error=resident.unreadable, now=now)
            else:
                await self._handle(change, items, children, stored, now)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of the engine's must not end a workflow
            _log.exception("instance %r: the turn failed", instance, extra={"instance_id": instance})
            stalled = StalledError(f"engine error: {error!r}")
            kept_back = change.overtook
            if change.insert is not None:
                change = self._stillborn(change, resident, error=stalled, now=now)
            else:
                change = self.stalled(partition, instance, items, resident, error=stalled, now=now)
            change.overtook = kept_back
        _end(change)
        return change

    @staticmethod
    def passes_by(partition: Partition, instance: str, items: Sequence[Item]) -> bool:
        """Whether the items need not even see the instance: it is stalled, and they are only to be held."""
        return instance in partition.stalled and not any(passes_stall(item) for item in items)

    def stalled(
        self,
        partition: Partition,
        instance: str,
        items: Sequence[Item],
        resident: Resident | None,
        *,
        error: StalledError,
        now: datetime,
    ) -> Change:
        """The items kept in the inbox, and the instance as it was before them, STALLED."""
        change = Change(partition=partition, instance=instance, items=items, resident=resident)
        stall(change, items, error, envelope=self._envelope, now=now)
        return change

    def _stillborn(
        self, failed: Change, resident: Resident | None, *, error: StalledError, now: datetime
    ) -> Change:
        """The start of the instance whose first turn failed, so that it can be seen, and terminated."""
        if failed.resident is not None:
            failed.resident.abandon()
        change = Change(
            partition=failed.partition, instance=failed.instance, items=failed.items, resident=resident
        )
        started: ExecutionStarted | None = None
        rest: list[Item] = []
        for item in failed.items:
            if isinstance(item.work, Start) and started is None:
                started = self._existence.start(change, item, item.work, rest, now)
            elif isinstance(item.work, Start | Rewind | Rerun | Purge):
                change.deferred.append(item)
            else:
                rest.append(item)
        self._stall(change, rest, error, started, now)
        return change

    async def _handle(
        self,
        change: Change,
        items: Sequence[Item],
        children: Sequence[str],
        stored: Mapping[str, StoredInstance],
        now: datetime,
    ) -> None:
        arrivals: list[Item] = []
        started: ExecutionStarted | None = None
        waiting = False
        for item in items:
            if waiting and item.row is not None:
                change.deferred.append(item)
                continue
            match item.work:
                case Rewind() | Rerun() | Start() as letter if is_a_turn(change, item):
                    # It is a turn, and a batch has one; what comes without a row cannot wait, so that goes first.
                    others = any(other.row is None for other in items if other is not item)
                    if arrivals or started is not None or others:
                        change.deferred.append(item)
                    else:
                        await self._go_on(change, item, letter, stored, now)
                    waiting = True
                case Start() as letter if not arrivals and started is None:
                    started = self._existence.start(change, item, letter, arrivals, now) or started
                    waiting = started is None and bool(change.deferred)
                case Purge() as letter if not arrivals and started is None:
                    self._existence.purge(change, item, letter, children, arrivals)
                    waiting = True
                case Start() | Rewind() | Rerun() | Purge():
                    change.deferred.append(item)
                    waiting = True
                case _:
                    arrivals += self._other(change, item, now)
                    waiting = waiting or change.gone
        if started is not None or arrivals:
            await self._turn(change, arrivals, started, now)
        change.tasks = await self._seals.for_workers(change.instance, change.tasks)

    def _keep(
        self,
        change: Change,
        items: Sequence[Item],
        children: Sequence[str],
        *,
        error: StalledError,
        now: datetime,
    ) -> None:
        """The instance's history cannot be read, so it cannot even be ended: a purge by force is all that helps."""
        kept: list[Item] = []
        status = change.resident.record.status if change.resident is not None else Status.STALLED
        for item in items:
            match item.work:
                case _ if change.gone:
                    change.deferred.append(item)
                case Purge() as letter:
                    self._existence.purge(change, item, letter, children, [])
                case Start(reuse=reuse) as letter if reuse.decide(status) is not ReuseAction.TERMINATE:
                    self._existence.start(change, item, letter, kept, now)
                case Rerun() as letter:
                    self._reruns.refuse_taken(change, item, letter, status)
                case Watching(queue=queue):
                    self._watch(change, queue)
                case _:
                    kept.append(item)
        if not change.gone:
            stall(change, kept, error, envelope=self._envelope, now=now)

    def _other(self, change: Change, item: Item, now: datetime) -> list[Item]:
        """What neither makes nor removes an instance. Returns the arrivals that it comes to."""
        match item.work:
            case Repeat(reply=to):
                self._existence.repeat(change, to, item)
            case Watching(queue=queue):
                self._watch(change, queue)
            case Resend():
                send_again(change, self._env.names, self._env.sealer, self._env.spans, now)
            case Inspect() as inspect:
                return list(lost_tasks(change, item, inspect, self._env.pools))
            case Claimed(held=held):  # whether anybody waits for it, `settle` looks
                hold_tasks(change, held, now, beat_life=self._env.settings.beat_life)
            case MarkStalled(reason=reason):
                mark_stalled(change, reason, now)
            case Expire() | Retire() as duty:
                self._existence.clean_up(change, duty)
            case Arrival():
                return due(change, item, now, beat_life=self._env.settings.beat_life)
            case Start() | Rewind() | Rerun() | Purge():
                raise AssertionError("what makes, removes or rewinds an instance is dealt with before")
            case _ as unreachable:
                assert_never(unreachable)
        return []

    # Turns --------------------------------------------------------------------------------------------------

    async def _turn(
        self, change: Change, items: Sequence[Item], started: ExecutionStarted | None, now: datetime
    ) -> None:
        # rule T1: to the code no timer is early, even where the clock was set back after it had fired
        now = max([now, *(item.timer.fire_at for item in items if item.timer is not None)])
        if started is not None:
            started, record = await self._store_start(change, started)
            execution = await self._executor.replay(change.instance, record.run, [started])
            history: list[Event] | None = [started] if self._env.keeps_history else None
            change.resident = Resident(record=record, execution=execution, history=history)
        resident = change.resident
        if resident is None or resident.execution is None:
            outcome.too_late(change, [item for item in items if not self._existence.keep(change, item, now)])
            return
        if resident.execution.stalled is not None:
            # Code is not needed to end an instance; after that nothing needs code.
            items = sorted(items, key=lambda item: not terminates(item))
        items = refuse_events(change, items, self._env.settings.waiting_events)
        arrived = {id(item.work): item for item in items}
        view = self._env.spans.view(resident.record, resident.execution.state, items, now)
        try:
            turn = await self._executor.advance(
                resident, [item.work for item in items if isinstance(item.work, Arrival)], now
            )
            check_turn(self._env, resident.execution.state, turn)
        except StalledError as error:
            self._stall(change, items, error, started, now)
            return
        for item in items:
            change.take(item)
        outcome.record_turn(
            change,
            resident,
            turn,
            started=started,
            arrived=arrived,
            names=self._env.names,
            spans=self._env.spans,
            envelope=self._envelope,
            now=now,
        )
        if view is not None:
            change.traced = view.after(turn, change.record)

    async def _store_start(
        self, change: Change, started: ExecutionStarted
    ) -> tuple[ExecutionStarted, InstanceRecord]:
        """The start and the row of an instance, with its input stored apart if it is large."""
        assert change.insert is not None  # noqa: S101 - set together with `started`
        stored = await self._seals.store_start(change.instance, change.insert.run, started)
        if stored is not started:
            change.insert = structs.replace(change.insert, input=bytes(stored.input))
        return stored, change.insert

    def _stall(
        self,
        change: Change,
        items: Sequence[Item],
        error: StalledError,
        started: ExecutionStarted | None,
        now: datetime,
    ) -> None:
        kept = [item for item in items if not terminates(item)]
        if kept or started is not None:  # the history replays, so terminating it works without these
            change.deferred += [item for item in items if terminates(item)]
        else:
            kept = list(items)
        if started is not None:
            outcome.record_start(change, started)
            begin = self._envelope(change.instance, Continue(generation=0), None)
            change.letters.append(replace(begin, held=True))
        stall(change, kept, error, envelope=self._envelope, now=now)
        if started is not None and change.resident is not None:
            change.resident.abandon()  # nobody else knows it

    async def _go_on(
        self,
        change: Change,
        item: Item,
        letter: Rewind | Rerun | Start,
        stored: Mapping[str, StoredInstance],
        now: datetime,
    ) -> None:
        if isinstance(letter, Rerun):
            await self._reruns.rerun(change, item, letter, stored.get(letter.source), now)
            return
        await rewind(
            change,
            item,
            letter,
            stored=stored.get(change.instance),
            executor=self._executor,
            env=self._env,
            envelope=self._envelope,
            now=now,
        )

    def _watch(self, change: Change, queue: str) -> None:
        record = change.resident.record if change.resident is not None else change.insert
        if record is None or record.status.is_terminal:
            change.notices.append((queue, NoticeEntry(instance=change.instance)))
        else:
            change.watchers.append(queue)

    def _envelope(self, instance: str, letter: Letter, run: str | None) -> InboxRow:
        return InboxRow(
            id=self._env.new_id(),
            partition=partition_of(instance, self._env.partitions),
            target=instance,
            run=run,
            body=encode_letter(self._env.sealer.seal(letter, instance)),
        )


def _end(change: Change) -> None:
    """Where the instance is over, or another takes its place: what was held for it goes, and whoever asked is told."""
    ended = change.record is not None and change.record.status.is_terminal
    if not (ended or change.gone or change.delete is not None):
        return
    kept = {item.row.id for item in change.deferred if item.row is not None}
    taken = {row.id for row in change.taken}
    held = change.partition.held.get(change.instance, {})
    change.dropped += [id_ for id_ in held if id_ not in kept and id_ not in taken]
    if ended and change.record is not None:
        for to in change.partition.replies.pop(change.instance, ()):
            change.reply(to, outcome.reply_of(change.record))
