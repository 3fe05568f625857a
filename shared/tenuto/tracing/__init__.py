"""Tracing with OpenTelemetry: one connected trace per workflow generation, across processes and days.

The span of a generation ends long after its children, in a process that may not have existed when it began. So nothing
is kept open: a span is made of committed facts, after the commit that ended the thing, with the times that the facts
have; and what later spans must know of it beforehand, its ids, is derived (`tenuto.tracing.lineage`) from the run and
the generation. Whether an instance is traced is decided once, by the sampler, at its start, and recorded in its row.

    span                          made by        when                                     its parent
    create_orchestration||name    client         while it starts an instance              the caller's span
    orchestration||name           orchestrator   at the commit that ended the generation  whoever started it
    turn||name                    orchestrator   at the commit of the turn                the orchestration
    timer                         orchestrator   at the commit that took its firing       the orchestration
    orchestration_event||name     both           an event is sent, or was taken           its sender; the orchestration
    activity||name                worker         around each execution                    the orchestration

Names and attributes are those of the Durable Task family. Off unless the process has a tracer provider of
OpenTelemetry's SDK; `tenuto.tracing.setup` makes one of the settings.
"""

from tenuto.tracing.facts import Fact
from tenuto.tracing.lineage import carrier, own_context, parent_context, read_context, trace_id
from tenuto.tracing.tracing import NO_TRACING, Tracing, producing

__all__ = [
    "NO_TRACING",
    "Fact",
    "Tracing",
    "carrier",
    "own_context",
    "parent_context",
    "producing",
    "read_context",
    "trace_id",
]
