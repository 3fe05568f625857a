"""What must be true of a load that has ended, whatever was killed meanwhile: nothing lost, nothing doubled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tenuto.core.events import (
    ActivityCompleted,
    ActivityScheduled,
    Event,
    ExecutionCompleted,
    ExecutionStarted,
    decode_events,
)
from tenuto.core.status import Status
from tenuto.store import make_store
from tests.support.cluster import Load
from tests.support.sample_app import Chain, expected_chain, read_audit

__all__ = ["verify_chains"]


async def verify_chains(load: Load, *, database_url: str, audit: Path) -> None:
    """Every chain of the load has the right result, one history that says so once, and as many steps as were ordered.

    An activity may have run more often than once, but always under the one idempotency key of its step.
    """
    results = await load.results()
    assert len(results) == load.count
    wrong = {
        instance: (seed, result)
        for instance, (seed, result) in results.items()
        if result != expected_chain(Chain(seed=seed, steps=load.steps))
    }
    assert wrong == {}
    await _verify_histories(load, sorted(results), database_url=database_url)
    _verify_audit(load, sorted(results), audit)


async def _verify_histories(load: Load, instances: list[str], *, database_url: str) -> None:
    store = make_store(database_url)
    await store.open()
    try:
        records = await store.instances(instances)
        assert Counter(record.status for record in records.values()) == {Status.COMPLETED: load.count}
        for instance in instances:
            turns = await store.history(instance)
            assert len(turns) == records[instance].turn
            _verify_history(
                instance, [event for turn in turns for event in decode_events(turn)], steps=load.steps
            )
    finally:
        await store.close()


def _verify_history(instance: str, events: list[Event], *, steps: int) -> None:
    kinds = Counter(type(event) for event in events)
    assert kinds[ExecutionStarted] == 1, instance
    assert kinds[ExecutionCompleted] == 1, instance
    scheduled = [event.id for event in events if isinstance(event, ActivityScheduled)]
    completed = [event.command for event in events if isinstance(event, ActivityCompleted)]
    assert len(scheduled) == steps, instance
    assert completed == scheduled, f"{instance}: each step is answered once, in the order of the chain"


def _verify_audit(load: Load, instances: list[str], audit: Path) -> None:
    executions = read_audit(audit)
    keys = {(execution.instance, execution.key) for execution in executions}
    per_instance = Counter(instance for instance, _ in keys)
    assert per_instance == dict.fromkeys(instances, load.steps)
