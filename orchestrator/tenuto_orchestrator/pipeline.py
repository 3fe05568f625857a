"""The turn pipeline: gather, advance, commit, publish and acknowledge; one for all partitions of the process.

What happens at the same time is committed together. There is no linger: while a commit is under way the next batch
forms by itself. All reads of inbox and timers happen here, between commits, so that none can see a row that a commit
under way is about to delete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from tenuto.core.execution import compare_custom_status
from tenuto.core.histories import read_history
from tenuto.core.letters import Purge, Rerun, Rewind, Start
from tenuto.errors import ConflictError, DataRefusedError, StalledError, StoreError
from tenuto.metrics import catalogue
from tenuto.store.protocol import InstanceFilter, StoredInstance
from tenuto_orchestrator.change import Change, Part, merge
from tenuto_orchestrator.desk import Desk
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.executor import Executor
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.settle import Settler
from tenuto_orchestrator.sources import Sources
from tenuto_orchestrator.stalls import unreadable
from tenuto_orchestrator.work import Item, Parcel

__all__ = ["Pipeline"]

_log = logging.getLogger("tenuto.orchestrator")
_IDLE_DELETE = 0.5
"""Seconds after which confirmed outbox rows are deleted by a commit of their own (rule C4)."""
_SLICE = 0.02
"""Seconds of advancing after which other tasks of the loop get their turn."""
_LOADED_AT_ONCE = 50
"""Instances whose histories are loaded by one query: it must fit into the time that a statement has."""


class _Slices:
    """Lets the other tasks of the loop, beats above all, run now and then in the middle of a long batch."""

    def __init__(self) -> None:
        self._pause_at = 0.0

    def is_over(self) -> bool:
        """Whether it is time to `breathe`."""
        return asyncio.get_running_loop().time() >= self._pause_at

    async def breathe(self) -> None:
        await asyncio.sleep(0)
        self._pause_at = asyncio.get_running_loop().time() + _SLICE


class Pipeline:
    def __init__(
        self, env: Environment, sources: Sources, executor: Executor, desk: Desk, settler: Settler
    ) -> None:
        self._env = env
        self._sources = sources
        self._executor = executor
        self._desk = desk
        self._settler = settler
        self._slices = _Slices()
        self._sweep_at: float | None = None
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Take batches until `stop`."""
        while not self._stopping:
            await self._settler.backlog_falls()
            await self._env.intake.wait(self._until_sweep())
            self._idle.clear()
            try:
                if not self._stopping:
                    await self._cycle(sweep=self._until_sweep() == 0.0)
            except Exception:  # noqa: BLE001 - a bug: nothing is lost, since what is not committed comes again
                _log.exception("a batch failed; giving up all partitions")
                for partition in list(self._env.owned.values()):
                    partition.give_up("an error of the engine's; see the log")
            finally:
                self._idle.set()

    def _until_sweep(self) -> float | None:
        """Seconds until confirmed outbox rows are deleted though nothing else is to be committed; None: no rows."""
        if not any(partition.confirmed for partition in self._env.owned.values()):
            self._sweep_at = None
            return None
        now = asyncio.get_running_loop().time()
        if self._sweep_at is None:
            self._sweep_at = now + _IDLE_DELETE
        return max(0.0, self._sweep_at - now)

    async def stop(self) -> None:
        """Finish the batch under way and take no other."""
        self._stopping = True
        self._env.intake.wake()
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until no batch is under way."""
        await self._idle.wait()

    async def sweep(self, partitions: Sequence[Partition]) -> None:
        """Delete the outbox rows of these partitions that are confirmed."""
        await self._store_parts([merge(p, ()) for p in partitions if p.confirmed and p.usable()])

    async def _cycle(self, *, sweep: bool) -> None:
        parcels = self._env.intake.take(self._env.settings.batch)
        try:
            await self._sources.refill()
            parcels += self._env.intake.take(self._env.settings.batch - sum(len(p.items) for p in parcels))
            if not parcels and not sweep:
                return
            changes = await self._advance(parcels)
        except StoreError as error:
            for parcel in parcels:
                parcel.partition.give_up(f"reading from the database failed: {error}")
            return
        await self._env.faults.reach("batch.advanced")
        await self._commit(parcels, changes)
        self._sweep_at = None
        self._env.residents.trim()

    # Advance ---------------------------------------------------------------------------------------------

    async def _advance(self, parcels: Sequence[Parcel]) -> list[Change]:
        groups: dict[str, list[Item]] = {}
        for parcel in parcels:
            # One taken before its partition was lost must not stand in the way of those that came with the new epoch.
            for item in parcel.items if parcel.partition.open else ():
                groups.setdefault(item.instance, []).append(item)
        await self._load(groups)
        children = await self._children(groups)
        stored = await self._to_go_on(groups)
        changes = []
        now = self._env.now()
        for instance, items in groups.items():
            partition = items[0].partition
            if not partition.open:
                continue
            resident = self._env.residents.get(instance)
            changes.append(
                await self._desk.handle(
                    partition,
                    instance,
                    items,
                    resident,
                    children=children.get(instance, ()),
                    stored=stored,
                    now=now,
                )
            )
            if self._slices.is_over():
                await self._slices.breathe()
        return changes

    async def _load(self, groups: Mapping[str, Sequence[Item]]) -> None:
        """Bring in what is not resident."""
        missing = [
            instance
            for instance, items in groups.items()
            if self._env.residents.get(instance) is None
            and not self._desk.passes_by(items[0].partition, instance, items)
        ]
        if self._env.recorder.on:
            hits = sum(self._env.residents.get(instance) is not None for instance in groups)
            self._env.recorder.count(catalogue.RESIDENT_HITS, amount=hits)
        for start in range(0, len(missing), _LOADED_AT_ONCE):
            chunk = missing[start : start + _LOADED_AT_ONCE]
            for instance, stored in (await self._env.store.load(chunk)).items():
                resident = await self._resident(instance, stored)
                if groups[instance][0].partition.open:  # else another owner may have gone on from here
                    self._env.residents.put(resident)
                else:
                    resident.abandon()
                if self._slices.is_over():
                    await self._slices.breathe()

    async def _resident(self, instance: str, stored: StoredInstance) -> Resident:
        record = stored.record
        if record.status.is_terminal:
            return Resident(record=record, execution=None)
        try:
            history = read_history(stored.turns)
            execution = await self._executor.replay(instance, record.run, history)
            self._env.recorder.count(catalogue.REPLAYS)
            if execution.stalled is None:
                compare_custom_status(execution, self._env.sealer.open_bytes(record.custom_status, instance))
        except StoreError:  # the payload store is away, which says nothing about this instance
            raise
        except Exception as error:  # noqa: BLE001 - one instance's history must not stand in the way of the others
            _log.error(
                "instance %r: its history cannot be read: %r",
                instance,
                error,
                extra={"instance_id": instance},
            )
            return Resident(record=record, execution=None, unreadable=unreadable(instance, error))
        kept = history if self._env.keeps_history else None
        return Resident(record=record, execution=execution, history=kept)

    async def _children(self, groups: Mapping[str, Sequence[Item]]) -> dict[str, list[str]]:
        """The children of what may be purged."""
        found: dict[str, list[str]] = {}
        for instance, items in groups.items():
            if not any(isinstance(item.work, Purge) and item.work.recursive for item in items):
                continue
            found[instance] = []
            after = None
            while page := await self._env.store.find(
                InstanceFilter(parent=instance, builtin=True), limit=1000, after=after
            ):
                found[instance] += [record.id for record in page]
                after = (page[-1].created_at, page[-1].id)
        return found

    async def _to_go_on(self, groups: Mapping[str, Sequence[Item]]) -> Mapping[str, StoredInstance]:
        """Histories of instances that are over and may have to go on, or others with them."""
        wanted: dict[str, None] = {}
        for instance, items in groups.items():
            for item in items:
                match item.work:
                    case Rewind() | Start(rewind=True):
                        wanted[instance] = None
                    case Rerun(source=source):
                        wanted[source] = None
                    case _:
                        pass
        return await self._env.store.load(list(wanted)) if wanted else {}

    # Commit ----------------------------------------------------------------------------------------------

    async def _commit(self, parcels: Sequence[Parcel], changes: Sequence[Change]) -> None:
        touched = dict.fromkeys(
            parcel.partition for parcel in parcels
        )  # in order, so that a run can be repeated
        touched |= dict.fromkeys(p for p in self._env.owned.values() if p.confirmed)
        # Also where a deadline has passed meanwhile: the fence knows whether the partition is still ours (rule C1).
        owned = sorted((p for p in touched if p.open), key=lambda p: p.number)
        parts = _parts(owned, parcels, changes)
        try:
            kept = await self._store_parts(parts)
        except DataRefusedError as error:
            _log.warning("the database refuses a batch's data (%s): committing it one by one", error)
            for part in parts:  # their deletion is for a later commit
                part.partition.confirmed += part.writes.outbox_confirmed
            changes, kept = await self._one_by_one(owned, parcels, changes)
        await self._env.faults.reach("commit.after")
        self._settler.settle(parcels, changes, kept)

    async def _store_parts(self, parts: Sequence[Part]) -> list[Part]:
        """Commit, and return the parts whose fence held. All partitions are given up where the outcome is unknown.

        Raises:
            DataRefusedError: nothing is stored, and the same data will be refused again.

        """
        if not parts:
            return []
        loop = asyncio.get_running_loop()
        sent = loop.time()
        try:
            await self._env.faults.reach("commit.before")
            dropped = await self._env.store.commit([part.writes for part in parts], lease=self._env.lease)
        except DataRefusedError:
            raise
        except StoreError as error:  # rule C3: never again under this epoch
            refused = isinstance(error, ConflictError)
            what = (
                "its rows are not as they were thought to be"
                if refused
                else "the outcome of a commit is unknown"
            )
            for part in parts:
                part.partition.give_up(f"{what}: {error}")
            return []
        self._env.recorder.observe(catalogue.COMMIT_SECONDS, loop.time() - sent)
        if dropped:
            self._env.recorder.count(catalogue.COMMITS_FENCED, amount=len(dropped))
        deadline = sent + self._env.lease.total_seconds()
        kept = []
        for part in parts:
            partition = part.partition
            if partition.number in dropped:
                partition.give_up("another process owns it now")
            elif partition.open:
                partition.deadline = max(partition.deadline, deadline)
                kept.append(part)
        return kept

    async def _one_by_one(
        self, partitions: Sequence[Partition], parcels: Sequence[Parcel], changes: Sequence[Change]
    ) -> tuple[list[Change], list[Part]]:
        """Rule C6: a batch that the database refuses is split once, into a commit per instance. The lone offender is
        stalled, with its message kept in the inbox."""
        done: list[Change] = []
        stored: list[Part] = []
        for change in changes:
            if change.partition not in partitions or not change.partition.open:
                continue
            alone, parts = await self._alone(change)
            if parts:
                done.append(alone)
                stored += parts
        # What belongs to no instance, and a fence for partitions whose deliveries changed nothing (rule C2).
        rest = _parts([partition for partition in partitions if partition.open], parcels, ())
        return done, stored + await self._store_parts(rest)

    async def _alone(self, change: Change) -> tuple[Change, list[Part]]:
        """Commit one instance's change or, where the database refuses it, that the instance is stalled."""
        try:
            return change, await self._store_alone(change)
        except DataRefusedError as error:
            fields = {"instance_id": change.instance, "partition": change.partition.number}
            _log.error("instance %r: the database refuses its data: %s", change.instance, error, extra=fields)
        try:
            offender = await self._offender(change)
        except StoreError as error:
            change.partition.give_up(f"reading from the database failed: {error}")
            return change, []
        try:
            return offender, await self._store_alone(offender)
        except DataRefusedError as error:
            change.partition.give_up(f"instance {change.instance!r} cannot even be stalled: {error}")
            return offender, []

    async def _store_alone(self, change: Change) -> list[Part]:
        part = merge(change.partition, [change])
        try:
            return await self._store_parts([part])
        except DataRefusedError:
            change.partition.confirmed += part.writes.outbox_confirmed
            raise

    async def _offender(self, change: Change) -> Change:
        self._env.residents.drop(change.instance)
        stored = await self._env.store.load([change.instance])
        resident = None
        if change.instance in stored:
            resident = await self._resident(change.instance, stored[change.instance])
        error = StalledError(
            "the database refuses the data of its turn; the log of its orchestrator has the reason"
        )
        return self._desk.stalled(
            change.partition, change.instance, change.items, resident, error=error, now=self._env.now()
        )


def _parts(
    partitions: Sequence[Partition], parcels: Sequence[Parcel], changes: Sequence[Change]
) -> list[Part]:
    """What belongs to each of the partitions, in their order."""
    changed: dict[Partition, list[Change]] = {partition: [] for partition in partitions}
    for change in changes:
        if change.partition in changed:
            changed[change.partition].append(change)
    carrying: dict[Partition, list[Parcel]] = {partition: [] for partition in partitions}
    for parcel in parcels:
        if parcel.partition in carrying:
            carrying[parcel.partition].append(parcel)
    return [_part(partition, carrying[partition], changed[partition]) for partition in partitions]


def _part(partition: Partition, parcels: Sequence[Parcel], changes: Sequence[Change]) -> Part:
    tokens = [parcel.token for parcel in parcels if parcel.token is not None]
    posts = [parcel.post for parcel in parcels if parcel.post is not None]
    held = [parcel.unreadable for parcel in parcels if parcel.unreadable is not None]
    return merge(partition, changes, posts=posts, unreadable=held, token=tokens[-1] if tokens else None)
