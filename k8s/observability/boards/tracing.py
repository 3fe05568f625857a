"""Traces in Jaeger: searched by instance, workflow and status, beside the numbers that lead to them.

Jaeger's data source searches and shows traces but does no arithmetic over spans; and of a sampled trace it could not be
exact. So rates of errors and latencies by span come from the engine, which counts exactly what it makes spans of; their
exemplars lead to traces.
"""

from __future__ import annotations

from k8s.observability.boards.model import (
    Json,
    dashboard,
    found_traces,
    graph,
    label_variable,
    quantiles,
    query,
    row,
    source_variable,
)

WORKFLOW = "durabletask.task.name"
INSTANCE = "durabletask.task.instance_id"
STATUS = "durabletask.runtime_status"

STATUSES = {
    "any": "durabletask.type=orchestration",
    **{each: f"{STATUS}={each}" for each in ("COMPLETED", "FAILED", "TERMINATED", "CONTINUED_AS_NEW")},
}


def variables() -> list[Json]:
    chosen = {"text": "any", "value": STATUSES["any"]}
    return [
        source_variable("jaeger", "Jaeger"),
        {"type": "textbox", "name": "service", "label": "Service", "query": "tenuto-orchestrator"},
        {"type": "textbox", "name": "instance", "label": "Instance", "query": ""},
        label_variable("workflow", "tenuto_workflow_executions_total", several=False),
        {
            "type": "custom",
            "name": "status",
            "label": "Status",
            "query": ", ".join(f"{name} : {tags}" for name, tags in STATUSES.items()),
            "options": [{"text": name, "value": tags} for name, tags in STATUSES.items()],
            "current": chosen,
        },
    ]


SEARCHES = [
    found_traces("Traces of the instance", f'{INSTANCE}="$instance"', about="Of its every generation."),
    found_traces("Traces of the workflow, by status", f'{WORKFLOW}="$workflow" $status', width=14),
    found_traces(
        "How long they took, µs",
        f'{WORKFLOW}="$workflow" $status',
        grouped=True,
        width=10,
        about="Of the traces that are shown beside it.",
    ),
    found_traces("Traces with errors", "error=true"),
]


def _failing(metric: str, span: str, name: str) -> Json:
    failed = f'sum by ({name}) (rate({metric}{{status!="completed"}}[$__rate_interval]))'
    return query(
        f"({failed} or sum by ({name}) (rate({metric}[$__rate_interval])) * 0)"
        f" / sum by ({name}) (rate({metric}[$__rate_interval]))",
        f"{span} {{{{{name}}}}}",
    )


SPANS = [
    graph(
        "Share of spans with an error",
        [
            _failing("tenuto_workflow_executions_total", "orchestration", "workflow"),
            _failing("tenuto_activity_executions_total", "activity", "activity"),
        ],
        unit="percentunit",
        about="Of all, not only of those that were sampled.",
    ),
    graph(
        "Orchestration spans",
        quantiles("tenuto_workflow_execution_seconds", by=["workflow"]),
        unit="s",
        about="The points lead to traces.",
    ),
    graph(
        "Activity spans",
        quantiles("tenuto_activity_execution_seconds", by=["activity"]),
        unit="s",
        about="The points lead to traces.",
    ),
]


def board() -> Json:
    return dashboard(
        "tenuto-tracing",
        "Tenuto: traces",
        "Traces in Jaeger by instance, workflow and status; errors and latencies by span.",
        variables(),
        [row("Search"), *SEARCHES, row("Spans"), *SPANS],
    )
