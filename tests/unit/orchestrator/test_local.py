"""Local activities of partitions that are lost before these have begun."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from tenuto.app import App
from tenuto.clock import SYSTEM_CLOCK
from tenuto.messages import ActivityResult, ActivityTask
from tenuto.metrics.recorder import NO_RECORDER
from tenuto.sealing import Sealer
from tenuto.shelf import Shelf
from tenuto_orchestrator.local import LocalActivities
from tenuto_orchestrator.partition import Partition
from tests.unit.orchestrator.test_parts import _partition


def _task(command: int) -> ActivityTask:
    return ActivityTask(
        instance="i",
        run="r",
        generation=0,
        command=command,
        attempt=1,
        name="work",
        input=msgspec.Raw(b"%d" % command),
        workflow="w",
        key="k",
        reply_to="q",
    )


async def test_what_waits_for_a_lost_partition_is_not_executed() -> None:
    """Its outbox row is put again by whoever recovers it, maybe this very process; the old ones would come first, one
    after the other, and their answers be dropped."""
    app, entered = App("local"), list[int]()
    inside, gate = asyncio.Event(), asyncio.Event()
    answers: asyncio.Queue[tuple[Partition, ActivityResult]] = asyncio.Queue()

    @app.activity(local=True, max_concurrent=1)
    async def work(number: int) -> None:
        entered.append(number)
        inside.set()
        await gate.wait()

    env = SimpleNamespace(
        app=app,
        settings=SimpleNamespace(local_concurrency=2, max_payload_bytes=1000),
        sealer=Sealer(),
        shelf=Shelf(),
        recorder=NO_RECORDER,
    )
    sources = SimpleNamespace(
        answered_here=lambda partition, result, _done: answers.put_nowait((partition, result))
    )
    local = LocalActivities(cast("Any", env), cast("Any", sources), SYSTEM_CLOCK)
    lost, recovered = _partition(), _partition()
    for number in (1, 2, 3):
        local.put(lost, _task(number), lambda: None)
    async with asyncio.timeout(10):
        await inside.wait()
        lost.give_up("the lease is over")
        for number in (4, 5):
            local.put(recovered, _task(number), lambda: None)
        gate.set()
        answered = [await answers.get() for _ in range(3)]
    assert entered == [1, 4, 5]
    assert [partition for partition, _ in answered] == [lost, recovered, recovered]
