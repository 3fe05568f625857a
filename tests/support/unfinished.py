"""Leave live instances of every kind in a database file, and die: `python -m tests.support.unfinished DATABASE_URL`.

Run with the code of an earlier commit, so it uses nothing but what was there from the first: the engine of
`tests/support/engine.py` and the sample app.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

import tenuto
from tenuto.broker.memory import MemoryServer
from tenuto.core.status import Status
from tests.support import sample_app as sample
from tests.support.engine import Place, engine_at, until

__all__ = ["EXPECTED", "ORDERS"]

ORDERS: dict[str, tuple[Any, Any]] = {
    "chain": (sample.chain, sample.Chain(seed="c", steps=4)),
    "fan_out": (sample.fan_out, 5),
    "naps": (sample.naps, sample.Naps(count=1, seconds=3.0)),
    "family": (sample.family, sample.Family(seed="f", children=2, steps=2)),
    "generations": (sample.generations, sample.Generations(left=2, value="g")),
    "stubborn": (sample.stubborn, 3),
    "gather": (sample.gather, 3),
    "suspended": (sample.gather, 1),
}
EXPECTED: dict[str, Any] = {
    "chain": sample.expected_chain(ORDERS["chain"][1]),
    "fan_out": sample.expected_fan_out(5),
    "naps": 0,
    "family": sample.expected_family(ORDERS["family"][1]),
    "generations": sample.expected_generations(ORDERS["generations"][1]),
    "stubborn": 3,
    "gather": [0, 1, 2],
    "suspended": [0],
}
_ENDS = {"fan_out", "generations"}
"""They need the even pool only, which is served."""


async def _leave(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        place = Place(
            database_url=database_url, broker_url="memory://", namespace="old", server=MemoryServer()
        )
        engine = await engine_at(place, sample.app, stack)
        await engine.orchestrator()
        await engine.worker(sample.EVEN_POOL)
        for name, (workflow, order) in ORDERS.items():
            await engine.client.start(workflow, order, instance_id=name)
        await engine.client.get("gather").raise_event("item", 0)
        await engine.client.get("suspended").suspend("for the test")
        await engine.client.get("suspended").raise_event("item", 0)

        async def half_done() -> bool:
            records = await engine.store.instances(list(ORDERS))
            over = {name for name, record in records.items() if record.status is Status.COMPLETED}
            return over >= _ENDS and records["chain"].tasks_pending == 1 and records["chain"].turn > 1

        await until(half_done)
        sys.stdout.write(f"{tenuto.__file__}\n")
        sys.stdout.flush()
        os._exit(0)  # as kill -9 would


if __name__ == "__main__":
    asyncio.run(_leave(sys.argv[1]))
