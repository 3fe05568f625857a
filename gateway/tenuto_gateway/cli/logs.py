"""Where log lines go: standard error, as lines for people or as one JSON object per line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from tenuto.settings import Settings

__all__ = ["configure_logging"]

_LIBRARIES: Mapping[str, int] = MappingProxyType(
    {"aio_pika": logging.CRITICAL, "aiormq": logging.CRITICAL, "alembic": logging.WARNING}
)
"""The levels, unless debugging, of libraries that say too much: a broker that is away is no error of theirs, and Tenuto
tells it once in words of its own."""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def configure_logging(settings: Settings) -> None:
    """Send the process's log to standard error, at the level and in the form that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("tenuto.audit").setLevel(logging.INFO)  # whatever else is logged
    if settings.log_level != "DEBUG":
        for name, level in _LIBRARIES.items():
            logging.getLogger(name).setLevel(level)
