"""The folded beat."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from tenuto import activity
from tenuto.app import App
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.messages import Beat, decode_turn_message
from tenuto_worker.beat import Heart
from tenuto_worker.holdings import Holdings, Job, Parcel
from tests.unit.worker.bench import PATIENCE, Bench, Owner, SpyBroker


async def test_what_is_held_for_long_is_reported_started_or_not(app: App, bench: Bench) -> None:
    release = asyncio.Event()

    @app.activity
    async def hold() -> None:
        await release.wait()

    worker = await bench.worker(app, concurrency=1, beat_interval=0.01)
    await bench.owner.send(bench.owner.task("hold"), bench.owner.task("hold", command=1, turn=1))
    await bench.owner.until(lambda: len({queue for queue, _ in bench.owner.heard}) == 2)
    first = {queue: message for queue, message in reversed(bench.owner.heard) if isinstance(message, Beat)}
    held = {queue: [task.command for task in beat.tasks] for queue, beat in first.items()}
    assert held == {bench.owner.turn_queues[0]: [0], bench.owner.turn_queues[1]: [1]}
    assert {beat.worker for beat in bench.owner.beats} == {worker.id}
    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_beat_carries_the_last_heartbeats_details(app: App, bench: Bench, *, threaded: bool) -> None:
    thread_release = threading.Event()
    release = asyncio.Event()

    def report() -> None:
        activity.heartbeat({"page": 1})
        activity.heartbeat({"page": 2})
        activity.heartbeat()

    if threaded:

        @app.activity(name="work")
        def work_in_a_thread() -> None:
            report()
            thread_release.wait(PATIENCE)
    else:

        @app.activity(name="work")
        async def work() -> None:
            report()
            await release.wait()

    await bench.worker(app, beat_interval=0.01)
    await bench.owner.send(bench.owner.task("work"))
    await bench.owner.until(lambda: any(beat.tasks[0].details is not None for beat in bench.owner.beats))
    details: Any = bench.owner.beats[-1].tasks[0].details
    assert msgspec.json.decode(details) == {"page": 2}
    thread_release.set()
    release.set()
    await bench.owner.result()


class _Still:
    """A subscription that nothing is done with."""

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        raise AssertionError(f"a beat acknowledges nothing, and did {tag} ({multiple=})")

    def nack(self, tag: int, *, requeue: bool) -> None:
        raise AssertionError(f"a beat gives nothing back, and did {tag} ({requeue=})")

    async def cancel(self) -> None:
        """Nothing to cancel."""

    async def close(self) -> None:
        """Nothing to close."""


async def beats_of(ages: list[float], *, details: bytes | None = None) -> list[list[int]]:
    """The commands in each message of one beat, with an interval of 5 s, for tasks held for so many seconds."""
    broker = SpyBroker(MemoryBroker(MemoryServer()))
    await broker.open()
    owner = Owner(broker, "beats")
    holdings = Holdings()
    for number, age in enumerate(ages):
        task = owner.task("hold", command=number)
        job = Job(task=task, parcel=Parcel(_Still(), 1, tasks=1), definition=None, since=1000.0 - age)
        job.pulse.details = None if details is None else msgspec.Raw(details)
        holdings.take(job)
    await Heart(broker, holdings, worker="w1", interval=5.0)._beat(1000.0)
    await broker.close()
    messages = [decode_turn_message(outgoing.body) for call in broker.published for outgoing in call]
    assert all(not outgoing.mandatory for call in broker.published for outgoing in call)
    return [[task.command for task in beat.tasks] for beat in messages if isinstance(beat, Beat)]


async def test_only_what_is_held_longer_than_the_interval_is_reported() -> None:
    assert await beats_of([60.0, 5.0, 4.9, 0.0]) == [[0, 1]]


async def test_nothing_is_said_when_nothing_is_held_for_long() -> None:
    assert await beats_of([]) == []
    assert await beats_of([4.9, 1.0]) == []


async def test_a_thousand_tasks_are_one_message() -> None:
    assert len(await beats_of([60.0] * 800)) == 1


async def test_large_details_are_spread_over_several_messages() -> None:
    assert await beats_of([60.0] * 4, details=b'"' + b"x" * 100_000 + b'"') == [[0, 1], [2, 3]]
