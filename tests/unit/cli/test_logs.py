"""Where log lines go."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

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
