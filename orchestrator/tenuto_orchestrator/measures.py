"""What an orchestrator tells of itself (`tenuto.metrics`): what was committed, once it is; and how things stand, every
second. A batch is gone through once more for it, and only if somebody wants to know."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final

from tenuto.attempts import LOCAL
from tenuto.core.events import ActivityCompleted
from tenuto.core.letters import Raise
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, TimerDue
from tenuto.metrics import catalogue
from tenuto.metrics.catalogue import bounded
from tenuto.metrics.recorder import Recorder, sampled_trace
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.holds import is_hold
from tenuto_orchestrator.outbox import Outbox
from tenuto_orchestrator.work import Item

__all__ = ["Gauges", "Measures"]

_INTERVAL: Final = 1.0
"""Seconds between looks at how things stand."""


class Measures:
    """Tells of batches, after their commits."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def committed(self, changes: Iterable[Change]) -> None:
        """These changes are in the database, and memory follows them."""
        recorder = self._env.recorder
        if not recorder.on:
            return
        turns = 0
        scheduled: Counter[tuple[str, str]] = Counter()
        for change in changes:
            self._follow_tasks(change)
            if not change.turns:
                continue
            turns += len(change.turns)
            for pool, task in change.tasks:
                scheduled[task.name, pool] += 1
            for task in change.local:
                scheduled[task.name, LOCAL] += 1
            self._lifetime(recorder, change)
            self._sizes(recorder, change)
            for item in change.items:
                if item.timer is not None and item not in change.deferred and _is_timer(item):
                    late = (self._env.now() - item.timer.fire_at).total_seconds()
                    recorder.observe(
                        catalogue.TIMER_LATENESS_SECONDS, max(0.0, late), trace_id=_trace(change)
                    )
        if turns:
            recorder.count(catalogue.TURNS, amount=turns)
            recorder.observe(catalogue.BATCH_TURNS, turns)
        for (name, pool), count in scheduled.items():
            activity = bounded(name, self._env.app.activities)
            recorder.count(catalogue.ACTIVITIES_SCHEDULED, activity, pool, amount=count)

    @staticmethod
    def _follow_tasks(change: Change) -> None:
        """What is out is known from now on for this instance."""
        record, resident = change.record, change.resident
        if change.gone or (record is not None and record.status.is_terminal):
            change.partition.backlog.follow(change.instance, {})
        elif record is not None and resident is not None and resident.execution is not None:
            change.partition.backlog.follow(change.instance, resident.execution.state.tasks_by_pool)

    def _lifetime(self, recorder: Recorder, change: Change) -> None:
        record = change.record
        if record is None or change.stalled:
            return
        began = record.created_at if record.start_at is None else max(record.created_at, record.start_at)
        trace_id = sampled_trace(record.trace)
        workflow = self._workflow(record)
        if change.status_before in (None, Status.PENDING) and record.status is not Status.PENDING:
            waited = max(0.0, (self._env.now() - began).total_seconds())
            recorder.observe(catalogue.WORKFLOW_SCHEDULING_SECONDS, waited, workflow, trace_id=trace_id)
        if record.ended_at is not None:
            labels = (workflow, record.status.value.lower())
            lived = max(0.0, (record.ended_at - record.created_at).total_seconds())
            recorder.count(catalogue.WORKFLOW_EXECUTIONS, *labels)
            recorder.observe(catalogue.WORKFLOW_EXECUTION_SECONDS, lived, *labels, trace_id=trace_id)

    def _sizes(self, recorder: Recorder, change: Change) -> None:
        inputs = [len(bytes(task.input)) for _, task in change.tasks]
        inputs += [len(bytes(task.input)) for task in change.local]
        if change.insert is not None:
            inputs.append(len(change.insert.input))
        results, events = [], []
        if change.record is not None and change.record.output is not None:
            results.append(len(change.record.output))
        for item in change.items:
            match item.work:
                case Arrival(what=ActivityCompleted(result=result)):
                    results.append(len(bytes(result)))
                case Arrival(what=Raise(payload=payload)):
                    events.append(len(bytes(payload)))
                case _:
                    pass
        for kind, sizes in (("input", inputs), ("result", results), ("event", events)):
            for size in sizes:
                recorder.observe(catalogue.PAYLOAD_BYTES, size, kind)

    def _workflow(self, record: InstanceRecord) -> str:
        return bounded(record.workflow, self._env.workflows)


class Gauges:
    """Tells how things stand, as long as the orchestrator runs."""

    def __init__(self, env: Environment, outbox: Outbox) -> None:
        self._env = env
        self._outbox = outbox
        self._pools: set[str] = set()

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_INTERVAL)

    def look(self) -> None:
        """Tell how things stand now."""
        recorder, env = self._env.recorder, self._env
        partitions = list(env.owned.values())
        now = asyncio.get_running_loop().time()
        lease = env.settings.lease
        ages = [max(0.0, now + lease - partition.deadline) for partition in partitions]
        recorder.put(catalogue.OWNED_PARTITIONS, len(partitions))
        recorder.put(catalogue.LEASE_AGE_SECONDS, max(ages, default=0.0))
        recorder.put(catalogue.RESIDENT_EXECUTIONS, len(env.residents))
        recorder.put(catalogue.RESIDENT_BYTES, env.residents.bytes)
        recorder.put(catalogue.OUTBOX_MESSAGES, self._outbox.backlog)
        stalled = Counter(stall.cause for partition in partitions for stall in partition.stalled.values())
        recorder.show(catalogue.STALLED_INSTANCES, {(cause,): count for cause, count in stalled.items()})
        recorder.show(catalogue.POOL_TASKS, self._pool_tasks())

    def _pool_tasks(self) -> catalogue.Values:
        out: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for partition in self._env.owned.values():
            out.update(partition.backlog.total)
            held.update(partition.beats.pools())
        # A pool that had tasks once is told as zero, and not left out, so that its scaling sees the end of them.
        self._pools |= out.keys() | {activity.pool for activity in self._env.app.activities.values()}
        values: dict[tuple[str, ...], float] = {}
        for pool in sorted(self._pools):
            with_workers = min(held[pool], out[pool])
            values[pool, "held"] = with_workers
            values[pool, "queued"] = out[pool] - with_workers
        return values


def _is_timer(item: Item) -> bool:
    """Whether it is a timer of the code's, a retry's or a deadline's, and not a hold that is looked after."""
    due = isinstance(item.work, Arrival) and isinstance(item.work.what, TimerDue)
    return due and item.timer is not None and not is_hold(item.timer)


def _trace(change: Change) -> str | None:
    return None if change.record is None else sampled_trace(change.record.trace)
