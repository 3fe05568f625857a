"""When a schedule fires: a function of its plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto.errors import UsageError
from tenuto.schedules import Plan
from tests.unit.core.bench import raw

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def plan(**given: Any) -> Plan:
    return Plan(workflow="job", input=raw(None), **given)


def times(plan: Plan, after: datetime, count: int, *, anchor: datetime = NEW_YEAR) -> list[str]:
    found = []
    for _ in range(count):
        moment = plan.next(after, anchor=anchor)
        assert moment is not None
        assert moment > after
        assert moment.tzinfo is UTC
        found.append(f"{moment:%d %H:%M}")
        after = moment
    return found


@pytest.mark.semantics("cron expression")
@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * *", ["01 03:00", "02 03:00"]),
        ("*/20 12-13 * * *", ["01 12:00", "01 12:20"]),
        ("0 0 * * mon", ["05 00:00", "12 00:00"]),
        ("@daily", ["02 00:00", "03 00:00"]),
        ("@hourly", ["01 01:00", "01 02:00"]),
        ("@weekly", ["04 00:00", "11 00:00"]),
        ("@monthly", ["01 00:00", "01 00:00"]),
        ("@yearly", ["01 00:00", "01 00:00"]),
    ],
)
def test_cron_expressions_and_their_nicknames(cron: str, expected: list[str]) -> None:
    assert times(plan(cron=cron), NEW_YEAR, 2) == expected


@pytest.mark.semantics("cron expression")
def test_a_cron_expression_is_read_in_its_time_zone() -> None:
    assert times(plan(cron="0 3 * * *", time_zone="America/New_York"), NEW_YEAR, 1) == ["01 08:00"]


@pytest.mark.semantics("daylight-saving changes")
@pytest.mark.parametrize(
    ("what", "cron", "after", "expected"),
    [
        ("the hour that is left out", "30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), ["29 01:00", "30 00:30"]),
        ("the hour that comes twice", "30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), ["25 00:30", "26 01:30"]),
        ("every half hour", "*/30 * * * *", datetime(2026, 10, 24, 23, 45, tzinfo=UTC), ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_daylight_saving_changes_neither_lose_nor_double_a_firing(
    what: str, cron: str, after: datetime, expected: list[str]
) -> None:
    berlin = plan(cron=cron, time_zone="Europe/Berlin")
    assert times(berlin, after, len(expected)) == expected


@pytest.mark.semantics("cron expression")
def test_intervals_are_counted_from_the_creation_and_know_no_time_zone() -> None:
    every = plan(every=1800.0)
    anchor = NEW_YEAR + timedelta(minutes=7)
    assert times(every, anchor, 3, anchor=anchor) == ["01 00:37", "01 01:07", "01 01:37"]
    assert times(every, anchor + timedelta(minutes=45), 1, anchor=anchor) == ["01 01:07"]


@pytest.mark.parametrize(
    "given",
    [{"every": 600.0}, {"cron": "*/10 * * * *"}, {"cron": "*/10 * * * *", "time_zone": "Asia/Kathmandu"}],
)
@pytest.mark.parametrize("seconds", [0, 0.5, 1, 59, 3599, 3600, 3600.25, 7000])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_the_latest_times_are_those_that_next_gives(
    given: dict[str, Any], seconds: float, limit: int
) -> None:
    it, until, expected, after = plan(**given), NEW_YEAR + timedelta(seconds=seconds), [], NEW_YEAR
    while (moment := it.next(after, anchor=NEW_YEAR)) is not None and moment <= until:
        expected.append(moment)
        after = moment
    assert it.latest(after=NEW_YEAR, until=until, limit=limit, anchor=NEW_YEAR) == expected[-limit:]


def test_the_latest_times_of_a_long_outage_are_found_at_once() -> None:
    """It would be years of seconds to go through them."""
    later = NEW_YEAR + timedelta(days=3650)
    assert len(plan(every=0.1).latest(after=NEW_YEAR, until=later, limit=2, anchor=NEW_YEAR)) == 2
    assert len(plan(cron="* * * * *").latest(after=NEW_YEAR, until=later, limit=2, anchor=NEW_YEAR)) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either a cron expression or an interval"),
        ({"cron": "@daily", "every": 60.0}, "either a cron expression or an interval"),
        ({"cron": "60 * * * *"}, "'60 \\* \\* \\* \\*' is no cron expression"),
        ({"cron": "@never"}, "@hourly"),
        ({"cron": "0 0 30 2 *"}, "no cron expression"),  # it would never come
        ({"every": 0.0}, "0.1 s at the least"),
        ({"every": float("nan")}, "0.1 s at the least"),
        ({"every": 60.0, "jitter": -1.0}, "must not be negative"),
        ({"every": 60.0, "catch_up": -1}, "must not be negative"),
        ({"cron": "@daily", "time_zone": "Europe/Atlantis"}, "no time zone 'Europe/Atlantis'"),
        ({"cron": "@daily", "time_zone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(**given).check()
