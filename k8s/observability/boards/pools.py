"""The worker pools: do they keep up with their tasks, and how do activities fare."""

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
)

OF = '{pool=~"$pool"}'

NUMBERS = [
    number(
        "Queued",
        'sum(tenuto_pool_tasks{pool=~"$pool", state="queued"})',
        about="Tasks that wait for a worker: what a pool is scaled by.",
    ),
    number(
        "Held", 'sum(tenuto_pool_tasks{pool=~"$pool", state="held"})', about="Tasks that a worker has begun."
    ),
    number(
        "Workers", f"sum(max by (pool) (tenuto_pool_workers{OF}))", least=1, about="Consumers of the queues."
    ),
    number("Slots", f"sum(tenuto_worker_slots{OF})", about="Activities that could run at the same time."),
    number(
        "Slots that are busy",
        f"sum(tenuto_worker_slots_busy{OF}) / sum(tenuto_worker_slots{OF})",
        unit="percentunit",
        worse=(0.8, 0.95),
    ),
]

BACKLOG = [
    graph(
        "Tasks",
        [query(f"sum by (pool, state) (tenuto_pool_tasks{OF})", "{{pool}} {{state}}")],
        stacked=True,
        about="One message may carry many tasks.",
    ),
    graph(
        "Messages in the queues",
        [query(f"max by (pool) (tenuto_pool_messages{OF})", "{{pool}}")],
        stacked=True,
    ),
    graph(
        "Slots that are busy",
        [
            query(
                f"sum by (pool) (tenuto_worker_slots_busy{OF}) / sum by (pool) (tenuto_worker_slots{OF})",
                "{{pool}}",
            )
        ],
        unit="percentunit",
    ),
    graph(
        "Scheduled and ended",
        [
            query(f"sum(rate(tenuto_activities_scheduled_total{OF}[$__rate_interval]))", "scheduled"),
            query(f"sum(rate(tenuto_activity_executions_total{OF}[$__rate_interval]))", "ended"),
        ],
        unit="ops",
        about="Attempts count each for themselves where they end.",
    ),
    graph(
        "From sending to beginning",
        quantiles("tenuto_activity_scheduling_seconds", labels=OF),
        unit="s",
        about="Grows when the pool is too small.",
    ),
    graph(
        "Workers",
        [
            query(f"max by (pool) (tenuto_pool_workers{OF})", "{{pool}}"),
            query("sum(rate(tenuto_worker_beats_total[$__rate_interval]))", "beats per second"),
        ],
    ),
]

ACTIVITIES = [
    graph(
        "Ended, by status",
        [
            query(
                f"sum by (status) (rate(tenuto_activity_executions_total{OF}[$__rate_interval]))",
                "{{status}}",
            )
        ],
        unit="ops",
        stacked=True,
    ),
    graph(
        "Ended, by activity",
        [
            query(
                f"sum by (activity) (rate(tenuto_activity_executions_total{OF}[$__rate_interval]))",
                "{{activity}}",
            )
        ],
        unit="ops",
        stacked=True,
    ),
    graph(
        "Attempts, by activity",
        quantiles("tenuto_activity_execution_seconds", by=["activity"], labels=OF),
        unit="s",
        about="The points lead to traces.",
    ),
]


def board() -> Json:
    return dashboard(
        "tenuto-pools",
        "Tenuto: worker pools",
        "Whether the pools keep up with their tasks.",
        [label_variable("pool", "tenuto_pool_tasks")],
        [*NUMBERS, row("Backlog"), *BACKLOG, row("Activities"), *ACTIVITIES],
    )
