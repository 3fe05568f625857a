"""What the engine has of its broker and its database, as it sees them itself."""

from __future__ import annotations

from k8s.observability.boards.model import Json, dashboard, graph, mean, number, quantiles, query, row

NUMBERS = [
    number(
        "Commits refused",
        "sum(increase(tenuto_commits_fenced_total[$__range]))",
        worse=(1, 100),
        about="By the fence: their partition had been taken over.",
    ),
    number("Outbox", "sum(tenuto_outbox_messages)", worse=(1000, 10000), about="Messages not confirmed yet."),
    number("Timers due", "max(tenuto_timers_due)", worse=(100, 1000)),
    number(
        "Oldest lease",
        "max(tenuto_lease_age_seconds)",
        unit="s",
        worse=(2, 4),
        about="Since its last renewal.",
    ),
    number("Resident instances", "sum(tenuto_resident_executions)"),
    number("Resident memory", "sum(tenuto_resident_bytes)", unit="bytes"),
    number("Partitions", "max(tenuto_partitions)"),
    number(
        "Takeovers",
        "max(increase(tenuto_lease_acquisitions_total[$__range]))",
        about="Partitions that were taken.",
    ),
]

DATABASE = [
    graph(
        "Commits",
        quantiles("tenuto_commit_seconds"),
        unit="s",
        about="How long the database takes for a batch.",
    ),
    graph(
        "Turns in a batch",
        [mean("tenuto_batch_turns", "mean"), *quantiles("tenuto_batch_turns")],
        about="What happens at the same time is committed together.",
    ),
    graph(
        "Commits refused by the fence",
        [query("sum by (instance) (rate(tenuto_commits_fenced_total[$__rate_interval]))", "{{instance}}")],
        unit="ops",
    ),
    graph(
        "Turns without a replay",
        [
            query(
                "sum(rate(tenuto_resident_hits_total[$__rate_interval])) / (sum(rate(tenuto_resident_hits_total"
                "[$__rate_interval])) + sum(rate(tenuto_replays_total[$__rate_interval])))",
                "resident",
            )
        ],
        unit="percentunit",
        about="An instance that is not resident is loaded and replayed.",
    ),
    graph("Timers are late by", quantiles("tenuto_timer_lateness_seconds"), unit="s"),
    graph(
        "Payloads",
        quantiles("tenuto_payload_bytes", by=["kind"]),
        unit="bytes",
    ),
]

BROKER = [
    graph(
        "Publishing", quantiles("tenuto_publish_seconds"), unit="s", about="Until the broker has confirmed."
    ),
    graph("Outbox", [query("sum by (instance) (tenuto_outbox_messages)", "{{instance}}")], stacked=True),
    graph("Dead letters", [query("max by (queue) (tenuto_dead_letters)", "{{queue}}")], stacked=True),
]

OWNERS = [
    graph(
        "Partitions, by owner",
        [query("sum by (instance) (tenuto_owned_partitions)", "{{instance}}")],
        stacked=True,
    ),
    graph(
        "Age of the leases", [query("max by (instance) (tenuto_lease_age_seconds)", "{{instance}}")], unit="s"
    ),
    graph(
        "Partitions taken",
        [query("max(rate(tenuto_lease_acquisitions_total[$__rate_interval]))", "taken")],
        unit="ops",
    ),
    graph(
        "Stalled instances", [query("sum by (reason) (tenuto_stalled_instances)", "{{reason}}")], stacked=True
    ),
    graph(
        "Resident memory", [query("sum by (instance) (tenuto_resident_bytes)", "{{instance}}")], unit="bytes"
    ),
    graph(
        "Messages on turn queues",
        [query("max(tenuto_turn_queue_messages)", "messages")],
        about="What no owner has fetched yet: grows when there are too few orchestrators.",
    ),
]

GATEWAY = [
    graph(
        "Requests",
        [query("sum by (status) (rate(tenuto_http_requests_total[$__rate_interval]))", "{{status}}")],
        unit="reqps",
        stacked=True,
        width=12,
    ),
    graph(
        "Requests take",
        quantiles("tenuto_http_request_seconds", by=["route"]),
        unit="s",
        about="Those that wait for an instance too.",
        width=12,
    ),
]


def board() -> Json:
    return dashboard(
        "tenuto-engine",
        "Tenuto: engine, broker and database",
        "The health of RabbitMQ and of the database as the engine has them; the servers' own boards tell the rest.",
        [],
        [
            *NUMBERS,
            *(row("Database"), *DATABASE),
            *(row("Broker"), *BROKER),
            *(row("Ownership"), *OWNERS),
            *(row("Gateway"), *GATEWAY),
        ],
    )
