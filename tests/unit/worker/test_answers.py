"""How answers reach their owners, and when a message is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tenuto.app import App
from tenuto.broker.memory import MemoryBroker
from tenuto.broker.protocol import Outcome
from tenuto.messages import Results, decode_turn_message
from tests.unit.worker.bench import PATIENCE, Bench, SpyBroker, outcomes


@pytest.fixture
def echo(app: App) -> App:
    @app.activity(name="echo")
    async def run(given: Any) -> Any:
        return given

    return app


def answers_in(broker: SpyBroker, call: int) -> list[tuple[str, list[int]]]:
    """Queue and commands of each message of a publish call."""
    found = []
    for outgoing in broker.published[call]:
        message = decode_turn_message(outgoing.body)
        assert isinstance(message, Results)
        found.append((outgoing.queue, [result.command for result in message.results]))
    return found


async def test_a_fold_is_acknowledged_only_when_all_its_results_are_confirmed(app: App, bench: Bench) -> None:
    release = asyncio.Event()

    @app.activity
    async def first() -> None:
        pass

    @app.activity
    async def second() -> None:
        await release.wait()

    broker = bench.spy()
    await bench.worker(app, broker=broker)
    await bench.owner.send(bench.owner.task("first"), bench.owner.task("second", command=1))
    await bench.owner.until(lambda: len(bench.owner.results) == 1)
    assert broker.acked == []

    broker.waiting.clear()
    broker.gate.clear()
    release.set()
    await asyncio.wait_for(broker.waiting.wait(), PATIENCE)
    assert broker.acked == []

    broker.gate.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert broker.acked == [1]


async def test_results_that_are_ready_together_go_out_together_one_message_per_owner(
    echo: App, bench: Bench
) -> None:
    broker = bench.spy()
    await bench.worker(echo, broker=broker)
    broker.gate.clear()
    await bench.owner.send(bench.owner.task("echo", 0))
    await asyncio.wait_for(broker.waiting.wait(), PATIENCE)
    # The first is in flight; what is ready meanwhile forms the next fold by itself.
    for number in range(1, 41):
        await bench.owner.send(bench.owner.task("echo", number, command=number, turn=number % 2))
    broker.gate.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 41)
    assert answers_in(broker, 0) == [(bench.owner.turn_queues[0], [0])]
    assert len(broker.published) == 2
    assert sorted(answers_in(broker, 1)) == [
        (bench.owner.turn_queues[0], list(range(2, 41, 2))),
        (bench.owner.turn_queues[1], list(range(1, 41, 2))),
    ]
    assert sorted(broker.acked) == list(range(1, 42))


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.RETURNED])
async def test_what_is_not_confirmed_is_published_again(echo: App, bench: Bench, outcome: Outcome) -> None:
    broker = bench.spy()
    broker.spoil = [outcome, outcome]
    await bench.worker(echo, broker=broker)
    assert (await bench.owner.ask("echo", "precious")).failure is None
    assert len(broker.published) == 3
    assert outcomes(bench.owner.results) == {0: "precious"}
    assert broker.acked == [1]


async def test_an_unconfirmed_answer_does_not_hold_up_the_others(echo: App, bench: Bench) -> None:
    broker = bench.spy()
    await bench.worker(echo, broker=broker)
    await bench.owner.broker.delete(bench.owner.turn_queues[1])
    await bench.owner.send(bench.owner.task("echo", "lost", command=1, turn=1))
    await bench.owner.send(bench.owner.task("echo", "found", command=2, turn=0))
    await bench.owner.until(lambda: bool(bench.owner.results))
    assert outcomes(bench.owner.results) == {2: "found"}
    assert broker.acked == [2]

    # The owner's queue is declared again, as after a wipe.
    await bench.owner.declare()
    await bench.owner.listen()
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert outcomes(bench.owner.results) == {1: "lost", 2: "found"}
    assert broker.acked == [2, 1]


async def test_a_result_that_the_broker_refuses_is_a_failure_that_says_so(echo: App, bench: Bench) -> None:
    echo.activity(name="swell")(lambda size: "x" * size)
    broker = bench.spy()
    broker.limit = 5_000
    await bench.worker(echo, broker=broker)
    # The small one is folded with the large ones, which alone are refused.
    await bench.owner.send(
        bench.owner.task("swell", 10_000),
        bench.owner.task("echo", 7, command=1),
        bench.owner.task("swell", 9_000, command=2),
    )
    await bench.owner.until(lambda: len(bench.owner.results) == 3)
    found = outcomes(bench.owner.results)
    assert found[1] == 7
    for command in (0, 2):
        assert (found[command].type, found[command].retryable) == ("PayloadError", False)
        assert "'swell'" in found[command].message
    assert broker.acked == [1]


async def test_a_failure_that_the_broker_refuses_is_cut(app: App, bench: Bench) -> None:
    @app.activity
    async def rant() -> None:
        raise ValueError("no " * 5_000)

    broker = bench.spy()
    broker.spoil = [Outcome.REFUSED]
    await bench.worker(app, broker=broker)
    failure = (await bench.owner.ask("rant")).failure
    assert failure is not None
    assert failure.type == "ValueError"
    assert failure.message.startswith("no no no")
    assert len(failure.message) < 2_500
    assert failure.retryable


async def test_large_results_are_not_folded_into_huge_messages(echo: App, bench: Bench) -> None:
    broker = bench.spy()
    await bench.worker(echo, broker=broker)
    broker.gate.clear()
    await bench.owner.send(bench.owner.task("echo"))
    await asyncio.wait_for(broker.waiting.wait(), PATIENCE)
    await bench.owner.send(
        *(bench.owner.task("echo", "x" * 100_000, command=number) for number in range(1, 11))
    )
    broker.gate.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 11)
    sizes = [len(outgoing.body) for call in broker.published for outgoing in call]
    assert max(sizes) < 300_000
    assert len(sizes) == 6


async def test_nothing_is_lost_when_the_connection_is(app: App, bench: Bench) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    @app.activity
    async def hold() -> str:
        begun.set()
        await release.wait()
        return "kept"

    broker = MemoryBroker(bench.server)
    worker = await bench.worker(app, broker=broker)
    await bench.owner.send(bench.owner.task("hold"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    bench.server.drop_connection(broker)
    # The delivery comes again, and is handed back; what runs goes on, and its result is published.
    await bench.owner.until(lambda: bench.owner.returned_commands == [0])
    assert worker.ready
    release.set()
    assert outcomes([await bench.owner.result()]) == {0: "kept"}
    assert await bench.owner.ready_messages() == 0


async def test_the_broker_being_away_is_told_once(
    echo: App, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.worker")
    broker = bench.spy()
    broker.spoil = [Outcome.UNKNOWN] * 3
    await bench.worker(echo, broker=broker)
    await bench.owner.ask("echo")
    assert caplog.text.count("are not confirmed") == 1
