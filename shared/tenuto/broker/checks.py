"""What every broker asks of its arguments, so that what one of them takes the others take too."""

from __future__ import annotations

import re

from tenuto.errors import BrokerError

__all__ = ["check_prefetch", "check_queue_name"]

_MOST_PREFETCH = 65_535  # what AMQP has bits for
_QUEUE_NAME = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]{1,255}")  # what AMQP 0-9-1 grants and pamqp insists on


def check_prefetch(prefetch: int) -> None:
    """Raises ValueError for a prefetch that bounds nothing, or that AMQP cannot say."""
    if not 1 <= prefetch <= _MOST_PREFETCH:
        raise ValueError(f"prefetch must be between 1 and {_MOST_PREFETCH}, not {prefetch}")


def check_queue_name(name: str) -> None:
    """Raises `BrokerError` for a name that no queue can have."""
    if not _QUEUE_NAME.fullmatch(name):
        raise BrokerError(
            f"No queue can be called {name!r}: a name has 1 to 255 characters out of letters without accents, "
            "digits, spaces and -_.:@#,/+"
        )
