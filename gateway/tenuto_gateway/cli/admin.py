"""`tenuto db upgrade | status` and `tenuto broker status`: the servers behind the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import typer

from tenuto.broker import Broker, QueueInfo
from tenuto.errors import UsageError
from tenuto.naming import Names
from tenuto.settings import OrchestratorSettings, Settings, mask_url
from tenuto.store.protocol import Deployment, Member
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.connections import open_broker, open_store, store_of
from tenuto_gateway.cli.output import Form, facts, print_json, print_table, say
from tenuto_gateway.cli.parameters import Output

__all__ = ["add_to"]

_ALIVE: Final = timedelta(seconds=15)
"""An orchestrator that has not been seen for longer is not counted."""


def add_to(cli: typer.Typer) -> None:
    """Add the commands of this module."""
    database = typer.Typer(
        help="The database: its schema, and what is recorded of the deployment.", no_args_is_help=True
    )
    database.command("upgrade")(command(_upgrade))
    database.command("status")(command(_database_status))
    cli.add_typer(database, name="db")
    broker = typer.Typer(help="The message broker: the engine's queues.", no_args_is_help=True)
    broker.command("status")(command(_broker_status))
    cli.add_typer(broker, name="broker")


async def _upgrade(shared: Shared) -> None:
    """Create the schema, or migrate it to this release's. Orchestrators may go on running meanwhile."""
    settings = shared.settings(Settings)
    store = store_of(settings)
    try:
        await store.upgrade()
    finally:
        await store.close()
    say(f"the schema of {mask_url(settings.database_url)} is this release's")


async def _database_status(shared: Shared, *, output: Output = Form.TABLE) -> None:
    """Check the schema; show the deployment that is recorded, and the orchestrators that live."""
    settings = shared.settings(Settings)
    async with open_store(settings) as store:
        deployment = await store.deployment()
        members = await store.members(ttl=_ALIVE)
    if output is Form.JSON:
        print_json({"schema": "up to date", "deployment": deployment, "orchestrators": members})
        return
    facts(_database_facts(settings, deployment, len(members)), stderr=False)
    if members:
        rows = [_orchestrator(member) for member in members]
        print_table(("ORCHESTRATOR", "HOST", "RELEASE", "WORKFLOWS", "ACTIVITIES"), rows)


def _database_facts(settings: Settings, deployment: Deployment | None, members: int) -> dict[str, str]:
    known = {"database": mask_url(settings.database_url), "schema": "up to date"}
    if deployment is None:
        return known | {"deployment": "none yet; the first orchestrator records it"}
    return known | {
        "partitions": str(deployment.partitions),
        "layout": str(deployment.layout),
        "queue type": deployment.queue_type,
        "orchestrators": str(members),
    }


def _orchestrator(member: Member) -> tuple[str, ...]:
    return (
        member.owner,
        member.host,
        member.release,
        ", ".join(sorted(member.workflows)),
        ", ".join(sorted(member.activities)),
    )


async def _broker_status(shared: Shared, *, output: Output = Form.TABLE) -> None:
    """Show how many messages wait in each of the engine's queues, and how many consumers it has."""
    settings = shared.settings(OrchestratorSettings)
    async with open_broker(settings, "broker status") as broker:
        async with open_store(settings) as store:
            deployment = await store.deployment()
            members = await store.members(ttl=_ALIVE)
        if deployment is None:
            raise UsageError(
                "no orchestrator has ever started on this database, so there are no queues yet: run "
                "`tenuto orchestrator module:app`"
            )
        found = await _inspect(broker, _queues(settings, deployment, members))
    if output is Form.JSON:
        print_json(found)
        return
    rows = [
        (queue, "missing", "") if info is None else (queue, str(info.messages), str(info.consumers))
        for queue, info in found.items()
    ]
    print_table(("QUEUE", "MESSAGES", "CONSUMERS"), rows)


def _queues(settings: Settings, deployment: Deployment, members: Sequence[Member]) -> list[str]:
    names = Names(settings.namespace, deployment.layout)
    pools = sorted({"default", *(pool for member in members for pool in member.activities.values())})
    return [
        names.start,
        names.start_dead,
        *map(names.turns, range(deployment.partitions)),
        *map(names.activities, pools),
        names.dead,
    ]


async def _inspect(broker: Broker, queues: Sequence[str]) -> dict[str, QueueInfo | None]:
    return {queue: await broker.inspect(queue) for queue in queues}
