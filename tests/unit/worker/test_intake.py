"""Consuming: a missing queue, a lost subscription, messages that come a second time or make no sense."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from tenuto.app import App
from tenuto.broker.memory import MemoryBroker
from tenuto.broker.protocol import Delivery, Subscription
from tests.unit.worker.bench import PATIENCE, Bench, SpyBroker, outcomes


@pytest.fixture
def calls(app: App) -> list[int]:
    calls: list[int] = []

    @app.activity
    async def note(number: int) -> int:
        calls.append(number)
        return number

    return calls


async def test_it_waits_for_its_queue_and_never_declares_it(
    app: App, bench: Bench, calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    await bench.owner.broker.delete(bench.owner.pool_queue)
    missed = asyncio.Event()

    class Impatient(SpyBroker):
        attempts = 0

        async def subscribe(
            self,
            queue: str,
            on_delivery: Callable[[Delivery], None],
            *,
            prefetch: int,
            on_lost: Callable[[str], None],
        ) -> Subscription:
            self.attempts += 1
            if self.attempts == 3:
                missed.set()
            return await super().subscribe(queue, on_delivery, prefetch=prefetch, on_lost=on_lost)

    broker = Impatient(MemoryBroker(bench.server))
    worker = await bench.worker(app, broker=broker, ready=False)
    await asyncio.wait_for(missed.wait(), PATIENCE)
    assert not worker.ready
    assert await bench.owner.broker.inspect(bench.owner.pool_queue) is None
    assert caplog.text.count("No orchestrator has declared the queue of pool 'default' yet") == 1

    await bench.owner.declare()
    await asyncio.wait_for(worker.until_ready(), PATIENCE)
    assert outcomes([await bench.owner.ask("note", 1)]) == {0: 1}


async def test_it_consumes_again_after_the_queue_was_lost(app: App, bench: Bench, calls: list[int]) -> None:
    await bench.worker(app)
    bench.server.wipe()
    await bench.owner.declare()
    await bench.owner.listen()
    await bench.owner.ask("note", 1)
    assert calls == [1]


async def test_what_waited_when_the_subscription_was_lost_comes_again_and_is_not_run_here(
    app: App, bench: Bench, calls: list[int]
) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await release.wait()

    broker = MemoryBroker(bench.server)
    await bench.worker(app, broker=broker, concurrency=1)
    await bench.owner.send(bench.owner.task("hold"))
    await bench.owner.send(bench.owner.task("note", 1, command=1))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    bench.server.drop_connection(broker)
    await bench.owner.until(lambda: sorted(bench.owner.returned_commands) == [0, 1])
    release.set()
    await bench.owner.result()
    assert calls == []


@pytest.mark.parametrize(
    ("commands", "alone", "counted"),
    [([0], True, True), ([0], False, False), ([0, 1], False, False), ([0, 1], True, False)],
)
async def test_what_comes_a_second_time_is_handed_back(
    app: App, bench: Bench, calls: list[int], commands: list[int], *, alone: bool, counted: bool
) -> None:
    tasks = [bench.owner.task("note", 1, command=number, alone=alone) for number in commands]
    async with bench.lost_once():
        await bench.owner.send(*tasks)
    broker = bench.spy()
    await bench.worker(app, broker=broker)
    await bench.owner.until(lambda: bool(bench.owner.returned))
    (message,) = bench.owner.returned
    assert message.counted is counted
    assert [
        (task.instance, task.run, task.generation, task.command, task.attempt) for task in message.tasks
    ] == [("order-1", "r1", 0, number, 1) for number in commands]
    assert "input" not in message.tasks[0].__struct_fields__
    assert calls == []
    assert bench.owner.results == []
    assert broker.acked == [1]


async def test_a_task_that_still_runs_here_is_not_blamed_for_a_lost_connection(
    app: App, bench: Bench
) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await release.wait()

    broker = MemoryBroker(bench.server)
    await bench.worker(app, broker=broker)
    await bench.owner.send(bench.owner.task("hold", alone=True))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    bench.server.drop_connection(broker)
    await bench.owner.until(lambda: bool(bench.owner.returned))
    assert not bench.owner.returned[0].counted
    release.set()
    await bench.owner.result()


async def test_each_owner_gets_back_its_own(app: App, bench: Bench, calls: list[int]) -> None:
    async with bench.lost_once():
        await bench.owner.send(
            *(bench.owner.task("note", 1, command=number, turn=number % 2) for number in range(4))
        )
    await bench.worker(app)
    await bench.owner.until(lambda: len(bench.owner.returned) == 2)
    assert sorted(bench.owner.returned_commands) == [0, 1, 2, 3]
    assert {queue for queue, _ in bench.owner.heard} == set(bench.owner.turn_queues)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\x00", b"[]", b'{"type":"tasks"}', b'{"type":"tasks","tasks":[{"name":"note"}]}']
)
async def test_what_makes_no_sense_is_kept_as_a_dead_letter(
    app: App, bench: Bench, calls: list[int], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    dead: asyncio.Queue[bytes] = asyncio.Queue()
    await bench.owner.broker.subscribe(
        bench.owner.dead_queue,
        lambda delivery: dead.put_nowait(delivery.body),
        prefetch=10,
        on_lost=lambda _: None,
    )
    await bench.worker(app)
    await bench.owner.send_raw(body)
    assert await asyncio.wait_for(dead.get(), PATIENCE) == body
    assert "goes to the dead-letter queue" in caplog.text
    await bench.owner.ask("note", 1)
    assert calls == [1]


async def test_a_message_without_tasks_is_acknowledged(app: App, bench: Bench, calls: list[int]) -> None:
    broker = bench.spy()
    await bench.worker(app, broker=broker)
    await bench.owner.send()
    await bench.owner.ask("note", 1)
    assert broker.acked == [1, 2]


async def test_it_fetches_no_more_than_its_prefetch(app: App, bench: Bench) -> None:
    release = asyncio.Event()
    begun = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await release.wait()

    await bench.worker(app, concurrency=1, prefetch=2)
    for number in range(5):
        await bench.owner.send(bench.owner.task("hold", command=number))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    assert await bench.owner.ready_messages() == 3
    release.set()
    await bench.owner.until(lambda: len(bench.owner.results) == 5)


async def test_a_delivery_before_subscribe_has_returned_is_not_lost(
    app: App, bench: Bench, calls: list[int]
) -> None:
    class Slow(SpyBroker):
        async def subscribe(
            self,
            queue: str,
            on_delivery: Callable[[Delivery], None],
            *,
            prefetch: int,
            on_lost: Callable[[str], None],
        ) -> Subscription:
            delivered = asyncio.Event()

            def deliver(delivery: Delivery) -> None:
                on_delivery(delivery)
                delivered.set()

            subscription = await super().subscribe(queue, deliver, prefetch=prefetch, on_lost=on_lost)
            await asyncio.wait_for(delivered.wait(), PATIENCE)
            return subscription

    broker = Slow(MemoryBroker(bench.server))
    await bench.owner.send(bench.owner.task("note", 1))
    await bench.worker(app, broker=broker)
    await bench.owner.result()
    assert calls == [1]
    assert broker.acked == [1]


async def test_its_subscription_is_told_about(
    app: App, bench: Bench, calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.worker")
    worker = await bench.worker(app)
    assert "Serving pool 'default'" in caplog.text
    await bench.owner.broker.delete(bench.owner.pool_queue)
    await bench.owner.declare()
    await bench.owner.ask("note", 1)
    assert worker.ready
    assert "The subscription to pool 'default' was lost" in caplog.text
