"""`tenuto.activity`: what user code sees, without a worker."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import msgspec
import pytest

from tenuto import activity
from tenuto.activity import ActivityContext
from tenuto.errors import PayloadError, UsageError

CONTEXT = ActivityContext(
    instance_id="order-17",
    workflow="fulfil",
    activity="charge",
    attempt=2,
    idempotency_key="k",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("ask", [activity.context, activity.heartbeat, activity.is_cancelled])
def test_outside_of_an_activity_there_is_no_context(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(UsageError, match="no running activity"):
        ask()


def test_a_test_can_provide_a_context() -> None:
    with activity.provide(CONTEXT) as provided:
        assert activity.context() is provided is CONTEXT
        assert not activity.is_cancelled()
    with pytest.raises(UsageError):
        activity.context()


async def test_a_thread_of_asyncio_inherits_the_context() -> None:
    with activity.provide(CONTEXT):
        assert await asyncio.to_thread(activity.context) is CONTEXT


def test_heartbeat_details_must_be_json() -> None:
    with activity.provide(CONTEXT), pytest.raises(PayloadError):
        activity.heartbeat(object())


@pytest.mark.parametrize("details", [0, "", False, []])
def test_falsy_heartbeat_details_are_details(details: object) -> None:
    context = msgspec.structs.replace if False else CONTEXT
    context.heartbeat(details)
    assert context.pulse.details is not None
    assert msgspec.json.decode(context.pulse.details) == details


def test_the_logger_tells_who_speaks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.activity")
    CONTEXT.logger.info("charged %d", 5, extra={"currency": "EUR"})
    (record,) = caplog.records
    assert record.getMessage() == "[order-17 charge#2] charged 5"
    assert record.pathname == __file__
    assert vars(record)["instance_id"] == "order-17"
    assert vars(record)["activity"] == "charge"
    assert vars(record)["attempt"] == 2
    assert vars(record)["currency"] == "EUR"


def test_a_percent_sign_in_an_instance_id_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    odd = ActivityContext(
        instance_id="100%d",
        workflow="fulfil",
        activity="charge",
        idempotency_key="k",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    odd.logger.warning("charged %s", "it")
    assert caplog.records[0].getMessage() == "[100%d charge#1] charged it"
