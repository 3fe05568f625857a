"""The engine with one rule left out: each of these must be caught, or the simulation does not see what it is for.

Each mutant replaces a piece of the real code (or, where a rule is the database's to keep, of the simulated one) for as
long as its context lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from tenuto.broker.protocol import Delivery, Subscription
from tenuto.core.arrivals import Judge
from tenuto.core.effects import Effects
from tenuto.core.pending import PendingActivity
from tenuto.core.state import State
from tenuto.core.turn_builder import TurnBuilder
from tenuto.errors import StoreUnavailableError
from tenuto.store.protocol import InboxRow, PartitionWrites
from tenuto_orchestrator import desk
from tenuto_orchestrator.change import Part
from tenuto_orchestrator.door import Door
from tenuto_orchestrator.guard import BrokerGuard
from tenuto_orchestrator.local import LocalActivities
from tenuto_orchestrator.outbox import Entry, Outbox
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.pipeline import Pipeline
from tenuto_orchestrator.recovery import Recoverer
from tenuto_orchestrator.residents import Residents
from tenuto_orchestrator.sources import Sources
from tenuto_orchestrator.upkeep import Upkeep
from tests.simulation.database import Database
from tests.simulation.feature_mutants import FEATURE_MUTANTS
from tests.simulation.mutation import mutant, replaced
from tests.simulation.worker_mutants import WORKER_MUTANTS

__all__ = ["MUTANTS"]


# Ownership and takeover -------------------------------------------------------------------------------------------


def _fence_skipped() -> AbstractContextManager[object]:
    return patch.object(Database, "_holds", lambda self, writes: writes.partition in self.leases)


def _epoch_kept() -> AbstractContextManager[object]:
    """The epoch does not rise when an owner takes its own partition anew."""

    def make(original: Any) -> Any:
        def claim(self: Database, owner: str, partitions: Sequence[int], lease: timedelta) -> dict[int, int]:
            mine = [
                number
                for number in partitions
                if number in self.leases and self.leases[number].owner == owner
            ]
            taken: dict[int, int] = original(self, owner, partitions, lease)
            for number in set(mine) & taken.keys():
                self.leases[number].epoch -= 1
                taken[number] -= 1
            return taken

        return claim

    return replaced(Database, "claim", make)


def _outbox_forgotten() -> AbstractContextManager[object]:
    async def still_wanted(*_: object) -> list[Entry]:
        return []

    return patch.object(Recoverer, "_still_wanted", still_wanted)


def _timers_forgotten() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def watch_timers(
            self: Sources, partition: Partition, rows: Any, until: Any, *, complete: bool
        ) -> None:
            first = partition.subscription is None
            original(self, partition, [] if first else rows, until, complete=complete or first)

        return watch_timers

    return replaced(Sources, "watch_timers", make)


def _held_letters_forgotten() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def letter(self: Sources, partition: Partition, row: InboxRow, *, fresh: bool = False) -> bool:
            return partition.note(row) if row.held else original(self, partition, row, fresh=fresh)

        return letter

    return replaced(Sources, "letter", make)


def _residents_kept() -> AbstractContextManager[object]:
    return patch.object(Residents, "drop_partition", lambda _self, _partition: None)


# The commit -------------------------------------------------------------------------------------------------------


def _changes_nothing(part: Part) -> bool:
    empty = PartitionWrites(partition=part.writes.partition, epoch=part.writes.epoch)
    return part.writes == empty


def _empty_turn_not_committed() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def store_parts(self: Pipeline, parts: Sequence[Part]) -> list[Part]:
            empty = [part for part in parts if _changes_nothing(part)]
            kept: list[Part] = await original(self, [part for part in parts if part not in empty])
            return kept + empty

        return store_parts

    return replaced(Pipeline, "_store_parts", make)


def _unknown_taken_for_done() -> AbstractContextManager[object]:
    return _unknown(list)


def _unknown_taken_for_failed() -> AbstractContextManager[object]:
    return _unknown(lambda _parts: [])


def _unknown(outcome: Callable[[Sequence[Part]], list[Part]]) -> AbstractContextManager[object]:
    """After an ambiguous commit the partitions are kept."""

    def make(original: Any) -> Any:
        async def store_parts(self: Pipeline, parts: Sequence[Part]) -> list[Part]:
            commit = self._env.store.commit
            failed = False

            async def committing(writes: Sequence[PartitionWrites], *, lease: timedelta) -> frozenset[int]:
                nonlocal failed
                try:
                    return await commit(writes, lease=lease)
                except StoreUnavailableError:
                    failed = True
                    return frozenset()

            with patch.object(self._env.store, "commit", committing):
                kept: list[Part] = await original(self, parts)
            return outcome(parts) if failed else kept

        return store_parts

    return replaced(Pipeline, "_store_parts", make)


def _published_before_commit() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def store_parts(self: Pipeline, parts: Sequence[Part]) -> list[Part]:
            for part in parts:
                self._settler.publish(part)
            kept: list[Part] = await original(self, parts)
            return kept

        return store_parts

    return replaced(Pipeline, "_store_parts", make)


def _acknowledged_before_commit() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def commit(self: Pipeline, parcels: Sequence[Any], changes: Sequence[Any]) -> None:
            for parcel in parcels:
                if parcel.tag is not None and parcel.partition.acks is not None:
                    parcel.partition.acks.commit(parcel.tag)
                    parcel.partition.acks.flush()
                    parcel.tag = None
            await original(self, parcels, changes)

        return commit

    return replaced(Pipeline, "_commit", make)


def _outbox_deleted_unconfirmed() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def put(self: Outbox, entry: Entry) -> None:
            entry.partition.confirmed.append((entry.epoch, entry.seq))
            original(self, entry)

        return put

    return replaced(Outbox, "put", make)


def _local_row_deleted_unanswered() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def put(self: LocalActivities, partition: Partition, task: Any, done: Callable[[], None]) -> None:
            done()
            original(self, partition, task, lambda: None)

        return put

    return replaced(LocalActivities, "put", make)


def _batch_not_split() -> AbstractContextManager[object]:
    async def one_by_one(
        _self: Pipeline, partitions: Sequence[Partition], *_: object
    ) -> tuple[list[Any], list[Any]]:
        for partition in partitions:
            partition.give_up("its batch was refused")
        return [], []

    return patch.object(Pipeline, "_one_by_one", one_by_one)


# The inbox --------------------------------------------------------------------------------------------------------


def _bell_only() -> AbstractContextManager[object]:
    return patch.object(Upkeep, "_look", lambda _self: None)


def _order_of_letters_ignored() -> AbstractContextManager[object]:
    return patch.object(desk, "overtaking", lambda _items, _resident: ())


def _door_acknowledges_first() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def take_in(self: Door, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
            subscription.ack(deliveries[-1].tag, multiple=True)
            with patch.object(subscription, "ack", lambda *_args, **_options: None):
                await original(self, subscription, deliveries)

        return take_in

    return replaced(Door, "_take_in", make)


# Identity ---------------------------------------------------------------------------------------------------------


def _any_attempt_counts() -> AbstractContextManager[object]:
    def is_pending(self: State, command: int, attempt: int) -> bool:
        del attempt
        return isinstance(self.pending.get(command), PendingActivity)

    return patch.object(State, "is_pending", is_pending)


def _any_run_counts() -> AbstractContextManager[object]:
    def misdirected(self: Judge, _arrival: object) -> str | None:
        return "over" if self.state.status.is_terminal else None

    return patch.object(Judge, "_misdirected", misdirected)


def _message_ids_ignored() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        return lambda self, delivery: replace(original(self, delivery), message_id=None)

    return replaced(Door, "_admission", make)


def _children_not_terminated() -> AbstractContextManager[object]:
    return patch.object(Effects, "end_child", lambda _self, _child, _reason: None)


# The broker -----------------------------------------------------------------------------------------


def _wipe_not_noticed() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def marked(self: BrokerGuard) -> bool:
            found: bool = bool(self.token) or await original(self)
            return found

        return marked

    return replaced(BrokerGuard, "_marked", make)


def _nothing_sent_after_wipe() -> AbstractContextManager[object]:
    def send_again(_self: Recoverer, partition: Partition, token: str) -> None:
        partition.token = token

    return patch.object(Recoverer, "send_again", send_again)


def _lost_tasks_not_found() -> AbstractContextManager[object]:
    async def find_lost(_self: Upkeep) -> None:
        pass

    return patch.object(Upkeep, "_find_lost", find_lost)


# Time -------------------------------------------------------------------------------------------------------------


def _time_goes_back() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def init(self: TurnBuilder, state: State, now: Any, **options: Any) -> None:
            original(self, state, now, **options)
            self.at = now

        return init

    return replaced(TurnBuilder, "__init__", make)


MUTANTS = (
    mutant("the fence is skipped", "C1", _fence_skipped, 100, "commits"),
    mutant("the epoch does not rise for the same owner", "O1", _epoch_kept, 200, "commits"),
    mutant("the outbox is not read at takeover", "O2", _outbox_forgotten, 100),
    mutant("timers are forgotten at takeover", "O2", _timers_forgotten, 100),
    mutant("what is held is not tried again at a takeover", "O5", _held_letters_forgotten, 20, "behind"),
    mutant("residents outlive the loss of their partition", "O2", _residents_kept, 250),
    mutant(
        "an empty turn is acknowledged without a commit", "C2", _empty_turn_not_committed, 400, "takeovers"
    ),
    mutant("deliveries are acknowledged before the commit", "C2", _acknowledged_before_commit, 20),
    mutant("an unknown commit is taken for done", "C3", _unknown_taken_for_done, 60),
    mutant("an unknown commit is taken for failed", "C3", _unknown_taken_for_failed, 60),
    mutant("tasks are published before the commit", "C4", _published_before_commit, 20),
    mutant("outbox rows are deleted before they are confirmed", "C4", _outbox_deleted_unconfirmed, 100),
    mutant(
        "a local activity's row is deleted before its answer is committed",
        "C4",
        _local_row_deleted_unanswered,
        20,
    ),
    mutant("a batch that is refused is not split", "C6", _batch_not_split, 60),
    mutant("nobody looks into the inbox unless a bell rings", "I1", _bell_only, 150, "bells"),
    mutant("letters in memory overtake those in the table", "I1", _order_of_letters_ignored, 600, "letters"),
    mutant("the door acknowledges before it has stored", "I3", _door_acknowledges_first, 250),
    mutant("an answer to another attempt counts", "N1", _any_attempt_counts, 300),
    mutant("an arrival for another run or generation counts", "N1", _any_run_counts, 500, "crowds"),
    mutant("message ids are ignored", "N2", _message_ids_ignored, 150),
    mutant("children are not terminated", "N3", _children_not_terminated, 60),
    mutant("a wiped broker is not noticed", "B1", _wipe_not_noticed, 300),
    mutant("nothing is sent again after a wipe", "B1", _nothing_sent_after_wipe, 30),
    mutant("lost tasks are not looked for", "B2", _lost_tasks_not_found, 80, "losses"),
    *WORKER_MUTANTS,
    *FEATURE_MUTANTS,
    mutant("turn time goes backwards", "T1", _time_goes_back, 100, "clocks"),
)
