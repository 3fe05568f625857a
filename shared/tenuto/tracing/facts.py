"""Facts: what has happened and is committed, ready to become a span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

__all__ = ["Fact", "nanoseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One span to be. Times are aware."""

    name: str
    start: datetime
    end: datetime
    parent: SpanContext | None
    """None: it is the root of its trace."""
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    kind: SpanKind = SpanKind.INTERNAL
    context: SpanContext | None = None
    """Its own, where others have been told of it beforehand; None: its id is random."""
    decided: bool = False
    """The sampler has decided about it already."""
    links: Sequence[SpanContext] = ()
    error: str | None = None
    """How it failed, if it did."""


def nanoseconds(at: datetime) -> int:
    """Since the epoch."""
    return (at - _EPOCH) // _MICROSECOND * 1000
