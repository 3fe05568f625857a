"""What of a wide fan-out is held back, and when it follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tenuto.core.status import Status
from tenuto.messages import ActivityTask
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.change import Outgoings
from tenuto_orchestrator.fan_out import FanOuts, PoolTask, by_entry
from tenuto_orchestrator.outbox import Entry
from tenuto_orchestrator.partition import Partition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = InstanceRecord(
    id="wide",
    run="r",
    partition=0,
    workflow="w",
    version=None,
    status=Status.RUNNING,
    generation=0,
    turn=1,
    tasks_pending=10,
    input=b"null",
    created_at=NOW,
    updated_at=NOW,
)


def task(command: int, instance: str = "wide", run: str = "r") -> PoolTask:
    return "default", ActivityTask(
        instance=instance,
        run=run,
        generation=0,
        command=command,
        attempt=1,
        name="work",
        input=msgspec.Raw(b"1"),
        workflow="w",
        key="k",
        reply_to="q",
    )


@pytest.fixture
async def partition() -> Partition:
    return Partition(number=0, epoch=1, deadline=0.0, token="t", lost=lambda *_: None)


def entry(partition: Partition, *tasks: PoolTask, seq: int = 1) -> Entry:
    return Entry(partition=partition, epoch=1, seq=seq, outgoings=Outgoings(tasks=list(tasks)))


def commands(tasks: Any) -> list[int]:
    return [each[1].command for each in tasks]


def wide(partition: Partition, fan_outs: FanOuts, count: int = 10) -> Entry:
    one = entry(partition, *(task(command) for command in range(count)))
    ready, superseded = fan_outs.admit(one)
    assert commands(ready) == [0, 1, 2]
    assert superseded == []
    return one


async def test_only_a_window_goes_at_once_and_others_are_not_kept_waiting(partition: Partition) -> None:
    fan_outs = FanOuts(3)
    tasks = [task(command) for command in range(10)] + [task(command, "small") for command in range(3)]
    ready, _ = fan_outs.admit(entry(partition, *tasks))
    assert [(each.instance, each.command) for _, each in ready] == [
        *(("wide", command) for command in range(3)),
        *(("small", command) for command in range(3)),
    ]
    assert partition.held_back == {"wide": 3}


async def test_the_rest_follows_as_answers_come_and_in_order(partition: Partition) -> None:
    fan_outs = FanOuts(3)
    one = wide(partition, fan_outs)
    assert fan_outs.follow("wide", RECORD) == ([], [])
    sent = []
    for pending in range(9, 2, -1):
        released, unwanted = fan_outs.follow("wide", replace(RECORD, tasks_pending=pending))
        assert unwanted == []
        assert list(by_entry(released)) == [one]
        sent += commands(each for _, each in released)
    assert sent == list(range(3, 10))
    assert partition.held_back == {}
    assert fan_outs.follow("wide", RECORD) == ([], [])


async def test_what_was_sent_before_goes_again_at_once(partition: Partition) -> None:
    """A retry, or a task that was lost."""
    fan_outs = FanOuts(3)
    wide(partition, fan_outs)
    ready, _ = fan_outs.admit(entry(partition, task(1), task(12), seq=2))
    assert commands(ready) == [1]
    released, _ = fan_outs.follow("wide", replace(RECORD, tasks_pending=0))
    assert commands(each for _, each in released) == [3, 4, 5, 6, 7, 8, 9, 12]


async def test_a_task_that_is_sent_again_to_a_new_broker_is_held_back_once(partition: Partition) -> None:
    """Rule B1."""
    fan_outs = FanOuts(3)
    first = wide(partition, fan_outs)
    second = entry(partition, *(task(command) for command in range(10)), seq=2)
    ready, superseded = fan_outs.admit(second)
    assert commands(ready) == [0, 1, 2]
    assert superseded == [first] * 7
    released, _ = fan_outs.follow("wide", replace(RECORD, tasks_pending=0))
    assert commands(each for _, each in released) == list(range(3, 10))
    assert list(by_entry(released)) == [second]


@pytest.mark.parametrize(
    "record",
    [
        None,
        replace(RECORD, status=Status.TERMINATED, tasks_pending=0),
        replace(RECORD, generation=1),
        replace(RECORD, run="another"),
    ],
    ids=["purged", "terminated", "continued as new", "replaced"],
)
async def test_what_nobody_wants_any_more_is_never_sent(
    partition: Partition, record: InstanceRecord | None
) -> None:
    fan_outs = FanOuts(3)
    one = wide(partition, fan_outs)
    assert fan_outs.follow("wide", record) == ([], [one] * 7)
    assert partition.held_back == {}


async def test_a_new_run_does_not_wait_behind_an_old_one(partition: Partition) -> None:
    fan_outs = FanOuts(3)
    old = wide(partition, fan_outs)
    ready, superseded = fan_outs.admit(entry(partition, *(task(c, run="new") for c in range(5)), seq=2))
    assert commands(ready) == [0, 1, 2]
    assert superseded == [old] * 7
    assert partition.held_back == {"wide": 3}


async def test_a_partition_that_was_lost_holds_nothing_back(partition: Partition) -> None:
    fan_outs = FanOuts(3)
    wide(partition, fan_outs)
    partition.open = False
    again = Partition(number=0, epoch=2, deadline=0.0, token="t", lost=lambda *_: None)
    ready, _ = fan_outs.admit(entry(again, *(task(command) for command in range(2, 10))))
    assert commands(ready) == [2, 3, 4]
    assert again.held_back == {"wide": 5}
    again.open = False
    fan_outs.admit(entry(partition, task(0, "other")))
    assert fan_outs.admit(entry(partition, *(task(c, "other") for c in range(3))))[1] == []
    assert not fan_outs._held, "nothing is kept for partitions that are somebody else's"
