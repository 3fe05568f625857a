"""The small parts: acknowledging many at a time, the intake, the memory of residents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenuto.core.status import Status
from tenuto.store.protocol import Cluster, InstanceRecord
from tenuto_orchestrator.environment import DatabaseClock
from tenuto_orchestrator.partition import Acknowledger, Partition
from tenuto_orchestrator.residents import Resident, Residents
from tenuto_orchestrator.work import Intake, Item, Parcel, Resend


class _Subscription:
    def __init__(self) -> None:
        self.acked: list[tuple[int, bool]] = []

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self.acked.append((tag, multiple))

    def nack(self, tag: int, *, requeue: bool) -> None:
        raise AssertionError("nothing is given back")

    async def cancel(self) -> None: ...

    async def close(self) -> None: ...


def _partition(number: int = 0) -> Partition:
    return Partition(
        number=number, epoch=1, deadline=float("inf"), token="t", lost=lambda _partition, _reason: None
    )


def test_multiple_only_up_to_what_is_committed() -> None:  # rule C8
    subscription = _Subscription()
    acks = Acknowledger(subscription)
    for tag in (1, 2, 4):
        acks.commit(tag)
    acks.flush()
    acks.flush()
    assert subscription.acked == [(2, True)]
    acks.commit(3)
    acks.flush()
    assert subscription.acked == [(2, True), (4, True)]


def _parcel(partition: Partition, name: str, items: int = 1) -> Parcel:
    return Parcel(
        partition=partition, items=[Item(partition=partition, instance=name, work=Resend())] * items
    )


async def test_the_intake_is_first_come_first_served() -> None:
    intake, partition = Intake(), _partition()
    for name in "abc":
        intake.put(_parcel(partition, name))
    first = intake.take(2)
    intake.put_back([_parcel(partition, "again")])
    assert [p.items[0].instance for p in first] == ["a", "b"]
    assert [p.items[0].instance for p in intake.take(10)] == ["again", "c"]


async def test_a_parcel_is_taken_whole_and_the_limit_counts_items() -> None:
    intake, partition = Intake(), _partition()
    intake.put(_parcel(partition, "a", items=5))
    intake.put(_parcel(partition, "b"))
    assert len(intake.take(3)) == 1
    assert len(intake.take(3)) == 1


async def test_parcels_of_a_lost_partition_are_dropped() -> None:
    intake, kept, lost = Intake(), _partition(0), _partition(1)
    intake.put(_parcel(lost, "a"))
    intake.put(_parcel(kept, "b"))
    lost.give_up("test")
    assert [p.partition for p in intake.take(10)] == [kept]


async def test_waiting_ends_with_a_signal_or_with_time() -> None:
    intake = Intake()
    await intake.wait(0.001)
    intake.wake()
    await intake.wait(None)
    intake.put(_parcel(_partition(), "a"))
    await intake.wait(None)


def _resident(name: str, *, partition: int = 0, payload: bytes = b"1") -> Resident:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = InstanceRecord(
        id=name,
        run="r",
        partition=partition,
        workflow="w",
        version=None,
        status=Status.COMPLETED,
        generation=0,
        turn=1,
        tasks_pending=0,
        input=payload,
        created_at=now,
        updated_at=now,
    )
    return Resident(record=record, execution=None)


def test_the_least_recently_used_goes_first() -> None:
    residents = Residents(max_count=2, max_bytes=10**9)
    for name in "ab":
        residents.put(_resident(name))
    first = residents.get("a")
    assert first is not None
    residents.put(first)
    residents.put(_resident("c"))
    assert len(residents) == 3  # over the bound until the batch is over
    residents.trim()
    assert [name for name in "abc" if residents.get(name)] == ["a", "c"]


def test_memory_is_bounded_by_bytes() -> None:
    residents = Residents(max_count=100, max_bytes=10_000)
    for number in range(5):
        residents.put(_resident(str(number), payload=b"x" * 3000))
    residents.trim()
    assert len(residents) == 2


def test_a_lost_partition_takes_its_residents_along() -> None:
    residents = Residents(max_count=100, max_bytes=10**9)
    residents.put(_resident("a", partition=0))
    residents.put(_resident("b", partition=1))
    residents.drop_partition(0)
    assert residents.get("a") is None
    assert residents.get("b") is not None


def test_the_database_s_time_is_taken_at_the_middle_of_the_round_trip() -> None:  # rule T1
    here = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    clock = DatabaseClock(_Standing(here))
    there = here + timedelta(seconds=10)
    clock.correct(Cluster(now=there, members=[], partitions=[], broker_token=""), took=4.0)
    assert clock.now() == there + timedelta(seconds=2)


class _Standing:
    """A clock that stands still."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at
