"""Where log lines go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from tenuto import activity
from tenuto.activity import ActivityContext
from tenuto.settings import Settings
from tenuto_gateway.cli.logs import configure_logging


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in ("aiormq", "aio_pika", "alembic"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_lines_for_people_at_the_level_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="WARNING"))
    logger = logging.getLogger("tenuto.test")
    logger.info("not asked for")
    logger.warning("look at %s", "this")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("WARNING tenuto.test: look at this\n")
    assert captured.err.count("\n") == 1


def test_lines_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format="json"))
    try:
        int("broken")
    except ValueError:
        logging.getLogger("tenuto.test").exception("it\nbroke")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "tenuto.test", "it\nbroke")
    assert entry["time"].endswith("+00:00")
    assert "ValueError: invalid literal" in entry["exception"]


@pytest.mark.parametrize(("level", "lines"), [("INFO", 0), ("DEBUG", 1)])
def test_libraries_are_heard_when_debugging(
    level: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings(log_level=level))  # type: ignore[arg-type]  # the settings read it
    logging.getLogger("aiormq.connection").error("the connection is lost")
    assert capsys.readouterr().err.count("\n") == lines


def running(instance: str = "order-17") -> ActivityContext:
    now = datetime.now(UTC)
    return ActivityContext(
        instance_id=instance,
        workflow="fulfil",
        activity="charge",
        attempt=2,
        idempotency_key="key",
        started_at=now,
    )


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (line,) = capsys.readouterr().err.splitlines()
    entry: dict[str, object] = json.loads(line)
    return entry


def test_lines_of_an_activity_tell_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format="json"))
    with activity.provide(running()):
        logging.getLogger("shop.cards").info("charged %d", 3)
    entry = logged(capsys)
    assert entry["message"] == "charged 3"
    fields = {name: entry[name] for name in ("instance_id", "workflow", "activity", "attempt")}
    assert fields == {"instance_id": "order-17", "workflow": "fulfil", "activity": "charge", "attempt": 2}
    logging.getLogger("shop.cards").info("by the way")
    assert "instance_id" not in logged(capsys)


async def test_lines_of_an_activity_in_a_thread_do_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format="json"))
    with activity.provide(running()):
        await asyncio.to_thread(logging.getLogger("shop.cards").info, "charged")
    assert logged(capsys)["instance_id"] == "order-17"


def test_lines_within_a_span_tell_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format="json"))
    context = SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False)
    with trace.use_span(NonRecordingSpan(context)):
        logging.getLogger("shop").info("charged")
    entry = logged(capsys)
    assert entry["trace_id"] == "00000000000000000000000000000abc"
    assert entry["span_id"] == "0000000000000def"


def test_what_a_line_is_given_is_told_whatever_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format="json"))
    logging.getLogger("tenuto").info("given up", extra={"partition": 3, "thing": object})
    entry = logged(capsys)
    assert entry["partition"] == 3
    assert entry["thing"] == "<class 'object'>"


def test_lines_for_people_say_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO"))
    with activity.provide(running()):
        logging.getLogger("shop").info("order-17 is paid")
    line = capsys.readouterr().err
    assert "order-17 is paid workflow=fulfil activity=charge attempt=2" in line
    assert line.count("order-17") == 1


@pytest.mark.parametrize("form", ["json", "console"])
def test_passwords_are_not_told(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="INFO", log_format=form))  # type: ignore[arg-type]  # the settings read it
    logger = logging.getLogger("some.library")
    logger.info("connecting to %s", "amqp://shop:s3cret@broker/vhost")
    error = RuntimeError("postgresql+asyncpg://shop:s3cret@db/shop is away")
    logger.error("no connection", exc_info=error)
    told = capsys.readouterr().err
    assert "s3cret" not in told
    assert "amqp://shop:***@broker/vhost" in told
