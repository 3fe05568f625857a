"""Rule O1: ownership is balanced, with as little movement as possible."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tenuto.store.protocol import PartitionLease
from tenuto_orchestrator.sharing import plan


def _lease(number: int, owner: str | None, *, remaining: float = 3.0) -> PartitionLease:
    left = remaining if owner is not None else 0.0
    return PartitionLease(partition=number, owner=owner, epoch=1, remaining=left, broker_token="t")


def _settle(leases: list[PartitionLease], members: list[str]) -> tuple[list[PartitionLease], int]:
    """Let every member act in turn until nobody wants anything; the number of partitions that changed hands."""
    moved = 0
    for _ in range(10):
        quiet = True
        for member in members:
            mine = frozenset(lease.partition for lease in leases if lease.owner == member)
            todo = plan(member, members, leases, mine)
            for number in todo.release:
                leases[number] = replace(leases[number], owner=None, remaining=0.0)
            for number in todo.claim:
                leases[number] = replace(leases[number], owner=member, remaining=3.0)
                moved += 1
            quiet = quiet and not todo.release and not todo.claim
        if quiet:
            return leases, moved
    raise AssertionError(f"no agreement: {leases}")


@given(
    partitions=st.integers(1, 40),
    members=st.integers(1, 8),
    owners=st.lists(st.integers(-1, 9), min_size=40, max_size=40),
)
def test_counts_differ_by_one_at_most_wherever_it_begins(
    partitions: int, members: int, owners: list[int]
) -> None:
    names = [f"m{i}" for i in range(members)]
    leases = []
    for number in range(partitions):
        owner = owners[number]
        if owner < 0:
            leases.append(_lease(number, None))
        else:  # some belong to members that are gone; their leases have run out
            name = f"m{owner}"
            leases.append(_lease(number, name, remaining=3.0 if name in names else -1.0))
    leases, _ = _settle(leases, names)
    counts = Counter(lease.owner for lease in leases)
    shares = [counts[name] for name in names]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1


def test_a_newcomer_takes_only_its_share() -> None:
    leases = [_lease(number, "a") for number in range(16)]
    leases, moved = _settle(leases, ["a", "b"])
    assert moved == 8
    leases, moved = _settle(leases, ["a", "b", "c"])
    assert moved == 5


def test_a_live_lease_of_somebody_unknown_is_left_alone() -> None:
    leases = [_lease(0, "stranger"), _lease(1, None)]
    assert list(plan("a", ["a"], leases, frozenset()).claim) == [1]


def test_what_is_owned_but_not_in_use_is_recovered() -> None:
    leases = [_lease(0, "a"), _lease(1, "a")]
    assert list(plan("a", ["a"], leases, frozenset({1})).claim) == [0]


def test_claimers_start_at_different_places() -> None:
    leases = [_lease(number, None) for number in range(16)]
    first = plan("a", ["a", "b"], leases, frozenset()).claim
    second = plan("b", ["a", "b"], leases, frozenset()).claim
    assert set(first).isdisjoint(second)
