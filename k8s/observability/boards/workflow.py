"""One type of workflow, or several to compare."""

from __future__ import annotations

from k8s.observability.boards.model import (
    Json,
    dashboard,
    graph,
    label_variable,
    number,
    quantiles,
    query,
    row,
    table,
)

OF = '{workflow=~"$workflow"}'
FAILED = '{workflow=~"$workflow", status="failed"}'
ENDED = f"sum(increase(tenuto_workflow_executions_total{OF}[$__range]))"
NOT_WELL = f"(sum(increase(tenuto_workflow_executions_total{FAILED}[$__range])) or vector(0))"

NUMBERS = [
    number("Ended", ENDED, about="In the time that is shown."),
    number("Failed", NOT_WELL, worse=(1, 100), about="In the time that is shown."),
    number("Share that failed", f"{NOT_WELL} / {ENDED}", unit="percentunit", worse=(0.01, 0.05)),
]


def _ended(labels: str = "") -> str:
    return f"sum by (workflow) (increase(tenuto_workflow_executions_total{labels}[$__range]))"


def _quantile(level: float, histogram: str) -> str:
    return f"histogram_quantile({level}, sum by (workflow, le) (increase({histogram}_bucket[$__range])))"


TABLE = table(
    "Types of workflows, in the time that is shown",
    {
        "ended": _ended(),
        "failed": _ended('{status="failed"}'),
        "median, s": _quantile(0.5, "tenuto_workflow_execution_seconds"),
        "p95, s": _quantile(0.95, "tenuto_workflow_execution_seconds"),
        "p95 until the first turn, s": _quantile(0.95, "tenuto_workflow_scheduling_seconds"),
    },
    by="workflow",
)

GRAPHS = [
    graph(
        "Ended, by status",
        [
            query(
                f"sum by (status) (rate(tenuto_workflow_executions_total{OF}[$__rate_interval]))",
                "{{status}}",
            )
        ],
        unit="ops",
        stacked=True,
    ),
    graph(
        "From start to end",
        quantiles("tenuto_workflow_execution_seconds", labels=OF),
        unit="s",
        about="The points lead to traces.",
    ),
    graph(
        "From creation to the first turn",
        quantiles("tenuto_workflow_scheduling_seconds", labels=OF),
        unit="s",
    ),
    graph(
        "Ended, by type",
        [
            query(
                f"sum by (workflow) (rate(tenuto_workflow_executions_total{OF}[$__rate_interval]))",
                "{{workflow}}",
            )
        ],
        unit="ops",
        stacked=True,
        width=12,
    ),
    graph(
        "From start to end, by type",
        quantiles("tenuto_workflow_execution_seconds", by=["workflow"], labels=OF),
        unit="s",
        width=12,
    ),
]


def board() -> Json:
    return dashboard(
        "tenuto-workflow",
        "Tenuto: workflow",
        "One type of workflow, or several to compare.",
        [label_variable("workflow", "tenuto_workflow_executions_total")],
        [*NUMBERS, row("Over time"), *GRAPHS, row("All types"), TABLE],
    )
