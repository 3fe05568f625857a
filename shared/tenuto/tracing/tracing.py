"""Making spans: of committed facts, and around what runs at present."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
    TraceState,
)
from opentelemetry.util.types import AttributeValue

from tenuto.settings import Settings
from tenuto.tracing.facts import Fact, nanoseconds
from tenuto.tracing.lineage import carrier, in_context, own_span, own_trace, read_context

if TYPE_CHECKING:
    from tenuto.tracing.derived import DerivedTracers

__all__ = ["NO_TRACING", "Tracing", "producing"]

_SCOPE: Final = "tenuto"
_VERSION: Final = version("tenuto")


class Tracing:
    """What a service traces with: an SDK's tracer provider, or nothing."""

    def __init__(self, provider: TracerProvider | None) -> None:
        """`provider` None, or of no SDK: off."""
        tracer = None if provider is None else provider.get_tracer(_SCOPE, _VERSION)
        self._derived: DerivedTracers | None = None
        if tracer is not None and hasattr(tracer, "id_generator"):
            # The SDK is there: a tracer of its has come from it. Otherwise it need not be installed.
            from tenuto.tracing.derived import DerivedTracers  # noqa: PLC0415

            self._derived = DerivedTracers.of(tracer)

    @classmethod
    def of_process(cls) -> Tracing:
        """With the process's own provider, as the application or `opentelemetry-instrument` has set it up."""
        return cls(process_provider())

    @classmethod
    def of_settings(cls, settings: Settings) -> Tracing:
        """Likewise, unless the settings say that it is off."""
        return NO_TRACING if settings.tracing == "off" else cls.of_process()

    @property
    def on(self) -> bool:
        """Whether there is anything to trace with."""
        return self._derived is not None

    def admit(
        self,
        carried: Mapping[str, str],
        *,
        run: str,
        name: str,
        attributes: Mapping[str, AttributeValue],
    ) -> dict[str, str]:
        """Let the sampler decide about a new instance that was started with these W3C headers. Returns the headers that
        are to stand in its row: where it starts from, with the decision in their flags."""
        if self._derived is None:
            return dict(carried)
        parent = read_context(carried)
        trace_id = own_trace(run, 0) if parent is None else parent.trace_id
        sampled, state = self._derived.decide(parent, trace_id, name, SpanKind.SERVER, attributes)
        return carrier(
            SpanContext(
                trace_id=trace_id,
                span_id=own_span(run, 0) if parent is None else parent.span_id,
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT),
                trace_state=TraceState() if state is None else state,
            )
        )

    def emit(self, fact: Fact) -> None:
        """Make a span of what is committed, begun and ended at once."""
        if self._derived is None:
            return
        span = self._derived.tracer(fact).start_span(
            fact.name,
            in_context(fact.parent),
            fact.kind,
            attributes=fact.attributes,
            links=[Link(context) for context in fact.links],
            start_time=nanoseconds(fact.start),
        )
        if fact.error is not None:
            span.set_status(Status(StatusCode.ERROR, fact.error))
        span.end(end_time=nanoseconds(fact.end))

    @contextmanager
    def running(
        self,
        name: str,
        carried: Mapping[str, str],
        attributes: Mapping[str, AttributeValue],
    ) -> Iterator[Span]:
        """A span around what is done here and now for whoever sent these W3C headers: it is the current one meanwhile,
        so spans of users' code come to lie in it. Only where tracing is `on`."""
        assert self._derived is not None  # noqa: S101 - the caller has looked
        with self._derived.live.start_as_current_span(
            name, in_context(read_context(carried)), SpanKind.SERVER, attributes=attributes
        ) as span:
            yield span


def process_provider() -> TracerProvider:
    """What a process traces with, unless it is told otherwise; `TenutoInstrumentor` takes its place."""
    return trace.get_tracer_provider()


NO_TRACING: Final = Tracing(None)


@contextmanager
def producing(
    what: str, name: str, attributes: Mapping[str, AttributeValue | None]
) -> Iterator[dict[str, str]]:
    """A client's span around sending something (`create_orchestration`, `orchestration_event`), by the process's own
    provider. Gives the W3C headers to send with it: of this span or, with tracing off, of the current one."""
    known = {key: value for key, value in attributes.items() if value is not None}
    tracer = process_provider().get_tracer(_SCOPE, _VERSION)
    with tracer.start_as_current_span(f"{what}||{name}", kind=SpanKind.PRODUCER, attributes=known) as span:
        context = span.get_span_context()
        yield carrier(context) if context.is_valid else {}
