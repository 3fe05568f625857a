"""Faults on real servers, by hand: `python -m tests.acceptance.faults --minutes 15 --seed 7`.

Starts a RabbitMQ and a PostgreSQL of its own (their programs must be installed) and prints the schedule, what happens,
and the report. The exit code is 1 if anything was lost, doubled or left.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import random
import secrets
import sys
import tempfile
from pathlib import Path

from tests.acceptance.faults.campaign import Campaign, Report, Surroundings
from tests.support.postgres import create_database
from tests.support.reaper import Reaper
from tests.support.servers import PrivatePostgres, PrivateRabbitMQ, new_postgres, new_rabbitmq

_say = functools.partial(print, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(100_000))
    parser.add_argument("--orchestrators", type=int, default=3)
    parser.add_argument("--window", type=int, default=40, help="instances under way at the same time")
    arguments = parser.parse_args()
    reaper = Reaper()
    try:
        report = asyncio.run(_run(arguments, reaper))
    finally:
        reaper.close()
    return 1 if report.findings.violations else 0


async def _run(arguments: argparse.Namespace, reaper: Reaper) -> Report:
    folder = Path(tempfile.mkdtemp(prefix="tenuto-faults-"))
    _say(f"seed {arguments.seed}, {arguments.minutes} minutes; logs are in {folder}")
    rabbitmq, postgres = new_rabbitmq(reaper), new_postgres(reaper)
    await asyncio.gather(asyncio.to_thread(rabbitmq.launch), asyncio.to_thread(postgres.launch))
    around = Surroundings(
        rabbitmq=PrivateRabbitMQ(url=rabbitmq.url, server=rabbitmq),
        postgres=PrivatePostgres(url=create_database(postgres.url), server=postgres),
        namespace=f"t{secrets.token_hex(5)}",
        folder=folder,
        reaper=reaper,
        show_log=lambda _: None,
    )
    opened = Campaign.open(
        around,
        seed=arguments.seed,
        orchestrators=arguments.orchestrators,
        window=arguments.window,
        say=_say,
    )
    async with opened as campaign:
        return await campaign.run(60.0 * arguments.minutes)


if __name__ == "__main__":
    sys.exit(main())
