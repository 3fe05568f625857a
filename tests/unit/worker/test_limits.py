"""Concurrent activities per worker, and per activity name on a worker."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tenuto.app import App
from tests.unit.worker.bench import Bench, eventually


class _Scarce:
    """An activity of which two run at once, and what it sees of that."""

    def __init__(self, app: App) -> None:
        self.release = asyncio.Semaphore(0)
        self.begun: list[int] = []
        self.most = 0
        self._running = 0
        app.activity(name="scarce", max_concurrent=2)(self.run)

    async def run(self, number: int) -> int:
        self.begun.append(number)
        self._running += 1
        self.most = max(self.most, self._running)
        await self.release.acquire()
        self._running -= 1
        return number


def _echo(given: int) -> int:
    return given


@pytest.mark.semantics("Limits of concurrency")
async def test_an_activity_runs_no_oftener_at_once_than_its_limit_and_in_order(
    app: App, bench: Bench
) -> None:
    scarce = _Scarce(app)
    await bench.worker(app, concurrency=8)
    for number in range(6):
        await bench.owner.send(bench.owner.task("scarce", number, command=number))
    await eventually(lambda: len(scarce.begun) == 2)
    for _ in range(6):
        scarce.release.release()
    await bench.owner.until(lambda: len(bench.owner.results) == 6)
    assert (scarce.most, scarce.begun) == (2, [0, 1, 2, 3, 4, 5])


@pytest.mark.semantics("Limits of concurrency")
@pytest.mark.parametrize("folded", [True, False])
async def test_a_limited_activity_holds_up_no_other(app: App, bench: Bench, *, folded: bool) -> None:
    """Neither in the slots nor in a fold."""
    scarce = _Scarce(app)
    app.activity(name="echo")(_echo)
    await bench.worker(app, concurrency=3)
    tasks = [bench.owner.task("scarce", number, command=number) for number in range(4)]
    tasks += [bench.owner.task("echo", number, command=number) for number in range(4, 9)]
    for part in [tasks] if folded else [[task] for task in tasks]:
        await bench.owner.send(*part)
    await bench.owner.until(lambda: len(bench.owner.results) == 5)
    assert {result.name for result in bench.owner.results} == {"echo"}
    for _ in range(4):
        scarce.release.release()
    await bench.owner.until(lambda: len(bench.owner.results) == 9)
    assert scarce.most == 2


async def test_a_limit_makes_no_more_slots(app: App, bench: Bench) -> None:
    scarce = _Scarce(app)
    await bench.worker(app, concurrency=1)
    for number in range(3):
        await bench.owner.send(bench.owner.task("scarce", number, command=number))
        scarce.release.release()
    await bench.owner.until(lambda: len(bench.owner.results) == 3)
    assert scarce.most == 1


async def test_what_waits_for_its_limit_is_handed_back_when_the_worker_stops(app: App, bench: Bench) -> None:
    scarce = _Scarce(app)
    worker = await bench.worker(app, concurrency=8)
    await bench.owner.send(*(bench.owner.task("scarce", number, command=number) for number in range(5)))
    await eventually(lambda: len(scarce.begun) == 2)
    await worker.stop()
    await bench.owner.until(lambda: len(bench.owner.returned_commands) == 5)
    assert Counter(bench.owner.returned_commands) == Counter(range(5))
    assert scarce.begun == [0, 1]


def test_a_limit_is_one_or_more(app: App) -> None:
    with pytest.raises(ValueError, match="max_concurrent must be 1 or more"):
        app.activity(max_concurrent=0)
