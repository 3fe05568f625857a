"""Holds: tasks that take longer than a broker leaves a delivery unacknowledged (rule W2)."""

from __future__ import annotations

import asyncio

from tenuto.app import App
from tenuto.broker.protocol import Outcome
from tenuto.messages import Beat, Held, decode_turn_message
from tests.unit.worker.bench import PATIENCE, Bench, SpyBroker, eventually, outcomes


def _holds(bench: Bench) -> list[Held]:
    return [task for beat in bench.owner.beats for task in beat.tasks if task.held]


async def test_a_delivery_is_acknowledged_when_it_is_held_and_its_result_comes_later(
    app: App, bench: Bench
) -> None:
    release = asyncio.Event()

    @app.activity
    async def hold() -> str:
        await release.wait()
        return "done"

    broker = bench.spy()
    await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02)
    await bench.owner.send(bench.owner.task("hold"))
    await eventually(lambda: broker.acked == [1])
    assert _holds(bench)
    assert not bench.owner.results
    release.set()
    assert (await bench.owner.result()).result is not None
    assert broker.acked == [1]


async def test_a_hold_is_stored_and_must_be_routed_and_later_beats_repeat_it(app: App, bench: Bench) -> None:
    @app.activity
    async def hold() -> None:
        await asyncio.Event().wait()

    broker = bench.spy()
    await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02)
    await bench.owner.send(bench.owner.task("hold"))
    await bench.owner.until(lambda: len(_holds(bench)) >= 3)
    published = [outgoing for call in broker.published for outgoing in call]
    first = next(one for one in published if _is_hold(one.body))
    assert (first.mandatory, first.persistent) == (True, True)
    assert not any(one.persistent for one in published if one is not first)


def _is_hold(body: bytes) -> bool:
    message = decode_turn_message(body)
    return isinstance(message, Beat) and message.tasks[0].held


class _SpoilsHolds(SpyBroker):
    """Holds are not confirmed while `spoils`."""

    spoils = True
    spoiled = 0

    async def _outcome(self, message: object) -> Outcome:
        if self.spoils and _is_hold(message.body):  # type: ignore[attr-defined]
            self.spoiled += 1
            return Outcome.RETURNED
        return await super()._outcome(message)  # type: ignore[arg-type]


async def test_nothing_is_acknowledged_before_the_hold_is_confirmed(app: App, bench: Bench) -> None:
    @app.activity
    async def hold() -> None:
        await asyncio.Event().wait()

    broker = _SpoilsHolds(bench.spy().inner)
    await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02)
    await bench.owner.send(bench.owner.task("hold"))
    await eventually(lambda: broker.spoiled >= 3)
    assert broker.acked == []
    broker.spoils = False
    await eventually(lambda: broker.acked == [1])


async def test_a_task_that_waits_for_a_slot_is_held_too(app: App, bench: Bench) -> None:
    """The broker counts from the delivery, begun or not. Of a fold, what is answered already is not reported."""
    release = asyncio.Event()

    @app.activity
    async def hold(number: int) -> int:
        await release.wait()
        return number

    app.activity(name="echo")(lambda given: given)
    broker = bench.spy()
    await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02, concurrency=1)
    tasks = [bench.owner.task("hold", number, command=number) for number in (1, 2)]
    await bench.owner.send(bench.owner.task("echo", 0), *tasks)
    await eventually(lambda: broker.acked == [1])
    held = {task.command: task.seconds is not None for task in _holds(bench)}
    assert held == {1: True, 2: False}
    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 3)
    assert outcomes(bench.owner.results) == {0: 0, 1: 1, 2: 2}


async def test_a_held_task_that_waits_is_not_forgotten_with_its_subscription(app: App, bench: Bench) -> None:
    """The broker would not deliver it again."""
    release = asyncio.Event()

    @app.activity
    async def hold(number: int) -> int:
        await release.wait()
        return number

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02, concurrency=1)
    await bench.owner.send(*(bench.owner.task("hold", number, command=number) for number in range(2)))
    await eventually(lambda: broker.acked == [1])
    for job in list(worker._holdings.held_since(float("inf"))):
        worker._lost(job.parcel.subscription)
    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)


async def test_a_worker_that_stops_hands_back_what_it_held(app: App, bench: Bench) -> None:
    begun = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await asyncio.Event().wait()

    broker = bench.spy()
    worker = await bench.worker(app, broker=broker, beat_interval=0.01, hold_after=0.02)
    await bench.owner.send(bench.owner.task("hold"))
    await eventually(lambda: broker.acked == [1])
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await worker.stop()
    await bench.owner.until(lambda: bench.owner.returned_commands == [0])
    assert broker.acked == [1]
