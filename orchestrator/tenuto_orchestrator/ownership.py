"""Which partitions this process owns: it beats, takes its share, recovers what it takes, and lets go in time.

Safety does not rest on anything here: every commit carries the epoch of its partitions (rule C1). What is here makes
sure that somebody owns each partition, and that a process which lost one stops working on it (rule O1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from tenuto.errors import BrokerError, StoreError
from tenuto.store.protocol import Cluster, Member
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.guard import BrokerGuard
from tenuto_orchestrator.outbox import Outbox
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.pipeline import Pipeline
from tenuto_orchestrator.recovery import Recoverer
from tenuto_orchestrator.sharing import plan

__all__ = ["Ownership"]

_log = logging.getLogger("tenuto.orchestrator")
_BEATS_PER_LEASE = 4
_HAND_OVER = 2.0
"""Seconds that messages are given to be confirmed before a partition is handed over."""
_RECOVERIES = 8
"""Partitions recovered at the same time."""


class Ownership:
    def __init__(
        self,
        env: Environment,
        recoverer: Recoverer,
        guard: BrokerGuard,
        *,
        outbox: Outbox,
        pipeline: Pipeline,
        member: Member,
    ) -> None:
        self._env = env
        self._recoverer = recoverer
        self._guard = guard
        self._outbox = outbox
        self._pipeline = pipeline
        self._member = member
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_RECOVERIES)
        self._recovering: dict[int, tuple[int, float]] = {}
        """By partition: the epoch that is being recovered, and until when, in loop time, its lease is sure."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._handing_over: set[int] = set()
        self._leaving = False
        self._ticking = asyncio.Lock()
        self._broker_away = False
        """Partitions cannot be served for the time being, and are left to others."""
        self._checking = False
        self._sure_until = 0.0
        """Loop time until which the last beat that the database answered stands."""
        self._spare = False
        """There are more orchestrators than partitions, so there need not be one for this process."""

    async def run(self) -> None:
        """Beat until cancelled, or until `leave`."""
        interval = self._env.settings.lease / _BEATS_PER_LEASE
        while not self._leaving:
            try:
                await self.tick()
            except (StoreError, BrokerError) as error:
                _log.warning("%s; trying again", error)
            self._expire()
            try:
                async with asyncio.timeout(interval):
                    await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(interval / 4)  # what was lost is seldom there again at once
            except TimeoutError:
                pass

    async def tick(self) -> None:
        """Beat once, and act on what it saw. What takes longer goes on beside the next beats."""
        async with self._ticking:
            if not self._leaving:
                await self._tick()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        cluster = await self._env.store.beat(self._member, lease=self._env.lease, ttl=self._env.lease)
        self._env.clock.correct(cluster, took=loop.time() - sent)
        self._sure_until = sent + self._env.settings.lease
        self._spare = len(cluster.members) > len(cluster.partitions)
        self._compare(cluster, self._sure_until)
        if self._env.readers.note(cluster.members):
            self._try_held_again()
        if cluster.broker_token != self._guard.token or self._broker_away:
            self._begin_check()
        for known in self._env.owned.values():
            if known.token != self._guard.token:
                self._recoverer.send_again(known, self._guard.token)
        members = [member.owner for member in cluster.members]
        in_use = frozenset(self._env.owned) | self._recovering.keys() | self._handing_over
        todo = plan(self._member.owner, members, cluster.partitions, in_use)
        busy = self._handing_over | self._recovering.keys()  # those are for a later beat
        leaving = [number for number in todo.release if number not in busy]
        if leaving:
            self._begin(self._hand_over(leaving))
        if todo.claim and not self._broker_away:
            sent = loop.time()
            epochs = await self._env.store.claim(self._member.owner, todo.claim, lease=self._env.lease)
            await self._env.faults.reach("claim.after")
            for number, epoch in epochs.items():
                self._recovering[number] = (epoch, sent + self._env.settings.lease)
                self._begin(self._recover(number, epoch))

    def unready(self) -> str | None:
        """Why no partition is served here at present, in words; None: some are, or none need be."""
        now = asyncio.get_running_loop().time()
        if self._leaving:
            return "it is handing its partitions over"
        if now >= self._sure_until:
            return "the database has not answered within the lease"
        if not self._spare and not any(partition.usable() for partition in self._env.owned.values()):
            return "it owns no partition"
        return None

    async def settled(self) -> None:
        """Wait until what was begun so far, recoveries and hand-overs, is done."""
        await asyncio.gather(*self._tasks)

    async def leave(self) -> None:
        """Hand over everything at once, so that others need not wait for the leases to run out."""
        self._leaving = True
        async with self._ticking:  # no tick may claim anything behind our back
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hand_over(list(self._env.owned))
        try:
            await self._env.store.leave(self._member.owner)
        except StoreError as error:
            _log.warning("left without saying so (the leases run out by themselves): %s", error)

    # What the database says ------------------------------------------------------------------------------

    async def abandon(self) -> None:
        """Stop at once, without a word to anybody."""
        self._leaving = True
        tasks = set(self._tasks)
        for partition in self._env.owned.values():
            partition.open = False
            tasks.update(task for task in (partition.resending, partition.counting) if task is not None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _compare(self, cluster: Cluster, deadline: float) -> None:
        for lease in cluster.partitions:
            mine = lease.owner == self._member.owner
            recovering = self._recovering.get(lease.partition)
            if mine and recovering is not None and recovering[0] == lease.epoch:
                self._recovering[lease.partition] = (lease.epoch, deadline)
            partition = self._env.owned.get(lease.partition)
            if partition is None:
                continue
            if mine and lease.epoch == partition.epoch:
                partition.deadline = max(partition.deadline, deadline)
            else:
                partition.give_up("another process owns it now")

    def _try_held_again(self) -> None:
        """What was held for the sake of an older release may go on now (rule U1); there is one way to read it."""
        for partition in list(self._env.owned.values()):
            if partition.stalled:
                partition.give_up(
                    "the last orchestrator of an older release is gone: held instances are tried again"
                )

    def _expire(self) -> None:
        for partition in list(self._env.owned.values()):
            if not partition.usable():
                partition.give_up("its lease may have run out")

    # Coming and going ------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _recover(self, number: int, epoch: int) -> None:
        try:
            async with self._slots:
                await self._recoverer.recover(number, epoch, lambda: self._recovering[number][1], self._lost)
        except StoreError as error:
            _log.warning(
                "partition %d cannot be recovered yet: %s", number, error, extra={"partition": number}
            )
        except BrokerError as error:
            fields = {"partition": number}
            _log.warning(
                "partition %d is left to others, for the broker is away: %s", number, error, extra=fields
            )
            self._broker_away = True
            await self._release([number])
        finally:
            self._recovering.pop(number, None)

    def _begin_check(self) -> None:
        """Look at the broker beside the beats, which must not wait for it."""
        if not self._checking:
            self._checking = True
            self._begin(self._check())

    async def _check(self) -> None:
        try:
            await self._guard.check()
            self._broker_away = False
        except (StoreError, BrokerError) as error:
            _log.info("the broker cannot be looked at yet: %s", error)
        finally:
            self._checking = False

    async def _hand_over(self, numbers: Sequence[int]) -> None:
        self._handing_over.update(numbers)
        partitions = [self._env.owned[number] for number in numbers if number in self._env.owned]
        try:
            await self._finish(partitions)
        except StoreError as error:
            _log.info("handing over with rows to be deleted: %s", error)
        finally:
            for partition in partitions:
                partition.give_up("it could not be handed over in good order")
            await self._release(numbers)
            self._handing_over.difference_update(numbers)

    async def _release(self, numbers: Sequence[int]) -> None:
        try:
            await self._env.store.release(self._member.owner, numbers)
        except StoreError as error:
            _log.warning("partitions %s could not be released: %s", sorted(numbers), error)

    async def _finish(self, partitions: Sequence[Partition]) -> None:
        """Take on nothing new, finish the batch under way, and have all messages confirmed, so that the next owner need
        not send them again. It would lose nothing if this were left out."""
        for partition in partitions:
            partition.retiring = True
            if partition.subscription is not None:
                await partition.subscription.cancel()  # the batch under way is still to be acknowledged
        await self._pipeline.quiet()
        try:
            async with asyncio.timeout(_HAND_OVER):
                await asyncio.gather(*(self._outbox.flushed(partition) for partition in partitions))
            await self._pipeline.sweep(partitions)
        except TimeoutError:
            _log.info("handing over with messages unconfirmed")
        for partition in partitions:
            if self._env.owned.get(partition.number) is partition:
                del self._env.owned[partition.number]
                self._env.residents.drop_partition(partition.number)
            await partition.close()

    def _lost(self, partition: Partition, reason: str) -> None:
        number, epoch = partition.number, partition.epoch
        fields = {"partition": number}
        _log.warning("partition %d (epoch %d) is given up: %s", number, epoch, reason, extra=fields)
        if self._env.owned.get(partition.number) is partition:
            del self._env.owned[partition.number]
            self._env.residents.drop_partition(partition.number)
        self._begin(partition.close())
        self._wake.set()
