"""The outbox: what is committed is published, confirmed, and then deleted (rule C4).

An entry is one outbox row. Its tasks are folded with those of other entries; when every message that carries a part of
it is confirmed, the row is deleted with the partition's next commit. Until then whoever owns the partition can publish
it again, and the broker may have had it twice: answers count once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tenuto.broker.protocol import Outcome, Outgoing
from tenuto.errors import BrokerError, StoreError
from tenuto.messages import ActivityTask, Tasks, encode, task_ref
from tenuto.metrics import catalogue
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.change import Outgoings, Post
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.fan_out import FanOuts, PoolTask, by_entry
from tenuto_orchestrator.folding import Folds, fold
from tenuto_orchestrator.partition import Partition

__all__ = ["Entry", "Outbox"]

_log = logging.getLogger("tenuto.orchestrator")
_PAUSE = 0.2
"""Seconds before another round when the last one confirmed nothing: the broker is in trouble."""


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One outbox row on its way to the broker."""

    partition: Partition
    epoch: int
    seq: int
    outgoings: Outgoings
    unconfirmed: int = 0
    """Tasks and posts that are not confirmed yet."""
    held: int = 0
    """Those of them that are held back, being the end of a wide fan-out."""
    unanswered: int = 0
    """Local tasks whose answers are not committed yet."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What of an entry is to be published now."""

    entry: Entry
    tasks: Sequence[PoolTask]
    posts: Sequence[Post] = ()


@dataclass(slots=True, eq=False, kw_only=True)
class _Message:
    """One message to publish, with the entries that it carries parts of."""

    outgoing: Outgoing
    entries: list[Entry]
    pool: str = ""
    tasks: list[ActivityTask] = field(default_factory=list)


