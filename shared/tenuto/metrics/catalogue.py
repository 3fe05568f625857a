"""Every metric that the engine tells, by name: one table for the code, the documentation and whoever builds on them.

Names follow Prometheus' conventions: base units, and `_total` behind counters (which is added where they are told).
Values of labels are bounded: names of workflows and activities are those of the code, all others are `other`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["ALL", "DEPLOYMENT", "ORCHESTRATOR", "OTHER", "WORKER", "Metric", "Values", "bounded"]

Values: TypeAlias = Mapping[tuple[str, ...], float]
"""What a gauge stands at, by the values of its labels."""

OTHER: Final = "other"
"""Stands in a label for every name that is not one of the code's."""

_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TASK: Final = (
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)
_LONG: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0, 604800.0)
_SIZE: Final = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)
_COUNT: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """A family of time series. There is one object for each: it is found by identity, which costs least."""

    name: str
    """Without the `_total` of a counter."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Of a histogram: the upper bounds, in its unit."""

    @property
    def told(self) -> str:
        """The name under which Prometheus finds it; of a histogram the common part."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def bounded(name: str, known: Container[str]) -> str:
    """The name as the value of a label."""
    return name if name in known else OTHER


# What an orchestrator does -------------------------------------------------------------------------------

WORKFLOW_EXECUTIONS = Metric(
    name="tenuto_workflow_executions",
    kind="counter",
    help="Instances that ended: completed, failed or terminated.",
    labels=("workflow", "status"),
)
WORKFLOW_EXECUTION_SECONDS = Metric(
    name="tenuto_workflow_execution_seconds",
    kind="histogram",
    help="From an instance's creation to its end.",
    labels=("workflow", "status"),
    buckets=_LONG,
)
WORKFLOW_SCHEDULING_SECONDS = Metric(
    name="tenuto_workflow_scheduling_seconds",
    kind="histogram",
    help="From an instance's creation, or its start time where that is later, to its first turn's commit.",
    labels=("workflow",),
    buckets=_TASK,
)
ACTIVITIES_SCHEDULED = Metric(
    name="tenuto_activities_scheduled",
    kind="counter",
    help="Attempts of activities sent to their pools, those sent again too; local ones under the pool `local`.",
    labels=("activity", "pool"),
)
TURNS = Metric(name="tenuto_turns", kind="counter", help="Turns that were committed.")
BATCH_TURNS = Metric(
    name="tenuto_batch_turns", kind="histogram", help="Turns that were committed together.", buckets=_COUNT
)
REPLAYS = Metric(
    name="tenuto_replays",
    kind="counter",
    help="Instances that were read from the database and replayed, since they were not in memory.",
)
RESIDENT_HITS = Metric(
    name="tenuto_resident_hits",
    kind="counter",
    help="Instances that were in memory when a batch needed them.",
)
RESIDENT_EXECUTIONS = Metric(
    name="tenuto_resident_executions", kind="gauge", help="Instances kept in memory between turns."
)
RESIDENT_BYTES = Metric(name="tenuto_resident_bytes", kind="gauge", help="What they take, by estimate.")
COMMIT_SECONDS = Metric(
    name="tenuto_commit_seconds", kind="histogram", help="How long commits of batches took.", buckets=_SHORT
)
PUBLISH_SECONDS = Metric(
    name="tenuto_publish_seconds",
    kind="histogram",
    help="How long the outbox waited for the broker's confirms, by round.",
    buckets=_SHORT,
)
COMMITS_FENCED = Metric(
    name="tenuto_commits_fenced",
    kind="counter",
    help="Partitions whose part of a batch was dropped, since another process owned them.",
)
OWNED_PARTITIONS = Metric(
    name="tenuto_owned_partitions", kind="gauge", help="Partitions that the process works with."
)
LEASE_AGE_SECONDS = Metric(
    name="tenuto_lease_age_seconds",
    kind="gauge",
    help="Since the last renewal of the lease that was renewed longest ago.",
)
TIMER_LATENESS_SECONDS = Metric(
    name="tenuto_timer_lateness_seconds",
    kind="histogram",
    help="From a timer's time to the commit of the turn that took it.",
    buckets=_TASK,
)
OUTBOX_MESSAGES = Metric(
    name="tenuto_outbox_messages",
    kind="gauge",
    help="Tasks and other messages that the broker has not confirmed yet.",
)
STALLED_INSTANCES = Metric(
    name="tenuto_stalled_instances",
    kind="gauge",
    help="Instances that their owner holds for want of code that fits, by what stands in the way.",
    labels=("reason",),
)
PAYLOAD_BYTES = Metric(
    name="tenuto_payload_bytes",
    kind="histogram",
    help="Sizes of payloads as they are stored: inputs and results of workflows and activities, and events.",
    labels=("kind",),
    buckets=_SIZE,
)
POOL_TASKS = Metric(
    name="tenuto_pool_tasks",
    kind="gauge",
    help="Activity tasks that are out and not answered: held by a worker, as its beats say, or queued.",
    labels=("pool", "state"),
)

ORCHESTRATOR: Final = (
    WORKFLOW_EXECUTIONS,
    WORKFLOW_EXECUTION_SECONDS,
    WORKFLOW_SCHEDULING_SECONDS,
    ACTIVITIES_SCHEDULED,
    TURNS,
    BATCH_TURNS,
    REPLAYS,
    RESIDENT_HITS,
    RESIDENT_EXECUTIONS,
    RESIDENT_BYTES,
    COMMIT_SECONDS,
    PUBLISH_SECONDS,
    COMMITS_FENCED,
    OWNED_PARTITIONS,
    LEASE_AGE_SECONDS,
    TIMER_LATENESS_SECONDS,
    OUTBOX_MESSAGES,
    STALLED_INSTANCES,
    PAYLOAD_BYTES,
    POOL_TASKS,
)
"""Each orchestrator tells its own part: in queries, sum over them."""

# What executes activities ----------------------------------------------------------------------------------

ACTIVITY_EXECUTIONS = Metric(
    name="tenuto_activity_executions",
    kind="counter",
    help="Attempts that ended here: completed, failed, timed_out, cancelled (nobody waited any more), lost (came "
    "again, since the worker that had it is gone) or returned (not begun, or not done, when the worker stopped).",
    labels=("activity", "pool", "status"),
)
ACTIVITY_EXECUTION_SECONDS = Metric(
    name="tenuto_activity_execution_seconds",
    kind="histogram",
    help="How long attempts ran that were completed, failed or timed_out.",
    labels=("activity", "pool", "status"),
    buckets=_TASK,
)
ACTIVITY_SCHEDULING_SECONDS = Metric(
    name="tenuto_activity_scheduling_seconds",
    kind="histogram",
    help="From the turn that sent an attempt to its beginning, by the clocks of two machines.",
    labels=("activity", "pool"),
    buckets=_TASK,
)
WORKER_SLOTS = Metric(
    name="tenuto_worker_slots", kind="gauge", help="Activities that may run at once.", labels=("pool",)
)
WORKER_SLOTS_BUSY = Metric(
    name="tenuto_worker_slots_busy", kind="gauge", help="Activities that run.", labels=("pool",)
)
WORKER_BEATS = Metric(
    name="tenuto_worker_beats", kind="counter", help="Messages to owners about what is held for long."
)

WORKER: Final = (
    ACTIVITY_EXECUTIONS,
    ACTIVITY_EXECUTION_SECONDS,
    ACTIVITY_SCHEDULING_SECONDS,
    WORKER_SLOTS,
    WORKER_SLOTS_BUSY,
    WORKER_BEATS,
)
"""Each worker process tells its own part; orchestrators too, of local activities, under the pool `local`."""

# What can be seen of the whole deployment ------------------------------------------------------------------

LOOKED_AT = Metric(
    name="tenuto_looked_at_timestamp_seconds", kind="gauge", help="When the deployment was looked at."
)
WAITING = Metric(
    name="tenuto_waiting", kind="gauge", help="What waits in the database, by place.", labels=("place",)
)
WAITING_OLDEST = Metric(
    name="tenuto_waiting_oldest_seconds",
    kind="gauge",
    help="For how long the oldest of it has waited.",
    labels=("place",),
)
INSTANCES = Metric(
    name="tenuto_instances",
    kind="gauge",
    help="Instances that have not ended, by status.",
    labels=("status",),
)
TIMERS_DUE = Metric(name="tenuto_timers_due", kind="gauge", help="Timers that are due and not taken yet.")
ORCHESTRATORS = Metric(name="tenuto_orchestrators", kind="gauge", help="Orchestrators that live.")
PARTITIONS = Metric(name="tenuto_partitions", kind="gauge", help="Partitions.")
PARTITIONS_UNOWNED = Metric(
    name="tenuto_partitions_unowned", kind="gauge", help="Partitions without a live owner."
)
LEASE_ACQUISITIONS = Metric(
    name="tenuto_lease_acquisitions",
    kind="counter",
    help="How often partitions were taken, all epochs together.",
)
POOL_MESSAGES = Metric(
    name="tenuto_pool_messages",
    kind="gauge",
    help="Messages that wait for workers; each may hold many tasks.",
    labels=("pool",),
)
POOL_WORKERS = Metric(
    name="tenuto_pool_workers", kind="gauge", help="Consumers of a pool's queue.", labels=("pool",)
)
TURN_QUEUE_MESSAGES = Metric(
    name="tenuto_turn_queue_messages",
    kind="gauge",
    help="Messages on the turn queues that no owner has fetched yet, over all partitions.",
)
DEAD_LETTERS = Metric(
    name="tenuto_dead_letters",
    kind="gauge",
    help="Messages that were put aside, by queue.",
    labels=("queue",),
)
PROBLEMS = Metric(
    name="tenuto_problems", kind="gauge", help="What `tenuto doctor` finds wrong, by kind.", labels=("kind",)
)

DEPLOYMENT: Final = (
    LOOKED_AT,
    WAITING,
    WAITING_OLDEST,
    INSTANCES,
    TIMERS_DUE,
    ORCHESTRATORS,
    PARTITIONS,
    PARTITIONS_UNOWNED,
    LEASE_ACQUISITIONS,
    POOL_MESSAGES,
    POOL_WORKERS,
    TURN_QUEUE_MESSAGES,
    DEAD_LETTERS,
    PROBLEMS,
)
"""Every orchestrator tells the same, from the same database: in queries, take the maximum over them."""

ALL: Final = (*ORCHESTRATOR, *WORKER, *DEPLOYMENT)
