"""Heartbeats: what an activity says while it runs, and what becomes of one that says nothing."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tenuto import activity
from tenuto.app import App
from tenuto.attempts.watchdog import Watchdog
from tenuto_worker.holdings import Job, Parcel
from tests.unit.worker.bench import PATIENCE, Bench, eventually


@dataclass
class Progress:
    page: int


def _value(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


@pytest.mark.parametrize("threaded", [False, True])
async def test_an_attempt_that_gives_no_heartbeat_in_time_fails(
    app: App, bench: Bench, *, threaded: bool
) -> None:
    """The failure may be tried again, and has the details of the last heartbeat with it."""
    release = threading.Event()
    if threaded:

        @app.activity(name="work")
        def work_in_a_thread() -> None:
            activity.heartbeat(7)
            release.wait(PATIENCE)
    else:

        @app.activity(name="work")
        async def work() -> None:
            activity.heartbeat(7)
            await asyncio.Event().wait()

    await bench.worker(app)
    result = await bench.owner.ask("work", heartbeat_timeout=0.05)
    release.set()
    assert result.failure is not None
    assert (result.failure.type, result.failure.retryable) == ("HeartbeatTimeoutError", True)
    assert _value(result.details) == 7


async def test_an_attempt_lives_as_long_as_its_heart_beats(bench: Bench) -> None:
    bitten: list[str] = []
    subscription = await bench.owner.broker.subscribe(
        bench.owner.dead_queue, lambda _: None, prefetch=1, on_lost=lambda _: None
    )
    job = Job(
        task=bench.owner.task("work", heartbeat_timeout=0.01),
        parcel=Parcel(subscription, 1, tasks=1),
        definition=None,
        since=0.0,
    )
    watchdog = Watchdog(job, lambda _job, limit, _allowed: bitten.append(limit))
    far = job.pulse.beaten = asyncio.get_running_loop().time() + 3600.0
    await eventually(lambda: watchdog._pulse is not None and watchdog._pulse.when() > far)
    assert bitten == []
    watchdog.stop()


async def test_a_failed_attempt_takes_the_details_of_its_last_heartbeat_along(app: App, bench: Bench) -> None:
    @app.activity
    async def work() -> None:
        activity.heartbeat(Progress(page=4))
        raise OSError

    await bench.worker(app)
    assert _value((await bench.owner.ask("work")).details) == {"page": 4}


async def test_a_successful_one_does_not(app: App, bench: Bench) -> None:
    @app.activity
    async def work() -> None:
        activity.heartbeat(1)

    await bench.worker(app)
    assert (await bench.owner.ask("work")).details is None


async def test_the_context_has_the_details_of_the_attempt_before(app: App, bench: Bench) -> None:
    seen: list[Any] = []

    @app.activity
    async def look() -> None:
        context = activity.context()
        seen.extend([context.heartbeat_details(), context.heartbeat_details(Progress)])

    await bench.worker(app)
    await bench.owner.ask("look", details=msgspec.Raw(b'{"page": 4}'), attempt=2)
    assert seen == [{"page": 4}, Progress(page=4)]


async def test_without_a_heartbeat_before_there_are_no_details(app: App, bench: Bench) -> None:
    @app.activity
    async def look() -> bool:
        return activity.context().heartbeat_details(Progress) is None

    await bench.worker(app)
    assert _value((await bench.owner.ask("look")).result) is True


async def test_a_task_that_is_handed_back_takes_its_details_along(app: App, bench: Bench) -> None:
    begun = asyncio.Event()

    @app.activity
    async def work() -> None:
        activity.heartbeat(9)
        begun.set()
        await asyncio.Event().wait()

    worker = await bench.worker(app)
    await bench.owner.send(bench.owner.task("work"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await worker.stop()
    await bench.owner.until(lambda: bool(bench.owner.returned))
    assert [_value(task.details) for task in bench.owner.returned[0].tasks] == [9]


async def test_a_worker_says_at_once_that_it_has_begun_what_must_be_begun_in_time(
    app: App, bench: Bench
) -> None:
    release = asyncio.Event()

    @app.activity
    async def work() -> None:
        await release.wait()

    await bench.worker(app, beat_interval=3600.0)
    await bench.owner.send(
        bench.owner.task("work", schedule_to_start=1.0), bench.owner.task("work", command=1)
    )
    await bench.owner.until(lambda: bool(bench.owner.beats))
    (held,) = bench.owner.beats[0].tasks
    assert (held.command, held.seconds is not None) == (0, True)
    release.set()
