"""What a client sees of the engine's queues, and how it counts instances."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.client import InstanceFilter, QueueKind
from tenuto.core.status import Status
from tenuto.errors import BrokerUnavailableError, UsageError
from tests.unit.client.engine import DeadBroker, Engine, engine


async def test_queues_tell_what_waits_and_who_takes_it(running: Engine) -> None:
    async with running.client() as client:
        queues = await client.queues()
    turns = [queue for queue in queues if queue.kind is QueueKind.TURNS]
    assert [(queue.messages, queue.consumers) for queue in turns] == 4 * [(0, 1)]
    assert [queue.pool for queue in queues if queue.kind is QueueKind.ACTIVITIES] == ["default"]
    assert next(queue for queue in queues if queue.kind is QueueKind.START).messages is None


async def test_there_are_none_before_the_first_orchestrator() -> None:
    async with engine(start=False) as bare, bare.client() as client:
        with pytest.raises(UsageError, match="No orchestrator has ever started"):
            await client.queues()


async def test_a_broker_that_is_away_cannot_be_asked(running: Engine) -> None:
    client = running.client(broker=DeadBroker())
    transport: Any = client._transport
    transport._link._owned = True
    transport._settings = transport._settings.model_copy(update={"connect_timeout": 0.01})
    async with client:
        with pytest.raises(BrokerUnavailableError, match="queues cannot be seen"):
            await client.queues()


async def test_instances_are_counted(running: Engine) -> None:
    async with running.client() as client:
        for instance in ("one", "two"):
            await client.start("w", instance_id=instance)
        await running.owner.end("one")
        found = await client.tally(InstanceFilter(workflow="w"))
    assert {(one.status, one.count) for one in found} == {(Status.COMPLETED, 1), (Status.RUNNING, 1)}
