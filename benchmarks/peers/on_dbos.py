"""DBOS: workflows and their steps run in the process that starts them; each step is a row in the database."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit, urlunsplit

import driving
import psycopg
import uvloop
from dbos import DBOS, DBOSConfig


@DBOS.step()
async def add_one(number: int) -> int:
    """The shortest step."""
    return number + 1


@DBOS.workflow()
async def chain(steps: int) -> int:
    """Steps one after the other."""
    value = 0
    for _ in range(steps):
        value = await add_one(value)
    return value


@DBOS.workflow()
async def fanout(width: int) -> int:
    """Steps side by side."""
    return sum(await asyncio.gather(*[add_one(number) for number in range(width)]))


@DBOS.workflow()
async def noop(number: int) -> int:
    """Nothing at all."""
    return number


PROGRAMS = {"chain": chain, "fanout": fanout, "noop": noop}
POOL = 20
"""Connections to the database, of which PostgreSQL's usual hundred allow several such processes."""


async def measure(load: driving.Load) -> None:
    """Warm up, and measure."""
    program = PROGRAMS[load.workload]

    async def run(argument: int) -> int:
        handle = await DBOS.start_workflow_async(program, argument)
        return await handle.get_result()

    await driving.drive(load.warm_up(), run)
    driving.report(load, await driving.drive(load, run))


def main() -> None:
    """Measure on a database that is made for it, or with `--variant sqlite` on a file."""
    load, given = driving.load_from_arguments()
    with driving.scratch() as folder:
        name = f"dbos_bench_{os.getpid()}"
        url = f"sqlite:///{folder}/dbos.sqlite"
        if given.variant != "sqlite":
            url = urlunsplit(urlsplit(given.database_url)._replace(path=f"/{name}"))
        config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "ERROR"}
        if given.variant != "sqlite":
            config["sys_db_pool_size"] = POOL
        try:
            DBOS(config=config)
            DBOS.launch()
            uvloop.run(measure(load))
            DBOS.destroy()
        finally:
            if given.variant != "sqlite":
                with psycopg.connect(given.database_url, autocommit=True) as connection:
                    connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


if __name__ == "__main__":
    main()
