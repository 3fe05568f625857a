"""Tracers of the SDK whose spans get ids that are known beforehand. Imported only where the SDK is in use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import SpanContext, SpanKind, TraceState
from opentelemetry.trace import Tracer as ApiTracer
from opentelemetry.util.types import AttributeValue

from tenuto.tracing.facts import Fact
from tenuto.tracing.lineage import in_context

__all__ = ["DerivedTracers"]


class _Given(IdGenerator):
    """The ids of the one span that is about to be started."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedTracers:
    """One provider's tracers: resource, processors, limits are the provider's, so whatever it exports to gets these
    spans like any other. Used from one thread."""

    live: Tracer
    """Its own, with random ids."""
    _sampled: Tracer
    """With given ids, and its sampler."""
    _decided: Tracer
    """With given ids, of spans that the sampler has decided about before."""
    _ids: _Given

    @classmethod
    def of(cls, tracer: ApiTracer) -> Self:
        """Those that go with one of its tracers, which stays as it is."""
        assert isinstance(tracer, Tracer)  # noqa: S101 - the caller has looked
        ids = _Given()
        sampled = copy.copy(tracer)
        sampled.id_generator = ids
        decided = copy.copy(sampled)
        decided.sampler = ALWAYS_ON
        return cls(live=tracer, _sampled=sampled, _decided=decided, _ids=ids)

    def tracer(self, fact: Fact) -> Tracer:
        """The one that makes the span of `fact`, which must be the next thing that is done with it."""
        if fact.context is None:
            return self.live
        self._ids.trace_id = fact.context.trace_id
        self._ids.span_id = fact.context.span_id
        return self._decided if fact.decided else self._sampled

    def decide(
        self,
        parent: SpanContext | None,
        trace_id: int,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
    ) -> tuple[bool, TraceState | None]:
        """Ask the sampler about a span that is made later."""
        result = self.live.sampler.should_sample(in_context(parent), trace_id, name, kind, attributes)
        return result.decision is Decision.RECORD_AND_SAMPLE, result.trace_state
