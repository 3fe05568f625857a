"""Tasks that nobody waits for any more: their owner says so, on the worker's own queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tenuto import ActivityCancelledError, activity
from tenuto.app import App
from tenuto.broker.protocol import Outcome, Outgoing
from tenuto.messages import ActivityTask, Dropped, Unwanted, encode
from tenuto.naming import Names
from tenuto_worker import Worker
from tests.unit.worker.bench import PATIENCE, Bench, eventually, outcomes


async def _say(bench: Bench, worker: Worker, body: bytes) -> None:
    """Once the worker listens."""
    message = Outgoing(queue=Names(bench.namespace).worker(worker.id), body=body)
    async with asyncio.timeout(PATIENCE):
        while await bench.owner.broker.publish([message]) != [Outcome.CONFIRMED]:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.005)


async def _drop(
    bench: Bench, worker: Worker, tasks: Sequence[ActivityTask], *, as_of: datetime | None = None
) -> None:
    unwanted = [Unwanted(**msgspec.structs.asdict(bench.reference(task)), as_of=as_of) for task in tasks]
    await _say(bench, worker, encode(Dropped(tasks=unwanted)))


async def test_what_a_rewinding_has_sent_again_is_not_cancelled_for_what_was_sent_before(
    app: App, bench: Bench
) -> None:
    """The attempt is the same, and the words about the earlier sending may come late (rule N1)."""
    cancelled: list[int] = []

    @app.activity
    async def hang(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    worker = await bench.worker(app, beat_interval=0.01)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    again, other = (bench.owner.task("hang", number, command=number, sent=noon) for number in range(2))
    await bench.owner.send(again, other)
    await _drop(bench, worker, [again], as_of=noon - timedelta(seconds=1))
    await _drop(bench, worker, [other], as_of=noon)
    await eventually(lambda: bool(cancelled))
    assert cancelled == [1]
    await _drop(bench, worker, [again], as_of=noon)
    await eventually(lambda: len(cancelled) == 2)


@pytest.mark.semantics("Cancellation")
async def test_an_async_activity_is_cancelled_cleans_up_and_its_result_is_dropped(
    app: App, bench: Bench
) -> None:
    ended = asyncio.Event()
    told: list[bool] = []

    @app.activity
    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append(activity.is_cancelled())
        finally:
            await asyncio.sleep(0)  # cleaning up may take its time
            ended.set()
        return "too late"

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01)
    task = bench.owner.task("hang")
    await bench.owner.send(task)
    await _drop(bench, worker, [task])
    await asyncio.wait_for(ended.wait(), PATIENCE)
    assert told == [True]
    await eventually(lambda: broker.acked == [1])
    assert not bench.owner.results
    assert not bench.owner.returned


@pytest.mark.semantics("Cancellation")
async def test_a_thread_is_told_at_its_next_heartbeat(app: App, bench: Bench) -> None:
    ended = threading.Event()
    told: list[bool] = []

    @app.activity
    def hang() -> None:
        try:
            while not ended.wait(0.001):
                activity.heartbeat()
        except ActivityCancelledError:
            told.append(activity.is_cancelled())
            raise
        finally:
            ended.set()

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01, concurrency=1)
    app.activity(name="echo")(lambda given: given)
    task = bench.owner.task("hang")
    await bench.owner.send(task)
    await bench.owner.send(bench.owner.task("echo", 5, command=1))
    await _drop(bench, worker, [task])
    assert (await bench.owner.result()).command == 1  # its slot is free again
    assert told == [True]


async def test_a_task_that_waits_for_a_slot_never_begins(app: App, bench: Bench) -> None:
    release = asyncio.Event()
    begun: list[int] = []

    @app.activity
    async def hold(number: int) -> None:
        begun.append(number)
        await release.wait()

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01, concurrency=1)
    tasks = [bench.owner.task("hold", number, command=number) for number in range(3)]
    for task in tasks:
        await bench.owner.send(task)
    await _drop(bench, worker, tasks[1:2])
    await eventually(lambda: broker.acked == [2])
    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert begun == [0, 2]


async def test_what_is_dropped_is_in_no_beat_any_more(app: App, bench: Bench) -> None:
    release = threading.Event()

    @app.activity
    def stubborn() -> None:
        release.wait(PATIENCE)

    worker = await bench.worker(app, beat_interval=0.01)
    first, second = bench.owner.task("stubborn"), bench.owner.task("stubborn", command=1)
    await bench.owner.send(first)
    await bench.owner.send(second)
    await bench.owner.until(lambda: bool(bench.owner.beats))
    await _drop(bench, worker, [first])
    await bench.owner.until(lambda: [task.command for task in bench.owner.beats[-1].tasks] == [1])
    release.set()
    await bench.owner.until(lambda: list(outcomes(bench.owner.results)) == [1])


async def test_another_attempt_of_the_same_call_goes_on(app: App, bench: Bench) -> None:
    release = asyncio.Event()

    @app.activity
    async def hold() -> str:
        await release.wait()
        return "done"

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01)
    old, new = bench.owner.task("hold"), bench.owner.task("hold", attempt=2)
    await bench.owner.send(old)
    await bench.owner.send(new)
    await _drop(bench, worker, [old])
    await eventually(lambda: broker.acked == [1])
    release.set()
    assert (await bench.owner.result()).attempt == 2


async def test_nonsense_on_its_queue_does_not_stop_a_worker_from_listening(
    app: App, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    @app.activity
    async def hang() -> None:
        await asyncio.Event().wait()

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01)
    task = bench.owner.task("hang")
    await bench.owner.send(task)
    await _say(bench, worker, b"nonsense")
    await _drop(bench, worker, [task])
    await eventually(lambda: broker.acked == [1])
    assert "cannot be read" in caplog.text


async def test_a_worker_without_long_tasks_makes_no_queue(app: App, bench: Bench) -> None:
    app.activity(name="echo")(lambda given: given)
    worker = await bench.worker(app, beat_interval=0.01)
    await bench.owner.ask("echo", 1)
    await worker.stop()
    assert await bench.owner.broker.inspect(Names(bench.namespace).worker(worker.id)) is None


async def test_the_queue_goes_with_the_worker(app: App, bench: Bench) -> None:
    @app.activity
    async def hang() -> None:
        await asyncio.Event().wait()

    worker = await bench.worker(app, beat_interval=0.01)
    queue = Names(bench.namespace).worker(worker.id)
    await bench.owner.send(bench.owner.task("hang"))
    await _say(bench, worker, b"nonsense")
    await worker.stop()
    assert await bench.owner.broker.inspect(queue) is None
