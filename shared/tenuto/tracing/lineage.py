"""Which span a generation of an instance is, and under which: functions of what is in its row.

A row's `trace` is a W3C trace context: that of whoever started the instance or, where nobody brought one, that of the
instance's own first span, so that its trace is known from the start. The first generation belongs to that trace; each
later one has a trace of its own, so that a workflow which continues as new for years does not make one trace without
end. All share the sampler's decision, which stands in the context's flags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = [
    "attempt_span",
    "carrier",
    "in_context",
    "own_context",
    "own_span",
    "own_trace",
    "parent_context",
    "read_context",
    "trace_id",
]

_W3C = TraceContextTextMapPropagator()
_UNSAMPLED = "-00"
_TRACE_BYTES = 16
_SPAN_BYTES = 8


def read_context(trace: Mapping[str, str]) -> SpanContext | None:
    """The W3C context in these headers; None: there is none, or it is malformed."""
    if "traceparent" not in trace:
        return None
    context = get_current_span(_W3C.extract(trace, Context())).get_span_context()
    return context if context.is_valid else None


def carrier(context: SpanContext) -> dict[str, str]:
    """The context as W3C headers."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, in_context(context))
    return headers


def in_context(context: SpanContext | None) -> Context:
    """A context in which this span, of another process or of another time, is the current one."""
    return Context() if context is None else set_span_in_context(NonRecordingSpan(context), Context())


def own_trace(run: str, generation: int) -> int:
    """The id of the trace that a generation begins."""
    return _derive(_TRACE_BYTES, "trace", run, generation)


def own_span(run: str, generation: int) -> int:
    """The id of a generation's `orchestration` span."""
    return _derive(_SPAN_BYTES, "orchestration", run, generation)


def attempt_span(run: str, generation: int, command: int, attempt: int) -> int:
    """The id of the span of an activity's attempt that its owner has ended."""
    return _derive(_SPAN_BYTES, "activity", run, generation, command, attempt)


def own_context(trace: Mapping[str, str], run: str, generation: int) -> SpanContext | None:
    """The context of a generation's `orchestration` span, the parent of all that it does; None: it is not sampled."""
    if trace.get("traceparent", _UNSAMPLED).endswith(
        _UNSAMPLED
    ):  # as `Tracing.admit` writes it: nothing to parse
        return None
    start = read_context(trace)
    if start is None or not start.trace_flags.sampled:
        return None
    first = generation == 0
    return SpanContext(
        trace_id=start.trace_id if first else own_trace(run, generation),
        span_id=own_span(run, generation),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=start.trace_state if first else TraceState(),
    )


def parent_context(trace: Mapping[str, str], run: str, generation: int) -> SpanContext | None:
    """The parent of that span; None: it is the root of its trace."""
    start = read_context(trace)
    if start is None or generation > 0 or start.span_id == own_span(run, 0):
        return None
    return start


def trace_id(trace: Mapping[str, str], run: str, generation: int) -> str | None:
    """The id of the trace that a generation belongs to, in hexadecimal, if it has any."""
    start = read_context(trace)
    if start is None:
        return None
    own = start.trace_flags.sampled and generation > 0
    return format_trace_id(own_trace(run, generation) if own else start.trace_id)


def _derive(size: int, *of: str | int) -> int:
    """An id that is no other one's, and not 0, for all practical purposes."""
    return int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=size).digest()) or 1
