"""The `tenuto` command with something changed: `python -m tests.acceptance.faults.mutated NAME[,NAME…] COMMAND …`.

Rules that only real servers can test are left out here, one at a time, to show that their tests would notice.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import QueueSpec
from tenuto.broker.rabbitmq.address import Address
from tenuto.broker.rabbitmq.broker import RabbitBroker
from tenuto.errors import StoreError
from tenuto.store import postgres
from tenuto.store.commits import Commits
from tenuto.store.database import Database
from tenuto.store.protocol import PartitionWrites
from tenuto_gateway.cli import main
from tenuto_orchestrator.partition import Partition

__all__ = ["DELIVERIES", "MUTATIONS", "STOP_VARIABLE"]

STOP_VARIABLE = "FAULTS_STOP_HERE"
"""Names a file. While it is there, `stops-in-commit` and `stops-in-statement` delete it and freeze the process within its
next commit."""
DELIVERIES = 20
"""How often 4.x delivers a message where nothing else was said."""


def _stop(*, within_statement: bool) -> Callable[[], None]:
    """Not a mutant, but a place for a fault: between the fence of a commit and its end, or between two messages of a
    statement there, for which the database's session counts as active and not as idle. Commits are transactions of
    several statements then, as those that cannot be one statement always are."""

    def mutate() -> None:
        postgres._PostgresDatabase.at_once = Database.at_once  # type: ignore[assignment,method-assign]
        fence = Commits._fence

        async def fence_and_stop(
            self: Commits, connection: AsyncConnection, writes: Sequence[PartitionWrites], lease: timedelta
        ) -> dict[int, int]:
            held = await fence(self, connection, writes, lease)
            if _told_to_stop():
                if within_statement:
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    await driver.prepare("SELECT 1 /* and no more of it */")
                os.kill(os.getpid(), signal.SIGSTOP)
            return held

        Commits._fence = fence_and_stop  # type: ignore[method-assign]

    return mutate


def _told_to_stop() -> bool:
    path = Path(os.environ[STOP_VARIABLE])
    if not path.exists():
        return False
    path.unlink()
    return True


def unlimited_sessions() -> None:
    """Rule O3 left out: a session may be idle in a transaction, and wait for locks, for ever."""

    def no_limits(lease: timedelta | None) -> dict[str, str]:
        del lease
        return {}

    postgres._limits = no_limits


def spare_stopped_owners() -> None:
    """Rule O3 left out: whoever takes over does not end the session that is in its way."""

    async def spare(self: Database, lease: timedelta, error: StoreError) -> bool:
        del self, lease, error
        return False

    postgres._PostgresDatabase.end_stopped_owners = spare  # type: ignore[assignment,method-assign]


def no_heartbeat() -> None:
    """Rule O4 left out: the broker never asks whether anybody is there."""
    parse = Address.parse.__func__  # type: ignore[attr-defined]

    def parse_without(cls: type[Address], url: str, options: BrokerOptions) -> Address:
        address: Address = parse(cls, url, options)
        return replace(address, url=address.url.update_query(heartbeat="0"))

    Address.parse = classmethod(parse_without)  # type: ignore[assignment,method-assign]


def keep_channels() -> None:
    """Rule O4 left out: the channel of a partition outlives its ownership."""

    async def close(self: Partition) -> None:
        self.open = False

    Partition.close = close  # type: ignore[method-assign]


def _queue_arguments(change: Callable[[dict[str, Any]], object]) -> Callable[[], None]:
    def mutate() -> None:
        arguments = RabbitBroker._arguments

        def changed(self: RabbitBroker, queue: QueueSpec) -> dict[str, Any]:
            given = arguments(self, queue)
            change(given)
            return given

        RabbitBroker._arguments = changed  # type: ignore[method-assign]

    return mutate


def _limit_like_4x(arguments: dict[str, Any]) -> None:
    if "x-delivery-limit" in arguments:
        arguments["x-delivery-limit"] = DELIVERIES


def _no_limit(arguments: dict[str, Any]) -> None:
    arguments.pop("x-delivery-limit", None)


def _no_dead_letters(arguments: dict[str, Any]) -> None:
    for name in ("x-dead-letter-exchange", "x-dead-letter-routing-key"):
        arguments.pop(name, None)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    "stops-in-commit": _stop(within_statement=False),
    "stops-in-statement": _stop(within_statement=True),
    "unlimited-sessions": unlimited_sessions,
    "spares-stopped-owners": spare_stopped_owners,
    "no-heartbeat": no_heartbeat,
    "keeps-channels": keep_channels,
    "delivers-like-4.x": _queue_arguments(_limit_like_4x),
    "no-delivery-limit": _queue_arguments(_no_limit),
    "no-dead-letters": _queue_arguments(_no_dead_letters),
}


if __name__ == "__main__":
    for mutation in sys.argv.pop(1).split(","):
        MUTATIONS[mutation]()
    main()
