"""What a running engine tells Prometheus: the right numbers after a mixed load, and what its pools' scaling goes by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from tenuto import App, NonRetryableError, RetryPolicy, WorkflowContext, when_all
from tenuto.core.status import Status
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import until

pytest.importorskip("prometheus_client", reason="needs the extra tenuto[metrics]")

from prometheus_client import CollectorRegistry

from tenuto.metrics import catalogue
from tenuto.metrics.prometheus import PrometheusRecorder

app = App("measured")
gates: list[asyncio.Event] = []
"""The last is of the present test's event loop."""


@app.activity(pool="payments", retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def charge(amount: int) -> int:
    if amount < 0:
        raise NonRetryableError("there is nothing to charge")
    return amount


@app.activity(pool="payments")
async def wait_at_the_gate(number: int) -> int:
    await gates[-1].wait()
    return number


@app.workflow
async def order(ctx: WorkflowContext, amount: int) -> int:
    charged: int = await ctx.call_activity(charge, amount)
    await ctx.create_timer(timedelta(milliseconds=1))
    here: int = await ctx.call_activity(charge, charged, local=True)
    return here


@app.workflow
async def wide(ctx: WorkflowContext, width: int) -> int:
    results = await when_all([ctx.call_activity(wait_at_the_gate, number) for number in range(width)])
    return len(results)


class Told:
    """What one process tells."""

    def __init__(self) -> None:
        self.recorder = PrometheusRecorder((*catalogue.ORCHESTRATOR, *catalogue.WORKER))
        self._registry = CollectorRegistry()
        self._registry.register(self.recorder)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)

    def tasks(self, pool: str = "payments") -> Mapping[str, float | None]:
        return {state: self("tenuto_pool_tasks", pool=pool, state=state) for state in ("queued", "held")}


async def test_a_mixed_load_is_counted_once(make_engine: MakeEngine) -> None:
    engine = await make_engine(app, replay_check="never")
    ours, theirs = Told(), Told()
    await engine.orchestrator(recorder=ours.recorder)
    await engine.worker("payments", recorder=theirs.recorder)
    for number in range(6):
        await engine.client.start(order, number if number % 3 else -1, instance_id=f"order-{number}")
    for number in range(6):
        await engine.status(f"order-{number}", Status.COMPLETED if number % 3 else Status.FAILED)

    def executions() -> tuple[float | None, ...]:
        return tuple(
            ours("tenuto_workflow_executions_total", workflow="order", status=status)
            for status in ("completed", "failed")
        )

    async def counted() -> bool:  # the status is there a moment before it is told
        return executions() == (4, 2)

    await until(counted, seconds=60)
    assert ours("tenuto_workflow_execution_seconds_count", workflow="order", status="completed") == 4
    assert ours("tenuto_workflow_scheduling_seconds_count", workflow="order") == 6
    assert ours("tenuto_activities_scheduled_total", activity="charge", pool="payments") == 6
    assert ours("tenuto_activities_scheduled_total", activity="charge", pool="local") == 4
    labels = {"activity": "charge", "pool": "local", "status": "completed"}
    assert ours("tenuto_activity_executions_total", **labels) == 4
    assert ours("tenuto_timer_lateness_seconds_count") == 4
    assert (ours("tenuto_turns_total") or 0) == 4 * 4 + 2 * 2
    assert ours("tenuto_batch_turns_sum") == 4 * 4 + 2 * 2
    assert (ours("tenuto_commit_seconds_count") or 0) > 0
    assert (ours("tenuto_publish_seconds_count") or 0) > 0
    assert ours("tenuto_payload_bytes_count", kind="input") == 6 + 6 + 4
    assert ours("tenuto_payload_bytes_count", kind="result") == 4 + 4 + 4
    assert ours("tenuto_commits_fenced_total") == 0
    for status, count in (("completed", 4), ("failed", 2)):
        labels = {"activity": "charge", "pool": "payments", "status": status}
        assert theirs("tenuto_activity_executions_total", **labels) == count
        assert theirs("tenuto_activity_execution_seconds_count", **labels) == count
    assert theirs("tenuto_activity_scheduling_seconds_count", activity="charge", pool="payments") == 6
    assert theirs("tenuto_worker_slots", pool="payments") == 64

    async def idle() -> bool:
        return theirs("tenuto_worker_slots_busy", pool="payments") == 0 and set(ours.tasks().values()) == {0}

    await until(idle, seconds=60)


async def test_a_pools_tasks_come_from_nothing_and_return_to_it(make_engine: MakeEngine) -> None:
    ready = asyncio.Event()
    gates.append(ready)
    engine = await make_engine(app, replay_check="never", fold_tasks=100, fold_seconds=10.0)
    first = Told()
    owner = await engine.orchestrator(recorder=first.recorder)

    async def nothing() -> bool:
        return first.tasks() == {"queued": 0, "held": 0}

    await until(nothing, seconds=60)
    for number in range(3):
        await engine.client.start(wide, 7, instance_id=f"wide-{number}")

    async def all_queued() -> bool:  # though no worker has ever run
        return first.tasks() == {"queued": 21, "held": 0}

    await until(all_queued, seconds=60)

    second = Told()
    await owner.kill()
    await engine.orchestrator(recorder=second.recorder)

    async def all_found_again() -> bool:
        return second.tasks() == {"queued": 21, "held": 0}

    await until(all_found_again, seconds=60)

    await engine.worker("payments", concurrency=50, beat_interval=0.05)

    async def all_held() -> bool:
        return second.tasks() == {"queued": 0, "held": 21}

    await until(all_held, seconds=60)
    ready.set()

    async def nothing_again() -> bool:
        return second.tasks() == {"queued": 0, "held": 0}

    await until(nothing_again, seconds=60)
    for number in range(3):
        await engine.status(f"wide-{number}", Status.COMPLETED)
