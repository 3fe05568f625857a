"""Services that live together, and processes that serve until a signal."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tenuto_gateway.ensemble import Ensemble, run, serve, until_signal


class Part:
    """A resource and a service that writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], *, fails_at: str = "") -> None:
        self.name = name
        self.diary = diary
        self.fails_at = fails_at
        self.ended = asyncio.Event()
        self.death: Exception | None = None

    async def _note(self, what: str) -> None:
        self.diary.append(f"{what} {self.name}")
        await asyncio.sleep(0)
        if self.fails_at == what:
            raise RuntimeError(f"{what} {self.name}")

    async def open(self) -> None:
        await self._note("open")

    async def close(self) -> None:
        await self._note("close")

    async def start(self) -> None:
        await self._note("start")

    async def stop(self) -> None:
        await self._note("stop")

    async def wait(self) -> None:
        await self.ended.wait()
        if self.death is not None:
            raise self.death


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    diary: list[str] = []
    parts = [Part(name, diary) for name in ("store", "broker", "orchestrator", "worker")]
    ensemble = Ensemble(parts[:2], parts[2:])
    await ensemble.start()
    await ensemble.start()
    await ensemble.stop()
    await ensemble.stop()
    assert diary == [
        *("open store", "open broker", "start orchestrator", "start worker"),
        *("stop worker", "stop orchestrator", "close broker", "close store"),
    ]


@pytest.mark.parametrize(
    ("culprit", "at", "undone"),
    [
        ("broker", "open", ["close broker", "close store"]),
        ("orchestrator", "start", ["stop orchestrator", "close broker", "close store"]),
        ("worker", "start", ["stop worker", "stop orchestrator", "close broker", "close store"]),
    ],
)
async def test_a_start_that_fails_is_undone(culprit: str, at: str, undone: list[str]) -> None:
    diary: list[str] = []
    names = ("store", "broker", "orchestrator", "worker")
    parts = [Part(name, diary, fails_at=at if name == culprit else "") for name in names]
    ensemble = Ensemble(parts[:2], parts[2:])
    with pytest.raises(RuntimeError, match=f"{at} {culprit}"):
        await ensemble.start()
    assert diary[diary.index(f"{at} {culprit}") + 1 :] == undone
    await ensemble.stop()
    assert diary[-len(undone) :] == undone


async def test_everything_is_stopped_even_if_some_of_it_fails() -> None:
    diary: list[str] = []
    parts = [Part("store", diary), Part("orchestrator", diary), Part("worker", diary, fails_at="stop")]
    ensemble = Ensemble(parts[:1], parts[1:])
    await ensemble.start()
    with pytest.raises(RuntimeError, match="stop worker"):
        await ensemble.stop()
    assert diary[-3:] == ["stop worker", "stop orchestrator", "close store"]


async def test_it_waits_for_the_first_end_and_raises_what_killed_it() -> None:
    parts = [Part("orchestrator", []), Part("worker", [])]
    parts[1].death = RuntimeError("killed")
    parts[1].ended.set()
    with pytest.raises(RuntimeError, match="killed"):
        await Ensemble([], parts).wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_a_service(number: signal.Signals) -> None:
    diary: list[str] = []
    await serve(Part("worker", diary), ready=lambda: os.kill(os.getpid(), number))
    assert diary == ["start worker", "stop worker"]


async def test_a_signal_during_the_start_stops_as_well() -> None:
    diary: list[str] = []

    class Slow(Part):
        async def start(self) -> None:
            await super().start()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    await serve(Slow("worker", diary), ready=lambda: diary.append("ready"))
    assert diary == ["start worker", "stop worker"]


async def test_what_kills_a_service_is_raised_after_it_was_stopped() -> None:
    diary: list[str] = []
    part = Part("worker", diary)
    part.death = RuntimeError("killed")
    with pytest.raises(RuntimeError, match="killed"):
        await serve(part, ready=part.ended.set)
    assert diary == ["start worker", "stop worker"]


async def test_a_main_that_ends_by_itself_gives_its_result() -> None:
    assert await until_signal(asyncio.sleep(0, "done")) == "done"


async def test_a_cancellation_from_elsewhere_is_not_taken_for_a_signal() -> None:
    started = asyncio.Event()

    async def main() -> None:
        started.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(until_signal(main()))
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_coroutine_is_run_to_its_end() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith(("uvloop", "asyncio"))
