"""The tools of the fault tests: a schedule that its seed determines, a proxy that obeys, a checker that notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest

from tenuto.core.events import ActivityCompleted, Event, ExecutionStarted
from tenuto.core.execution import advance, replay
from tenuto.core.turn import Arrival
from tenuto.payloads import encode
from tenuto.store import make_store
from tenuto.store.protocol import Deployment
from tests.support import sample_app as sample
from tests.support.chaos import Kind, make_schedule
from tests.support.chaos_app import app
from tests.support.checker import Findings, check_journal, left_behind
from tests.support.journal import Journal, Run, TurnWritten, install_journal, plain_url, read_journal
from tests.support.mixed_load import Order
from tests.support.proxy import Proxy

ORDER = sample.Chain(seed="x", steps=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


# The schedule ----------------------------------------------------------------------------------------------------


def test_the_seed_determines_the_schedule() -> None:
    assert make_schedule(7, 600.0) == make_schedule(7, 600.0)
    assert make_schedule(7, 600.0) != make_schedule(8, 600.0)


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    kinds = [fault.kind for fault in make_schedule(7, 600.0)]
    assert set(kinds[: len(Kind)]) == set(Kind)


# The proxy -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def echo() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1024):
                writer.write(data)
        await _close(writer)

    serving: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    yield proxy
    proxy.stop()
    server.close()
    await asyncio.gather(*(task for task in serving if task is not None))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):  # where it has been cut
        await writer.wait_closed()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        await _close(writer)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    return await reader.readexactly(len(data))


async def test_it_forwards_in_order_whatever_the_latency(echo: Proxy) -> None:
    async with connected(echo) as (reader, writer):
        for number in range(10):
            echo.latency = 0.01 * (number % 3)
            writer.write(bytes([number]))
            await asyncio.sleep(0)
        assert await reader.readexactly(10) == bytes(range(10))


async def test_a_frozen_connection_carries_nothing_until_it_thaws(echo: Proxy) -> None:
    async with connected(echo) as frozen, connected(echo) as other:
        assert await ask(*frozen, b"a") == b"a"
        thaw = echo.freeze()
        answer = asyncio.create_task(ask(*frozen, b"b"))
        async with connected(echo) as later:
            assert await ask(*later, b"c") == b"c"
        assert not answer.done()
        thaw()
        assert await answer == b"b"
        assert await ask(*other, b"d") == b"d"


async def test_it_cuts_and_refuses(echo: Proxy) -> None:
    async with connected(echo) as first:
        assert await ask(*first, b"a") == b"a"
        echo.refuse()
        assert echo.cut() == 1
        with pytest.raises(ConnectionResetError):
            await first[0].readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", echo.port)
        await echo.start()
        async with connected(echo) as second:
            assert await ask(*second, b"b") == b"b"


# The checker -----------------------------------------------------------------------------------------------------


def sound() -> tuple[Order, Run]:
    """An order, and how it should stand in the journal."""
    started = ExecutionStarted(workflow="chain", input=msgspec.Raw(encode(ORDER)), seed="s")
    execution = replay(app.resolve, "i", "r", [started])
    first = advance(execution, [], NOW)
    result = msgspec.Raw(encode(sample.expected_chain(ORDER)))
    answer = Arrival(
        what=ActivityCompleted(command=first.tasks[0].scheduled.id, attempt=1, result=result),
        run="r",
        generation=0,
    )
    second = advance(execution, [answer], NOW)
    turns: list[Sequence[Event]] = [[started], first.events, second.events]
    written = [TurnWritten(turn=turn, generation=0, events=events) for turn, events in enumerate(turns)]
    expected = sample.expected_chain(ORDER)
    order = Order(
        instance="i", workflow=sample.chain, input=ORDER, expected=expected, result=expected, ended=True
    )
    return order, Run(instance="i", runs=["r"], turns=written, ends=["COMPLETED"])


def examine(order: Order, run: Run, audit: Path) -> list[str]:
    findings: Findings = check_journal(app, [order], {run.instance: run}, audit=audit)
    return findings.violations


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """One execution of the order's one activity."""
    started = sound()[1].turns[0].events
    (task,) = advance(replay(app.resolve, "i", "r", started), [], NOW).tasks
    line = {
        "instance": "i",
        "activity": "even_step",
        "key": task.key,
        "attempt": 1,
    }
    path = tmp_path / "audit.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_a_sound_run_passes(audit: Path) -> None:
    assert examine(*sound(), audit) == []


def test_each_kind_of_damage_is_noticed(audit: Path) -> None:
    order, run = sound()
    nobody = audit.with_name("nobody.jsonl")
    nobody.touch()
    damaged = {
        "a wrong result": examine(replace(order, result="?"), run, audit),
        "no end": examine(replace(order, ended=False), run, audit),
        "an error": examine(replace(order, error="?"), run, audit),
        "a run that nobody asked for": examine(replace(order, instance="j"), run, audit),
        "a second run": examine(order, replace(run, runs=["r", "q"]), audit),
        "a turn twice": examine(order, replace(run, turns=[*run.turns, run.turns[-1]]), audit),
        "a turn lost": examine(order, replace(run, turns=[run.turns[0], run.turns[2]]), audit),
        "an end twice": examine(order, replace(run, ends=["COMPLETED", "COMPLETED"]), audit),
        "another end": examine(order, replace(run, ends=["FAILED"]), audit),
        "an activity never executed": examine(order, run, nobody),
        "an activity that nobody asked for": examine(order, replace(run, turns=run.turns[:1]), audit),
    }
    assert [what for what, violations in damaged.items() if not violations] == []


async def test_what_is_left_in_the_database_is_noticed(postgres_url: str) -> None:
    store = make_store(postgres_url)
    await store.upgrade()
    await store.open()
    await store.deployment(Deployment(partitions=2))
    await store.close()
    install_journal(postgres_url)
    assert read_journal(postgres_url) == Journal()
    with psycopg.connect(plain_url(postgres_url), autocommit=True) as connection:
        connection.execute("INSERT INTO tenuto_outbox (partition, epoch, seq, body) VALUES (0, 1, 1, 'x')")
        connection.execute(
            "INSERT INTO tenuto_timers (instance, run, generation, command, attempt, partition, fire_at) "
            "VALUES ('i', 'r', 0, 1, 1, 0, now())"
        )
    left = "\n".join(left_behind(postgres_url, orchestrators=1))
    for what in ("outbox rows", "timers", "partitions without a live owner", "shared the partitions"):
        assert what in left
    assert "letters" not in left
