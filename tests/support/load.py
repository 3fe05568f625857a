"""A client process under load: `python -m tests.support.load COUNT STEPS [WINDOW]`.

Starts COUNT chains of STEPS activities, at most WINDOW at a time, and prints each result as a line of JSON
(`{"instance": …, "seed": …, "result": …}`) as soon as it has it. It holds out while a server is away, as any good client
does: it asks again for what was refused for want of a server, and a start asked for twice is one start.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tenuto import Client
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.errors import BrokerUnavailableError, StoreUnavailableError
from tests.support.sample_app import Chain, chain

_SAME = ReusePolicy(action=ReuseAction.IGNORE, statuses=frozenset(Status))
_PATIENCE = 120.0


async def _run(client: Client, number: int, steps: int) -> None:
    instance, seed = f"load-{number}", f"seed-{number}"
    attempts = AsyncRetrying(
        retry=retry_if_exception_type((StoreUnavailableError, BrokerUnavailableError, TimeoutError)),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        stop=stop_after_delay(_PATIENCE),
        reraise=True,
    )

    async def ask() -> str:
        handle = await client.start(chain, Chain(seed=seed, steps=steps), instance_id=instance, reuse=_SAME)
        return await handle.result()

    result = await attempts(ask)
    sys.stdout.write(json.dumps({"instance": instance, "seed": seed, "result": result}) + "\n")
    sys.stdout.flush()


async def _main(count: int, steps: int, window: int) -> None:
    gate = asyncio.Semaphore(window)

    async def one(client: Client, number: int) -> None:
        async with gate:
            await _run(client, number, steps)

    async with Client() as client, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(client, number))


if __name__ == "__main__":
    asyncio.run(_main(*(int(argument) for argument in [*sys.argv[1:], "100"][:3])))
