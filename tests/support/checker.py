"""What must hold when the faults are over and everything has come to rest: nothing lost, nothing doubled, nothing left."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg

from tenuto.app import App
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    Event,
    ExecutionCompleted,
    ExecutionStarted,
    TimerFired,
)
from tenuto.core.execution import replay
from tenuto.core.ids import idempotency_key
from tenuto.core.status import Status
from tests.support.journal import Journal, Run, plain_url, read_journal
from tests.support.mixed_load import Order
from tests.support.sample_app import read_audit
from tests.support.servers import PrivateRabbitMQ

__all__ = ["Findings", "check", "check_journal", "left_behind", "until_at_rest"]

_LEFT: dict[str, LiteralString] = {
    "instances that have not ended": "SELECT id, status FROM tenuto_instances WHERE ended_at IS NULL",
    "instances with tasks pending": "SELECT id, tasks_pending FROM tenuto_instances WHERE tasks_pending <> 0",
    "outbox rows": "SELECT partition, epoch, seq FROM tenuto_outbox",
    "letters in the inbox": "SELECT target, held FROM tenuto_inbox",
    "timers": "SELECT instance, command FROM tenuto_timers",
    "partitions without a live owner": """
        SELECT partition, owner FROM tenuto_partitions
        WHERE owner IS NULL OR lease_until <= clock_timestamp()
            OR owner NOT IN (SELECT owner FROM tenuto_members)""",
    "partitions that do not know the broker": """
        SELECT partition FROM tenuto_partitions
        WHERE broker_token <> (SELECT broker_token FROM tenuto_deployment)""",
}
"""What there may be none of at rest, each with the query that lists it."""
_SHOWN = 10


@dataclass(kw_only=True)
class Findings:
    """What the checker saw."""

    violations: list[str] = field(default_factory=list)
    instances: int = 0
    """Children included."""
    turns: int = 0
    activities: int = 0
    """Activity calls in the histories."""
    attempts: int = 0
    """Attempts of those that were executed: retries are told apart, repetitions are not."""
    executions: int = 0
    """Executions of activities on workers."""

    def add(self, violations: Iterable[str]) -> None:
        self.violations += violations


async def until_at_rest(
    database_url: str, rabbitmq: PrivateRabbitMQ, namespace: str, *, orchestrators: int, timeout: float
) -> list[str]:
    """Wait until nothing is left to be done; returns what is left if that does not come to pass in time."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        left = await asyncio.to_thread(left_behind, database_url, orchestrators=orchestrators)
        if not left:
            left = await _messages(rabbitmq, namespace)
        if not left or asyncio.get_running_loop().time() > deadline:
            return left
        await asyncio.sleep(0.5)


def check(app: App, orders: Sequence[Order], *, database_url: str, audit: Path) -> Findings:
    """Everything that can be told from the results, the database's journal and the audit. Call it at rest."""
    return check_journal(app, orders, read_journal(database_url), audit=audit)


def check_journal(app: App, orders: Sequence[Order], journal: Journal, *, audit: Path) -> Findings:
    """Compare what was ordered, what the database was told and what workers have executed."""
    findings = Findings()
    findings.add(_results(orders, journal))
    for run in journal.values():
        findings.add(f"{run.instance}: {text}" for text in _run(app, run))
        findings.turns += len(run.turns)
    findings.add(_executions(journal, audit, findings))
    findings.instances = len(journal)
    return findings


# Results ---------------------------------------------------------------------------------------------------------


def _results(orders: Sequence[Order], journal: Journal) -> Iterator[str]:
    for order in orders:
        if order.error is not None:
            yield f"{order.instance}: its client was told {order.error}"
        elif not order.ended:
            yield f"{order.instance} has not ended"
        elif order.result != order.expected:
            yield f"{order.instance} ended with {order.result!r} instead of {order.expected!r}"
        if order.instance not in journal:
            yield f"{order.instance} was never made"
    roots = {order.instance for order in orders}
    for run in journal.values():
        if run.instance not in roots and not _is_child(run):
            yield f"{run.instance} was made, and nobody asked for it"


def _is_child(run: Run) -> bool:
    first = run.turns[0].events[0] if run.turns and run.turns[0].events else None
    return isinstance(first, ExecutionStarted) and first.parent is not None


