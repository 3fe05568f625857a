"""Each thing that can be wrong with a deployment is found, by its name and in words, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenuto.broker.protocol import QueueInfo
from tenuto.core.status import Status
from tenuto.doctor import Finding, Look, Patience, Severity, examine, healthy
from tenuto.doctor.findings import span
from tenuto.store.protocol import Backlog
from tests.unit.doctor.scene import (
    NAMES,
    ago,
    health,
    kinds,
    lease,
    look,
    member,
    queues,
    record,
    waiting,
    with_leases,
)

PATIENCE = Patience()
READ, FULL = QueueInfo(messages=9, consumers=1), QueueInfo(messages=9, consumers=0)


def found(seen: Look, **options: Any) -> list[Finding]:
    return examine(seen, PATIENCE, **options)


def test_nothing_is_found_where_all_is_well() -> None:
    assert found(look()) == []
    assert healthy(found(look(), earlier=look()))


def test_what_is_young_is_no_problem() -> None:
    young = {name: waiting(seconds=5) for name in ("pending", "timers", "inbox", "held", "outbox")}
    assert found(look(health=health(**young, unanswered=waiting(minutes=5)))) == []


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("pending", "instance-pending"),
        ("timers", "timer-overdue"),
        ("inbox", "inbox-old"),
        ("held", "inbox-held"),
    ],
)
def test_what_waits_too_long_is_found(place: str, kind: str) -> None:
    (finding,) = found(look(health=health(**{place: waiting(minutes=7)})))
    assert (finding.kind, finding.severity, finding.instances) == (kind, Severity.PROBLEM, ("one", "two"))
    assert "7 min" in finding.what
    assert finding.remedy


def test_old_outbox_rows_are_found_by_their_partitions() -> None:
    rows = Backlog(count=1, oldest=ago(hours=3), examples=("2",))
    (finding,) = found(look(health=health(outbox=rows)))
    assert finding.kind == "outbox-old"
    assert "1 outbox row is" in finding.what
    assert "3 h" in finding.what
    assert "partition 2" in finding.what
    assert finding.instances == ()


def test_activities_have_a_patience_of_their_own() -> None:
    seen = look(health=health(unanswered=waiting(minutes=11)))
    assert kinds(found(seen)) == ["activity-unanswered"]
    assert examine(seen, Patience(unanswered=timedelta(hours=1))) == []


def test_stalled_instances_are_told_with_their_reasons() -> None:
    stalled = Backlog(count=7, oldest=ago(hours=1), examples=("a",))
    seen = look(
        health=health(stalled=stalled),
        stalled=[record("a", status=Status.STALLED, reason="the code differs")],
    )
    first, rest = found(seen)
    assert "the code differs" in first.what
    assert first.instances == ("a",)
    assert "7 instances" in rest.what


def test_nobody_at_work() -> None:
    seen = replace(with_leases(*(lease(n, owner=None, remaining=0.0) for n in range(3))), members=[])
    assert kinds(found(seen)) == ["no-orchestrator"]


@pytest.mark.parametrize("changes", [{"owner": None, "remaining": 0.0}, {"remaining": -1.0}])
def test_a_partition_without_a_live_owner(changes: dict[str, Any]) -> None:
    (finding,) = found(with_leases(lease(1, **changes)))
    assert finding.kind == "partition-unowned"
    assert "partition 1 has" in finding.what


def test_leases_that_change_hands_though_nobody_came_or_went() -> None:
    later = with_leases(lease(0, epoch=4), lease(2, epoch=2))
    (finding,) = found(later, earlier=look())
    assert finding.kind == "lease-flapping"
    assert "partitions 0, 2" in finding.what


def test_leases_that_change_hands_when_somebody_comes() -> None:
    later = replace(with_leases(lease(0, epoch=2, owner="new")), members=[member(), member(owner="new")])
    assert found(later, earlier=look()) == []


def test_partitions_that_have_still_to_send_again_are_a_note() -> None:
    findings = found(with_leases(lease(2, broker_token="old")))
    assert kinds(findings) == ["broker-changed"]
    assert healthy(findings)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"marker": None}, "broker-wiped"),
        ({"turns_1": None}, "queue-missing"),
        ({"payments": None}, "queue-missing"),
        ({"turns_1": QueueInfo(messages=0, consumers=0)}, "turn-queue-unread"),
        ({"payments": FULL}, "pool-without-workers"),
        ({"start": FULL}, "door-shut"),
    ],
)
def test_what_is_wrong_with_queues(changes: dict[str, QueueInfo | None], kind: str) -> None:
    findings = found(look(queues=queues(**changes)))
    assert kinds(findings) == [kind]
    assert not healthy(findings)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"payments": QueueInfo(messages=0, consumers=0)}, "pool-idle-without-workers"),
        ({"start_dead": FULL}, "dead-letters"),
        ({"dead": FULL}, "dead-letters"),
    ],
)
def test_what_is_only_worth_knowing_of_queues(changes: dict[str, QueueInfo | None], kind: str) -> None:
    findings = found(look(queues=queues(**changes)))
    assert kinds(findings) == [kind]
    assert healthy(findings)


def test_messages_that_are_worked_on_are_no_problem() -> None:
    assert found(look(queues=queues(payments=READ, start=READ, turns_0=READ))) == []


def test_many_names_are_cut_short() -> None:
    pools = {NAMES.activities(f"p{n}"): None for n in range(8)}
    (finding,) = found(look(queues={**queues(), **pools}))
    assert "and 3 more" in finding.what


def test_a_broker_that_was_not_asked_is_not_judged() -> None:
    assert found(look(queues=None)) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0 s"), (42, "42 s"), (600, "10 min"), (7200, "2 h"), (200_000, "2 days")]
)
def test_spans_are_for_people(seconds: float, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
