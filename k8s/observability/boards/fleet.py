"""The whole deployment at a glance: is it well, what does it do, what waits."""

from __future__ import annotations

from k8s.observability.boards.model import Json, dashboard, graph, number, quantiles, query, row

ALIVE = [
    number("Orchestrators", "max(tenuto_orchestrators)", least=1, about="Orchestrators that live."),
    number(
        "Partitions without owner",
        "max(tenuto_partitions_unowned)",
        worse=(1, 1),
        about="Their instances do not go on. A takeover lasts five seconds.",
    ),
    number(
        "Problems",
        "sum(max by (kind) (tenuto_problems)) or vector(0)",
        worse=(1, 5),
        about="What `tenuto doctor` finds wrong.",
    ),
    number("Stalled instances", "sum(tenuto_stalled_instances) or vector(0)", worse=(1, 10)),
    number("Dead letters", "sum(max by (queue) (tenuto_dead_letters)) or vector(0)", worse=(1, 10)),
    number(
        "Live instances", "sum(max by (status) (tenuto_instances))", about="Instances that have not ended."
    ),
    number("Oldest wait", "max(tenuto_waiting_oldest_seconds)", unit="s", worse=(30, 300)),
    number(
        "Last look",
        "time() - max(tenuto_looked_at_timestamp_seconds)",
        unit="s",
        worse=(60, 120),
        about="For how long nobody has seen how the deployment is.",
    ),
]

WORKFLOWS = [
    graph(
        "Workflows ended, by status",
        [query("sum by (status) (rate(tenuto_workflow_executions_total[$__rate_interval]))", "{{status}}")],
        unit="ops",
        stacked=True,
    ),
    graph(
        "From start to end",
        quantiles("tenuto_workflow_execution_seconds"),
        unit="s",
        about="How long workflows took, their waits included. The points lead to traces.",
    ),
    graph(
        "From creation to the first turn",
        quantiles("tenuto_workflow_scheduling_seconds"),
        unit="s",
        about="Grows when orchestrators have more to do than they can.",
    ),
    graph(
        "Live instances, by status",
        [query("max by (status) (tenuto_instances)", "{{status}}")],
        stacked=True,
    ),
    graph(
        "Turns",
        [query("sum by (instance) (rate(tenuto_turns_total[$__rate_interval]))", "{{instance}}")],
        unit="ops",
        stacked=True,
        about="Turns that each orchestrator commits per second.",
    ),
    graph("Problems, by kind", [query("max by (kind) (tenuto_problems) > 0 or vector(0)", "{{kind}}")]),
]

ACTIVITIES = [
    graph(
        "Activities ended, by status",
        [query("sum by (status) (rate(tenuto_activity_executions_total[$__rate_interval]))", "{{status}}")],
        unit="ops",
        stacked=True,
        about="Attempts, each for itself.",
    ),
    graph(
        "Attempts", quantiles("tenuto_activity_execution_seconds"), unit="s", about="How long attempts took."
    ),
    graph(
        "Tasks, by pool",
        [query("sum by (pool, state) (tenuto_pool_tasks)", "{{pool}} {{state}}")],
        stacked=True,
        about="Tasks that wait for a worker, or that one has begun.",
    ),
]

WAITING = [
    graph("What waits", [query("max by (place) (tenuto_waiting)", "{{place}}")], width=12),
    graph(
        "For how long the oldest has waited",
        [query("max by (place) (tenuto_waiting_oldest_seconds)", "{{place}}")],
        unit="s",
        width=12,
    ),
]


def board() -> Json:
    return dashboard(
        "tenuto-fleet",
        "Tenuto: fleet",
        "The whole deployment at a glance.",
        [],
        [*ALIVE, row("Workflows"), *WORKFLOWS, row("Activities"), *ACTIVITIES, row("What waits"), *WAITING],
    )