class Outbox:
    """Publishes entries as they come; everything that came while one round was under way goes in the next."""

    def __init__(
        self,
        env: Environment,
        *,
        on_returned: Callable[[str], Awaitable[None]],
        on_refused: Callable[[Partition, ActivityTask, Callable[[], None]], None],
        on_local: Callable[[Partition, ActivityTask, Callable[[], None]], None],
    ) -> None:
        """`on_returned`: a queue is missing; it returns when it is worth trying again. `on_refused`: the broker will
        never take this task; the callback is for when its failure is committed (rule B4). `on_local`: a task to be
        executed here; the callback is for when its answer is committed."""
        self._env = env
        self._bounds = Folds(tasks=env.settings.fold_tasks, seconds=env.settings.fold_seconds)
        self._on_returned = on_returned
        self._on_refused = on_refused
        self._on_local = on_local
        self._fan_outs = FanOuts(env.settings.fan_out_window)
        self._waiting: list[_Part] = []
        self._again: list[_Message] = []
        self._wake = asyncio.Event()
        self._unconfirmed = 0
        self._progress = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Tasks and posts that are not confirmed, those held back excepted."""
        return self._unconfirmed

    def put(self, entry: Entry) -> None:
        """Publish what an outbox row holds. It is in the database; nothing is lost if the process dies now."""
        outgoings = entry.outgoings
        tasks, superseded = self._fan_outs.admit(entry)
        entry.unconfirmed = len(outgoings.tasks) + len(outgoings.posts)
        entry.held = len(outgoings.tasks) - len(tasks)
        entry.unanswered = len(outgoings.local)
        if tasks or outgoings.posts:
            self._send(_Part(entry, tasks, outgoings.posts))
        elif not (entry.unconfirmed or entry.unanswered):
            self._done(entry)
        for other in superseded:
            self._drop_held(other)
        for task in outgoings.local:
            self._on_local(entry.partition, task, partial(self._answered, entry, task))

    def follow(self, instance: str, record: InstanceRecord | None) -> None:
        """An instance of which something is held back has changed, or is gone: that is committed."""
        released, unwanted = self._fan_outs.follow(instance, record)
        for entry, tasks in by_entry(released).items():
            entry.held -= len(tasks)
            self._send(_Part(entry, tasks))
        for entry in unwanted:
            self._drop_held(entry)

    def _send(self, part: _Part) -> None:
        entry = part.entry
        self._unconfirmed += len(part.tasks) + len(part.posts)
        entry.partition.unconfirmed.add((entry.epoch, entry.seq))
        self._waiting.append(part)
        self._wake.set()

    def _drop_held(self, entry: Entry) -> None:
        """A task that was held back need not be sent."""
        entry.held -= 1
        self._confirm_entry(entry)

    async def flushed(self, partition: Partition) -> None:
        """Wait until all that the partition has put so far is confirmed, but for what is held back."""
        so_far = set(partition.unconfirmed)
        await self._until(lambda: so_far.isdisjoint(partition.unconfirmed))

    async def below(self, limit: int) -> None:
        """Wait until at most `limit` tasks and posts are unconfirmed."""
        await self._until(lambda: self._unconfirmed <= limit)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._progress.clear()
            await self._progress.wait()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            messages = self._again + self._fold(self._waiting)
            self._waiting, self._again = [], []
            messages = [message for message in messages if self._wanted(message)]
            await self._round(messages)

    async def _round(self, messages: list[_Message]) -> None:
        outcomes = await self._publish(messages)
        missing: set[str] = set()
        for message, result in zip(messages, outcomes, strict=True):
            match result:
                case Outcome.CONFIRMED:
                    self._confirm(message)
                case Outcome.RETURNED:
                    missing.add(message.outgoing.queue)
                    self._again.append(message)
                case Outcome.REFUSED:
                    self._refuse(message)
                case Outcome.UNKNOWN:
                    self._again.append(message)
        trouble = Outcome.UNKNOWN in outcomes
        for queue in sorted(missing):
            try:
                await self._on_returned(queue)
            except (StoreError, BrokerError) as error:
                _log.warning("queue %s is missing and cannot be made yet: %s", queue, error)
                trouble = True
        if self._again:
            if trouble and Outcome.CONFIRMED not in outcomes:
                await asyncio.sleep(_PAUSE)
            self._wake.set()

    async def _publish(self, messages: Sequence[_Message]) -> Sequence[Outcome]:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        outcomes = await self._env.broker.publish([message.outgoing for message in messages])
        if messages:
            self._env.recorder.observe(catalogue.PUBLISH_SECONDS, loop.time() - sent)
        return outcomes

    def _fold(self, parts: Iterable[_Part]) -> list[_Message]:
        messages = []
        pools: defaultdict[str, list[ActivityTask]] = defaultdict(list)
        owner: dict[int, Entry] = {}
        for part in parts:
            messages += [_Message(outgoing=_outgoing(post), entries=[part.entry]) for post in part.posts]
            for pool, task in part.tasks:
                pools[pool].append(task)
                owner[id(task)] = part.entry
        for pool, tasks in pools.items():
            for folded in fold(tasks, self._env.durations, self._bounds):
                messages.append(self._message(pool, folded, [owner[id(task)] for task in folded]))
        return messages

    def _message(self, pool: str, tasks: list[ActivityTask], entries: list[Entry]) -> _Message:
        outgoing = Outgoing(queue=self._env.names.activities(pool), body=encode(Tasks(tasks=tasks)))
        return _Message(outgoing=outgoing, entries=entries, pool=pool, tasks=tasks)

    def _wanted(self, message: _Message) -> bool:
        """False once the partitions that it came from are lost: their new owners publish it (rule O2)."""
        if any(entry.partition.open for entry in message.entries):
            return True
        self._unconfirmed -= len(message.entries)
        self._progress.set()
        return False

    def _confirm(self, message: _Message) -> None:
        self._unconfirmed -= len(message.entries)
        self._progress.set()
        for entry in message.entries:
            self._confirm_entry(entry)

    def _confirm_entry(self, entry: Entry) -> None:
        entry.unconfirmed -= 1
        if entry.unconfirmed == entry.held:
            entry.partition.unconfirmed.discard((entry.epoch, entry.seq))
        if not (entry.unconfirmed or entry.unanswered):
            self._done(entry)

    def _answered(self, entry: Entry, task: ActivityTask) -> None:
        """The answer to a local task is committed."""
        entry.partition.local.discard(task_ref(task))
        entry.unanswered -= 1
        if not (entry.unanswered or entry.unconfirmed):
            self._done(entry)

    def _done(self, entry: Entry) -> None:
        entry.partition.confirmed.append((entry.epoch, entry.seq))
        self._env.intake.wake()

    def _refuse(self, message: _Message) -> None:
        """The broker will never take this message (rule B4): a fold is sent in parts, a lone task fails."""
        if len(message.tasks) > 1:
            for task, entry in zip(message.tasks, message.entries, strict=True):
                self._again.append(self._message(message.pool, [task], [entry]))
        elif message.tasks:
            entry = message.entries[0]
            self._unconfirmed -= 1  # it is no longer the broker's to confirm
            self._progress.set()
            self._on_refused(entry.partition, message.tasks[0], lambda: self._confirm_entry(entry))
        else:
            _log.error("the broker refuses a message to %r (too large?); dropped", message.outgoing.queue)
            self._confirm(message)


def _outgoing(post: Post) -> Outgoing:
    return Outgoing(
        queue=post.queue,
        body=post.body,
        mandatory=post.mandatory,
        correlation_id=post.correlation_id,
        headers=post.headers,
    )
