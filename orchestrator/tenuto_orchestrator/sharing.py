"""How partitions are shared out: evenly, with as little movement as possible. A pure function of what `beat` saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tenuto.store.protocol import PartitionLease

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    claim: Sequence[int] = ()
    """Free partitions to take, and own ones to recover."""
    release: Sequence[int] = ()


def plan(me: str, members: Sequence[str], leases: Sequence[PartitionLease], in_use: frozenset[int]) -> Plan:
    """What `me` should claim and release (rule O1: members' counts differ by one at the most).

    Every member may hold `len(leases) // len(members)` partitions, and those who hold most may hold one more, so
    many as are left over. `in_use`: the partitions that this process works with; what it owns but does not use was
    given up and wants recovering under a new epoch.
    """
    live = set(members) | {me}
    held = Counter(dict.fromkeys(live, 0))
    held.update(lease.owner for lease in leases if lease.owner in live)
    floor, left_over = divmod(len(leases), len(live))
    ranked = sorted(live, key=lambda member: (-held[member], member))
    allowance = floor + (1 if ranked.index(me) < left_over else 0)

    mine = [lease.partition for lease in leases if lease.owner == me]
    keep, release = mine[:allowance], mine[allowance:]
    recover = [partition for partition in keep if partition not in in_use]
    free = [
        lease.partition
        for lease in leases
        if (lease.owner is None or (lease.owner != me and lease.remaining <= 0))
        and lease.partition not in in_use  # it is still being let go of, or its recovery is about to find out
    ]
    # Claimers start at different places, so that they seldom want the same ones.
    start = len(free) * sorted(live).index(me) // len(live)
    wanted = (free[start:] + free[:start])[: max(0, allowance - len(mine))]
    return Plan(claim=recover + wanted, release=release)
