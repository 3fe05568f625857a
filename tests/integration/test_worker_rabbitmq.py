"""A worker on RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tenuto.app import App
from tenuto.broker import make_broker
from tenuto.broker.protocol import Broker
from tenuto.settings import WorkerSettings
from tenuto_worker import Worker
from tests.unit.worker.bench import PATIENCE, Owner, eventually, outcomes


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[Broker]:
    broker = make_broker(rabbitmq_url, name="owner")
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def owner(broker: Broker, namespace: str) -> Owner:
    owner = Owner(broker, namespace)
    await owner.declare()
    await owner.listen()
    return owner


@pytest.fixture
def app() -> App:
    app = App("tests")

    @app.activity
    async def double(number: int) -> int:
        return number * 2

    @app.activity
    def triple(number: int) -> int:
        return number * 3

    return app


@asynccontextmanager
async def working(app: App, url: str, namespace: str) -> AsyncIterator[Worker]:
    broker = make_broker(url, name="worker")
    worker = Worker(app, broker, WorkerSettings(namespace=namespace, broker_url=url, grace=PATIENCE))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
        await broker.close()


async def test_two_thousand_tasks_in_folds(app: App, owner: Owner, rabbitmq_url: str, namespace: str) -> None:
    async with working(app, rabbitmq_url, namespace):
        for start in range(0, 2000, 20):
            await owner.send(
                *(
                    owner.task("double" if number % 10 else "triple", number, command=number, turn=number % 2)
                    for number in range(start, start + 20)
                )
            )
        await owner.until(lambda: len(owner.results) >= 2000)
    assert len(owner.results) == 2000
    assert outcomes(owner.results) == {number: number * (2 if number % 10 else 3) for number in range(2000)}
    # Results that were ready together came together.
    assert len(owner.heard) < 1500
    assert await owner.ready_messages() == 0


async def test_it_waits_for_its_queue_and_serves_it_again_after_a_wipe(
    app: App, owner: Owner, rabbitmq_url: str, namespace: str
) -> None:
    await owner.broker.delete(owner.pool_queue)
    async with working(app, rabbitmq_url, namespace) as worker:
        assert not worker.ready
        await owner.declare()
        await asyncio.wait_for(worker.until_ready(), PATIENCE)
        await owner.broker.delete(owner.pool_queue)
        await owner.declare()
        assert outcomes([await owner.ask("double", 21)]) == {0: 42}


async def test_a_malformed_message_goes_to_the_dead_letter_queue(
    app: App, owner: Owner, rabbitmq_url: str, namespace: str
) -> None:
    dead: asyncio.Queue[bytes] = asyncio.Queue()
    await owner.broker.subscribe(
        owner.dead_queue, lambda delivery: dead.put_nowait(delivery.body), prefetch=10, on_lost=lambda _: None
    )
    async with working(app, rabbitmq_url, namespace):
        await owner.send_raw(b"no tasks")
        assert await asyncio.wait_for(dead.get(), PATIENCE) == b"no tasks"


async def test_stopping_leaves_nothing_behind(
    app: App, owner: Owner, rabbitmq_url: str, namespace: str
) -> None:
    release = asyncio.Event()
    begun = asyncio.Event()

    @app.activity
    async def hold() -> None:
        begun.set()
        await release.wait()

    async with working(app, rabbitmq_url, namespace) as worker:
        await owner.send(owner.task("hold"))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        stopping = asyncio.create_task(worker.stop())
        release.set()
        await asyncio.wait_for(stopping, PATIENCE)
    assert outcomes(owner.results) == {0: None}
    assert await owner.ready_messages() == 0


WORKER = """
import asyncio, pathlib, sys

from tenuto.app import App
from tenuto.broker import make_broker
from tenuto.settings import WorkerSettings
from tenuto_worker import Worker

url, namespace, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
app = App("doomed")


@app.activity
async def quick(number: int) -> int:
    return number


@app.activity
async def slow(number: int) -> None:
    (folder / f"begun-{number}").touch()
    await asyncio.Event().wait()


async def main() -> None:
    worker = Worker(app, make_broker(url), WorkerSettings(namespace=namespace, broker_url=url, concurrency=4))
    await worker.start()
    await worker.wait()


asyncio.run(main())
"""


async def test_kill_9_gives_back_only_what_was_not_completed(
    app: App, owner: Owner, rabbitmq_url: str, namespace: str, tmp_path: Path
) -> None:
    program = tmp_path / "doomed.py"
    program.write_text(textwrap.dedent(WORKER), encoding="utf-8")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(program), rabbitmq_url, namespace, str(tmp_path)
    )
    try:
        await owner.send(*(owner.task("quick", number, command=number) for number in range(10)))
        await owner.until(lambda: len(owner.results) == 10)
        await owner.send(owner.task("slow", 10, command=10), owner.task("quick", 11, command=11))
        await owner.send(owner.task("slow", 12, command=12, alone=True))
        await eventually(lambda: all((tmp_path / f"begun-{number}").exists() for number in (10, 12)))
        await owner.until(lambda: len(owner.results) == 11)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()

    async with working(app, rabbitmq_url, namespace):
        await owner.until(lambda: len(owner.returned_commands) >= 3)
    # The fold comes back whole, because it has one acknowledgement; only the task that was alone is counted.
    assert {tuple(task.command for task in message.tasks): message.counted for message in owner.returned} == {
        (10, 11): False,
        (12,): True,
    }
    assert outcomes(owner.results) == {number: number for number in [*range(10), 11]}
    assert await owner.ready_messages() == 0
