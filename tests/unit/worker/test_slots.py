"""How many run at once, in which order, and for how long."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from tenuto import activity
from tenuto.app import App
from tests.unit.worker.bench import PATIENCE, Bench, outcomes

colour: ContextVar[str] = ContextVar("colour", default="none")


class Turnstile:
    """Counts how many are inside at once, and lets them out when told to."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.order: list[int] = []
        self.arrived = asyncio.Condition()
        self.out = asyncio.Event()

    async def enter(self, number: int) -> int:
        async with self.arrived:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(number)
            self.arrived.notify_all()
        await self.out.wait()
        self.inside -= 1
        return number

    async def until_inside(self, count: int) -> None:
        async with self.arrived, asyncio.timeout(PATIENCE):
            await self.arrived.wait_for(lambda: self.inside == count)


@pytest.mark.semantics("Limits of concurrency")
async def test_no_more_run_at_once_than_there_are_slots(app: App, bench: Bench) -> None:
    turnstile = Turnstile()

    @app.activity
    async def enter(number: int) -> int:
        return await turnstile.enter(number)

    await bench.worker(app, concurrency=3)
    tasks = [bench.owner.task("enter", number, command=number) for number in range(10)]
    await bench.owner.send(*tasks[:7])
    for task in tasks[7:]:
        await bench.owner.send(task)
    await turnstile.until_inside(3)
    turnstile.out.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 10)
    assert turnstile.most == 3
    assert turnstile.order == list(range(10))
    assert outcomes(bench.owner.results) == {number: number for number in range(10)}


async def test_threads_are_limited_by_the_slots(app: App, bench: Bench) -> None:
    lock = threading.Lock()
    both_inside = threading.Barrier(2, timeout=PATIENCE)
    inside = most = 0

    @app.activity
    def enter(number: int) -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both_inside.wait()
        with lock:
            inside -= 1
        return threading.current_thread().name

    await bench.worker(app, concurrency=2)
    await bench.owner.send(*(bench.owner.task("enter", number, command=number) for number in range(6)))
    await bench.owner.until(lambda: len(bench.owner.results) == 6)
    assert most == 2
    assert len(set(outcomes(bench.owner.results).values())) == 2


async def test_a_thread_does_not_hold_up_the_loop(app: App, bench: Bench) -> None:
    quick_is_done = threading.Event()

    @app.activity
    def slow() -> bool:
        return quick_is_done.wait(PATIENCE)

    @app.activity
    async def quick() -> None:
        quick_is_done.set()

    await bench.worker(app, concurrency=2)
    await bench.owner.send(bench.owner.task("slow"), bench.owner.task("quick", command=1))
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert outcomes(bench.owner.results)[0] is True


async def test_context_variables_do_not_leak_from_one_activity_into_the_next(app: App, bench: Bench) -> None:
    @app.activity
    async def paint() -> str:
        before = colour.get()
        colour.set("red")
        return before

    await bench.worker(app, concurrency=1)
    await bench.owner.send(*(bench.owner.task("paint", command=number) for number in range(3)))
    await bench.owner.until(lambda: len(bench.owner.results) == 3)
    assert set(outcomes(bench.owner.results).values()) == {"none"}


@pytest.mark.parametrize("stubborn", [False, True])
async def test_start_to_close_cancels_an_async_activity(app: App, bench: Bench, *, stubborn: bool) -> None:
    cancelled: list[bool] = []

    @app.activity
    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(activity.is_cancelled())
            if not stubborn:
                raise
        return "too late"

    app.activity(name="echo")(lambda given: given)
    await bench.worker(app, concurrency=1)
    result = await bench.owner.ask("hang", start_to_close=0.01)
    assert result.failure is not None
    assert result.failure.type == "StartToCloseTimeoutError"
    assert "0.01 s" in result.failure.message
    assert result.failure.retryable

    # Its slot is free again, and what a stubborn one returns is dropped.
    await bench.owner.send(bench.owner.task("echo", "hello", command=1))
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert outcomes(bench.owner.results)[1] == "hello"
    assert cancelled == [True]


async def test_a_thread_that_outruns_start_to_close_keeps_its_slot_and_its_result_is_dropped(
    app: App, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    ended = threading.Event()
    told: list[bool] = []
    begun: list[str] = []

    @app.activity
    def hang() -> str:
        begun.append("hang")
        release.wait(PATIENCE)
        told.append(activity.is_cancelled())
        ended.set()
        return "too late"

    @app.activity
    async def follow() -> bool:
        begun.append("follow")
        return ended.is_set()

    await bench.worker(app, concurrency=1)
    await bench.owner.send(
        bench.owner.task("hang", start_to_close=0.01), bench.owner.task("follow", command=1)
    )
    result = await bench.owner.result()
    assert result.failure is not None
    assert result.failure.type == "StartToCloseTimeoutError"
    assert "follow" not in begun

    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert outcomes(bench.owner.results)[1] is True
    assert told == [True]
    assert "is dropped" in caplog.text


async def test_an_activity_within_its_limit_is_left_alone(app: App, bench: Bench) -> None:
    @app.activity
    async def work() -> bool:
        await asyncio.sleep(0)
        return activity.is_cancelled()

    await bench.worker(app)
    await bench.owner.ask("work", start_to_close=60.0)
    assert outcomes(bench.owner.results) == {0: False}
