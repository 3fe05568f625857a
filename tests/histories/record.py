"""Record one history of each kind of workflow, and a database: `python -m tests.histories.record RELEASE`.

They go to `tests/histories/RELEASE/`, and every later release must replay them and go on from it, for ever: what is there
is never changed, and a release records its own, beside those of its predecessors, before it is out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from tenuto.broker.memory import MemoryServer
from tenuto.client import WorkflowHandle
from tenuto.core.status import Status
from tests.support import sample_app as sample
from tests.support.engine import Engine, Place, engine_at

__all__ = ["DATABASE", "FOLDER", "code_of", "leave", "record"]

FOLDER = Path(__file__).parent
DATABASE = "live.sql"
"""A release's database with live instances of every kind (`tests/support/unfinished.py`), as SQLite dumps it."""
_ROOT = FOLDER.parents[1]


async def record(folder: Path) -> None:
    """Run each kind of workflow, and write down what is in the database of each at its end, or in its middle."""
    with tempfile.TemporaryDirectory() as scratch:
        async with AsyncExitStack() as stack:
            url = f"sqlite+aiosqlite:///{scratch}/record.db"
            place = Place(database_url=url, broker_url="memory://", namespace="record", server=MemoryServer())
            engine = await engine_at(place, sample.app, stack)
            await engine.orchestrator()
            for pool in (sample.ODD_POOL, sample.EVEN_POOL):
                await engine.worker(pool)
            for name in await _run(engine):
                await _write(engine, name, folder / f"{name}.json")


async def _run(engine: Engine) -> list[str]:
    """The ids of instances of every kind, over or not."""
    client = engine.client
    orders: dict[str, tuple[Any, Any]] = {
        "chain": (sample.chain, sample.Chain(seed="c", steps=4)),
        "fan_out": (sample.fan_out, 5),
        "naps": (sample.naps, sample.Naps(count=2, seconds=0.05)),
        "family": (sample.family, sample.Family(seed="f", children=2, steps=2)),
        "generations": (sample.generations, sample.Generations(left=2, value="g")),
        "stubborn": (sample.stubborn, 3),
    }
    handles: list[WorkflowHandle[Any]] = [
        await client.start(workflow, order, instance_id=name) for name, (workflow, order) in orders.items()
    ]
    handles.append(await client.start(sample.gather, 2, instance_id="gather"))
    handles.append(
        await client.start(sample.relay, sample.Relay(receiver="gather", count=2), instance_id="relay")
    )
    for handle in handles:
        await handle.result(timeout=60)
    waiting = await client.start(sample.gather, 3, instance_id="gather_waiting")
    await waiting.raise_event("item", 0)
    suspended = await client.start(sample.gather, 3, instance_id="gather_suspended")
    await suspended.suspend("for the record")
    await suspended.raise_event("item", 0)
    terminated = await client.start(sample.gather, 3, instance_id="gather_terminated")
    await terminated.terminate(reason="for the record")
    sleeping = await client.start(sample.naps, sample.Naps(count=1, seconds=1e6), instance_id="naps_sleeping")
    await engine.status("naps_sleeping", Status.RUNNING)
    others = [waiting, suspended, terminated, sleeping]
    return [handle.instance_id for handle in (*handles, *others)]


async def _write(engine: Engine, instance: str, file: Path) -> None:
    instance_record = await engine.record(instance)
    rows = await engine.store.history(instance)
    document = {
        "instance": instance,
        "run": instance_record.run,
        "workflow": instance_record.workflow,
        "status": instance_record.status.value,
        "output": None if instance_record.output is None else instance_record.output.decode(),
        "rows": [row.decode() for row in rows],
    }
    await asyncio.to_thread(file.write_text, json.dumps(document, indent=1) + "\n")


def code_of(tree: Path) -> str:
    """The `PYTHONPATH` that puts a tree's code before what is installed."""
    return os.pathsep.join(str(tree / root) for root in ("shared", "orchestrator", "worker", "gateway"))


async def leave(database_url: str, *, code: Path = _ROOT) -> str:
    """Have the code of a tree leave live instances of every kind in a database. Returns the output, which names the code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.unfinished", database_url),
        cwd=code,
        env={**os.environ, "PYTHONPATH": code_of(code)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    if process.returncode:
        raise RuntimeError(output.decode())
    return output.decode()


async def _record_database(file: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "live.db"
        await leave(f"sqlite+aiosqlite:///{database}")
        with closing(sqlite3.connect(database)) as connection:
            await asyncio.to_thread(file.write_text, "\n".join([*connection.iterdump(), ""]))


async def _main(release: str) -> None:
    folder = FOLDER / release
    folder.mkdir()  # what is recorded is recorded
    await record(folder)
    await _record_database(folder / DATABASE)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
