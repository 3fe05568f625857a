"""What one instance waits for, and whether that will come."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.broker.protocol import QueueInfo
from tenuto.core import ids
from tenuto.core.events import (
    ActivityFailed,
    ActivityScheduled,
    ChildScheduled,
    Failure,
    TimerCreated,
    encode_events,
)
from tenuto.core.status import Status
from tenuto.doctor import Examination, InstanceLook, Patience, examine_instance, healthy
from tests.unit.doctor.scene import NOW, NULL, ago, kinds, lease, look, look_at, queues, record, with_leases

PATIENCE = Patience()
CHARGE = ActivityScheduled(id=0, name="charge", input=NULL, pool="payments")
CHILD = ChildScheduled(id=0, workflow="fulfil", instance="kid", input=NULL)
KID_RUN = ids.child_run("run", 0, 0, 1)
BUSY = QueueInfo(messages=9, consumers=2)


def examined(seen: InstanceLook) -> Examination:
    return examine_instance(seen, PATIENCE)


def test_a_young_activity_is_waited_for() -> None:
    done = examined(look_at(CHARGE, at=ago(minutes=1)))
    (wait,) = done.waits
    assert (wait.kind, wait.subject, wait.since) == ("activity", "charge (attempt 1)", ago(minutes=1))
    assert "'payments' has 1 workers" in wait.says
    assert healthy(done.findings)


@pytest.mark.parametrize(
    ("pool", "kind", "words"),
    [
        (QueueInfo(messages=0, consumers=0), "pool-without-workers", "no worker"),
        (None, "queue-missing", "missing"),
        (BUSY, "activity-unanswered", "9 messages waiting"),
        (QueueInfo(messages=0, consumers=2), "activity-unanswered", "a worker has it"),
    ],
)
def test_an_activity_that_stays_out_is_told_with_its_pool(
    pool: QueueInfo | None, kind: str, words: str
) -> None:
    done = examined(look_at(CHARGE, deployment=look(queues=queues(payments=pool))))
    (finding,) = done.findings
    assert finding.kind == kind
    assert words in finding.what
    assert "60 min" in finding.what
    assert finding.remedy


def test_without_the_broker_an_activity_is_judged_by_its_age() -> None:
    blind = look(queues=None)
    assert kinds(examined(look_at(CHARGE, deployment=blind)).findings) == ["activity-unanswered"]
    assert examined(look_at(CHARGE, at=ago(minutes=1), deployment=blind)).findings == []


def test_a_retry_to_come_is_a_wait_for_a_time() -> None:
    failure = Failure(type="Oops", message="")
    to_come = ActivityFailed(command=0, failure=failure, retry_at=NOW.replace(hour=13))
    (wait,) = examined(look_at(CHARGE, to_come)).waits
    assert (wait.subject, wait.says) == ("attempt 2 of charge", "due in 60 min")
    late = ActivityFailed(command=0, failure=failure, retry_at=ago(minutes=5))
    assert kinds(examined(look_at(CHARGE, late)).findings) == ["timer-overdue"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(Status.RUNNING, ["timer-overdue"]), (Status.SUSPENDED, ["instance-suspended"])],
)
def test_an_overdue_timer(status: Status, expected: list[str]) -> None:
    timer = TimerCreated(id=0, fire_at=ago(minutes=5), event="approved")
    done = examined(look_at(timer, status=status))
    assert kinds(done.findings) == expected
    assert "'approved'" in done.waits[0].subject


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ([record("kid", run=KID_RUN)], []),
        ([], ["child-unheard"]),
        ([record("kid", run="another")], ["child-unheard"]),
        ([record("kid", run=KID_RUN, status=Status.COMPLETED, ended_at=ago(minutes=5))], ["child-unheard"]),
        ([record("kid", run=KID_RUN, status=Status.COMPLETED, ended_at=ago(seconds=5))], []),
        ([record("kid", run=KID_RUN, status=Status.STALLED)], ["instance-stalled"]),
    ],
)
def test_a_child(child: list[Any], expected: list[str]) -> None:
    assert kinds(examined(look_at(CHILD, children=child)).findings) == expected


def test_one_that_waits_for_nothing_waits_for_an_event() -> None:
    done = examined(look_at())
    assert kinds(done.findings) == ["waits-for-event"]
    assert healthy(done.findings)


@pytest.mark.parametrize(
    "rows", [[], [b"!"], [b"[]"], [b'[{"type":"New"}]'], [encode_events([CHARGE])]], ids=str
)
def test_a_history_that_cannot_be_read(rows: list[bytes]) -> None:
    assert kinds(examined(look_at(rows=rows)).findings) == ["history-unreadable"]


def test_one_whose_first_turn_does_not_come() -> None:
    assert kinds(examined(look_at(status=Status.PENDING)).findings) == ["instance-pending"]
    young = look_at(status=Status.PENDING, created_at=ago(seconds=1))
    assert examined(young).findings == []


@pytest.mark.parametrize(
    "changes", [{"workflow": "unheard of"}, {"workflow": "old", "version": "v0"}], ids=["name", "version"]
)
def test_one_whose_workflow_nobody_serves(changes: dict[str, Any]) -> None:
    findings = examined(look_at(CHARGE, at=ago(minutes=1), **changes)).findings
    assert kinds(findings) == ["workflow-unserved"]


def test_one_whose_version_is_served() -> None:
    assert examined(look_at(CHARGE, at=ago(minutes=1), workflow="old", version="v1")).findings == []


def test_one_whose_partition_nobody_owns() -> None:
    deployment = with_leases(lease(0, owner=None, remaining=0.0))
    findings = examined(look_at(CHARGE, at=ago(minutes=1), deployment=deployment)).findings
    assert kinds(findings) == ["partition-unowned"]


def test_one_without_any_orchestrator() -> None:
    findings = examined(look_at(CHARGE, at=ago(minutes=1), deployment=look(members=[]))).findings
    assert kinds(findings) == ["no-orchestrator"]


def test_one_that_is_stalled_is_told_with_the_reason() -> None:
    findings = examined(
        look_at(CHARGE, at=ago(minutes=1), status=Status.STALLED, reason="code differs")
    ).findings
    assert kinds(findings) == ["instance-stalled"]
    assert "code differs" in findings[0].what


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TERMINATED])
def test_one_that_is_over_waits_for_nothing(status: Status) -> None:
    done = examined(look_at(CHARGE, status=status))
    assert (kinds(done.findings), done.waits) == (["instance-over"], [])
    assert healthy(done.findings)
