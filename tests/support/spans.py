"""Spans within a test: what was exported, found by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tenuto.tracing import Tracing

STARTER = SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=TraceFlags(1))
"""Whoever starts a workflow, in its own trace."""


class Recorded:
    """A tracer provider that keeps what it exports."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self.provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str, **attributes: Any) -> list[ReadableSpan]:
        """Those of this name, oldest first. `task_id=1` stands for the attribute `durabletask.task.task_id`."""
        wanted = {f"durabletask.task.{key}": value for key, value in attributes.items()}
        found = [span for span in self.spans if span.name == name]
        return [
            span
            for span in found
            if all((span.attributes or {}).get(key) == value for key, value in wanted.items())
        ]

    def one(self, name: str, **attributes: Any) -> ReadableSpan:
        found = self.named(name, **attributes)
        assert len(found) == 1, (name, attributes, [span.name for span in self.spans])
        return found[0]

    def until(self, name: str, count: int = 1) -> Callable[[], Any]:
        async def reached() -> bool:
            return len(self.named(name)) >= count

        return reached


def from_starter() -> Any:
    """Within it, the current span is `STARTER`."""
    return use_span(NonRecordingSpan(STARTER))


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    return span.context.span_id
