"""How a worker leaves: in good order, within its grace, or because it broke down."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tenuto import activity
from tenuto.app import App
from tenuto_worker import Worker
from tests.unit.worker.bench import PATIENCE, Bench, outcomes


async def test_what_runs_is_finished_and_what_waits_is_handed_back(app: App, bench: Bench) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    @app.activity
    async def hold() -> str:
        begun.set()
        await release.wait()
        return "finished"

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, concurrency=1, grace=PATIENCE)
    await bench.owner.send(bench.owner.task("hold"), bench.owner.task("hold", command=1))
    await bench.owner.send(bench.owner.task("hold", command=2))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    stopping = asyncio.create_task(worker.stop())
    await bench.owner.until(lambda: sorted(bench.owner.returned_commands) == [1, 2])
    assert not any(message.counted for message in bench.owner.returned)
    assert not worker.ready
    assert not stopping.done()

    release.set()
    await asyncio.wait_for(stopping, PATIENCE)
    assert outcomes(bench.owner.results) == {0: "finished"}
    assert sorted(broker.acked) == [1, 2]
    await asyncio.wait_for(worker.wait(), PATIENCE)


async def test_it_takes_no_more_while_it_stops(app: App, bench: Bench) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await release.wait()

    worker = await bench.worker(app, grace=PATIENCE)
    await bench.owner.send(bench.owner.task("hold"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    await bench.owner.send(bench.owner.task("hold", command=1))
    release.set()
    await asyncio.wait_for(stopping, PATIENCE)
    assert outcomes(bench.owner.results) == {0: None}
    assert await bench.owner.ready_messages() == 1


async def test_an_async_activity_that_outlasts_the_grace_is_cancelled_and_handed_back(
    app: App, bench: Bench
) -> None:
    begun = asyncio.Event()
    cancelled: list[bool] = []

    @app.activity
    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(activity.is_cancelled())

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, grace=0.01)
    await bench.owner.send(bench.owner.task("hang"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await asyncio.wait_for(worker.stop(), PATIENCE)
    assert cancelled == [True]
    await bench.owner.until(lambda: bench.owner.returned_commands == [0])
    assert bench.owner.results == []
    assert broker.acked == [1]


async def test_a_thread_that_outlasts_the_grace_is_left_behind_and_its_task_handed_back(
    app: App, bench: Bench
) -> None:
    begun = threading.Event()
    release = threading.Event()
    ended = threading.Event()
    told: list[bool] = []

    @app.activity
    def hang() -> str:
        begun.set()
        release.wait(PATIENCE)
        told.append(activity.is_cancelled())
        ended.set()
        return "too late"

    worker = await bench.worker(app, grace=0.01)
    await bench.owner.send(bench.owner.task("hang"))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    await asyncio.wait_for(worker.stop(), PATIENCE)
    await bench.owner.until(lambda: bench.owner.returned_commands == [0])
    release.set()
    assert await asyncio.to_thread(ended.wait, PATIENCE)
    assert told == [True]
    assert bench.owner.results == []


async def test_the_grace_is_not_for_a_thread_that_was_answered_already(app: App, bench: Bench) -> None:
    release = threading.Event()
    app.activity(name="hang")(lambda: release.wait(PATIENCE))
    worker = await bench.worker(app, grace=100 * PATIENCE)
    assert (await bench.owner.ask("hang", start_to_close=0.01)).failure is not None
    await asyncio.wait_for(worker.stop(), PATIENCE / 2)
    release.set()


async def test_stop_tolerates_repeats(app: App, bench: Bench) -> None:
    worker = await bench.worker(app)
    await asyncio.gather(worker.stop(), worker.stop())
    await worker.stop()
    await asyncio.wait_for(worker.wait(), PATIENCE)


async def test_a_worker_that_was_never_started_can_be_stopped(app: App, bench: Bench) -> None:
    worker = Worker(app, bench.spy(), bench.settings())
    await worker.stop()
    await asyncio.wait_for(worker.wait(), PATIENCE)


async def test_it_can_stop_while_it_waits_for_its_queue(app: App, bench: Bench) -> None:
    await bench.owner.broker.delete(bench.owner.pool_queue)
    worker = await bench.worker(app, ready=False)
    await asyncio.wait_for(worker.stop(), PATIENCE)
    assert not worker.ready


async def test_it_can_stop_while_the_connection_is_lost(app: App, bench: Bench) -> None:
    worker = await bench.worker(app)
    bench.server.stop()
    await asyncio.wait_for(worker.stop(), PATIENCE)
    bench.server.start()


@pytest.mark.parametrize("broken", ["worker.received", "worker.executed", "worker.answered"])
async def test_what_breaks_the_worker_down_is_raised_by_wait(app: App, bench: Bench, broken: str) -> None:
    class Broken:
        async def reach(self, point: str) -> None:
            if point == broken:
                raise ZeroDivisionError(point)

    app.activity(name="work")(lambda: None)
    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, faults=Broken())
    await bench.owner.send(bench.owner.task("work"))
    with pytest.raises(ZeroDivisionError, match=broken):
        await asyncio.wait_for(worker.wait(), PATIENCE)
    await worker.stop()
    assert broker.acked == []


async def test_fault_points_are_reached_in_order(app: App, bench: Bench) -> None:
    reached: list[str] = []

    class Noted:
        async def reach(self, point: str) -> None:
            reached.append(point)

    app.activity(name="work")(lambda: reached.append("work"))
    worker = await bench.worker(app, faults=Noted())
    await bench.owner.ask("work")
    await worker.stop()
    assert reached == ["worker.received", "work", "worker.executed", "worker.answered"]
