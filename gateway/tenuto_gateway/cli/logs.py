"""Where log lines go: standard error, as lines for people or as one JSON object per line.

The standard library's `logging`, so that what users and their libraries log goes the same way. A formatter of a few
lines over msgspec, which is here anyway, does what a library for it would do.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
from opentelemetry import trace

from tenuto import activity
from tenuto.errors import UsageError
from tenuto.settings import Settings

__all__ = ["configure_logging", "correlation"]

_LIBRARIES: Mapping[str, int] = MappingProxyType(
    {"aio_pika": logging.CRITICAL, "aiormq": logging.CRITICAL, "alembic": logging.WARNING}
)
"""The levels, unless debugging, of libraries that say too much: a broker that is away is no error of theirs, and Tenuto
tells it once in words of its own."""

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else was given as `extra`."""
_PASSWORD: Final = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")


def correlation() -> dict[str, Any]:
    """What is known of whatever logs at present: the running activity, and the span that it is in."""
    fields: dict[str, Any] = {}
    try:
        running = activity.context()
    except UsageError:
        pass
    else:
        fields["instance_id"] = running.instance_id
        fields["workflow"] = running.workflow
        fields["activity"] = running.activity
        fields["attempt"] = running.attempt
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = trace.format_trace_id(span.trace_id)
        fields["span_id"] = trace.format_span_id(span.span_id)
    return fields


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the record says besides its message: given with it, or known where it was made."""
    given = {name: value for name, value in vars(record).items() if name not in _OWN}
    return {**correlation(), **given}


def _masked(line: str) -> str:
    """Without the passwords of URLs, which libraries log when they debug."""
    return _PASSWORD.sub(r"\1:***@", line)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _masked(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = _masked(self.formatException(record.exc_info))
        return msgspec.json.encode(entry, enc_hook=repr).decode(errors="replace")


def _says(message: str, value: str) -> bool:
    """Whether the message has it already, as a word."""
    return re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", message) is not None


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line, rest, trouble = super().format(record).partition("\n")
        known = "".join(
            f" {name}={value}"
            for name, value in _fields(record).items()
            if not _says(record.message, str(value))
        )
        return _masked(f"{line}{known}{rest}{trouble}")


def configure_logging(settings: Settings) -> None:
    """Send the process's log to standard error, at the level and in the form that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(_ConsoleFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("tenuto.audit").setLevel(logging.INFO)  # whatever else is logged
    if settings.log_level != "DEBUG":
        for name, level in _LIBRARIES.items():
            logging.getLogger(name).setLevel(level)