# Histories -------------------------------------------------------------------------------------------------------


def _run(app: App, run: Run) -> Iterator[str]:
    """One run, whose turns follow upon each other, that ended once and replays."""
    if len(run.runs) != 1:
        yield f"it has {len(run.runs)} runs: {run.runs}"
    numbers = [turn.turn for turn in run.turns]
    if numbers != list(range(len(numbers))):
        yield f"its turns were written in the order {numbers}"
    if run.ends != [Status.COMPLETED]:
        yield f"it ended as {run.ends}"
    events = [event for turn in run.turns for event in turn.events]
    if sum(isinstance(event, ExecutionCompleted) for event in events) != 1:
        yield "its history does not hold exactly one end"
    generations = run.generations()
    if sorted(generations) != list(range(len(generations))):
        yield f"its generations are {sorted(generations)}"
    for generation, history in generations.items():
        yield from (f"generation {generation}: {text}" for text in _answers(history))
        execution = replay(app.resolve, run.instance, run.runs[0], history)
        if execution.stalled is not None:
            yield f"generation {generation} does not replay: {execution.stalled}"
        elif generation == max(generations) and execution.state.status is not Status.COMPLETED:
            yield f"it replays to {execution.state.status}"
        execution.abandon()


def _answers(history: Sequence[Event]) -> Iterator[str]:
    """Each command is answered once."""
    answers: Counter[int] = Counter()
    started = 0
    for event in history:
        match event:
            case ExecutionStarted():
                started += 1
            case ActivityCompleted() | ChildCompleted() | TimerFired():
                answers[event.command] += 1
            case ActivityFailed(retry_at=None):
                answers[event.command] += 1
            case _:
                pass
    if started != 1:
        yield f"it starts {started} times"
    twice = [command for command, count in answers.items() if count > 1]
    if twice:
        yield f"commands {twice} were answered more than once"


# Activities ------------------------------------------------------------------------------------------------------


def _executions(journal: Journal, audit: Path, findings: Findings) -> Iterator[str]:
    """Each call was executed at least once, and nothing was executed that no history asks for."""
    asked = {(run.instance, key) for run in journal.values() for key in _keys(run)}
    executions = read_audit(audit)
    executed = {(each.instance, each.key) for each in executions}
    findings.activities, findings.executions = len(asked), len(executions)
    findings.attempts = len({(each.instance, each.key, each.attempt) for each in executions})
    for what, keys in (
        ("activity calls have a result and were never executed", asked - executed),
        ("activity executions belong to no history", executed - asked),
    ):
        if keys:
            yield f"{len(keys)} {what}: {sorted(keys)[:_SHOWN]}"


def _keys(run: Run) -> Iterator[str]:
    seeds: defaultdict[int, str] = defaultdict(str)
    for turn in run.turns:
        for event in turn.events:
            if isinstance(event, ExecutionStarted):
                seeds[event.generation] = event.seed
            elif isinstance(event, ActivityScheduled):
                yield idempotency_key(seeds[turn.generation], turn.generation, event.id)


# What is left ----------------------------------------------------------------------------------------------------


def left_behind(database_url: str, *, orchestrators: int) -> list[str]:
    """What is in the database and should not be at rest; and whether the partitions are shared out."""
    left = []
    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        for what, query in _LEFT.items():
            rows = connection.execute(query).fetchall()
            if rows:
                left.append(f"there are {len(rows)} {what}: {rows[:_SHOWN]}")
        held = connection.execute(
            "SELECT owner, count(*) FROM tenuto_partitions WHERE owner IS NOT NULL GROUP BY owner"
        ).fetchall()
    counts = sorted(count for _, count in held)
    if len(counts) != orchestrators or max(counts) - min(counts) > 1:
        left.append(f"{orchestrators} orchestrators have shared the partitions out as {counts}")
    return left


async def _messages(rabbitmq: PrivateRabbitMQ, namespace: str) -> list[str]:
    """Messages that are still on queues, and such as were given up."""
    listed = await rabbitmq.control("list_queues", "name", "messages", "--no-table-headers")
    queues = (line.split() for line in listed.splitlines())
    return [
        f"there are {messages} messages on {name}"
        for name, messages in queues
        if name.startswith(namespace) and messages != "0"
    ]
