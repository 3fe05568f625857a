"""What must hold when the faults are over and everything has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from tenuto.builtins import resolver
from tenuto.core.events import Failure, decode_events
from tenuto.core.execution import replay
from tenuto.core.reserved import SCHEDULE, is_reserved
from tenuto.core.status import Status
from tests.simulation.audit import Audit, Run
from tests.simulation.cluster import Cluster
from tests.simulation.program import Job, Outcome, fits, outcome
from tests.simulation.story import FORGED, Story

__all__ = ["at_rest", "violations"]

_job = msgspec.json.Decoder(Job)
_failure = msgspec.json.Decoder(Failure)


def at_rest(cluster: Cluster) -> bool:
    """Whether there is nothing left to do."""
    tables = cluster.database.database
    return (
        all(story.finished for story in cluster.stories)
        and not any(tables.letters.values())
        and not tables.outboxes
        and not tables.due
        and all(record.status.is_terminal for record in tables.records.values())
        and all(_is_empty(cluster, queue) for queue in cluster.broker.queues._queues)
        and not list(_ownership(cluster))
    )


def violations(cluster: Cluster, audit: Audit) -> list[str]:
    """All that does not hold."""
    found = [text for story in cluster.stories for text in _story(story, audit)]
    found += [f"{instance} was started (rule B4)" for instance in audit.runs if instance.endswith(FORGED)]
    found += [text for runs in audit.runs.values() for run in runs for text in _run(cluster, run)]
    found += _orphans(cluster)
    found += _ownership(cluster)
    return found


def _is_empty(cluster: Cluster, name: str) -> bool:
    queue = cluster.broker.queues._queues[name]
    if name.endswith("dead") or ".marker." in name:
        return True
    return not queue._ready and not any(consumer.unacked for consumer in queue._consumers)


# Instances ------------------------------------------------------------------------------------------------------


def _story(story: Story, audit: Audit) -> Iterator[str]:
    if not story.finished:
        yield f"the user of {story.instance} still waits: {story.deeds[story.done]}"
        return
    runs = audit.runs.get(story.instance, [])
    least, most = len(story.starts), len(story.starts) + story.unsure_starts
    if story.timetable is not None:
        least = most = 1
        yield from story.timetable.violations(audit.runs)
    if not least <= len(runs) <= most:
        yield f"{story.instance} was started {least} times and has {len(runs)} runs"
    run = audit.run(story.instance)
    if story.purged:
        if run is not None:
            yield f"{story.instance} was purged and is still there"
    elif run is None:
        yield f"{story.instance} is gone"
    else:
        record = run.record
        output = None if record.output is None else msgspec.json.decode(record.output)
        failure = None if record.failure is None else _failure.decode(record.failure).message
        if not story.allows(record.status, output, failure):
            yield f"{story.instance} ended as {record.status} with {output} {failure}; expected {story.expected}"


def _run(cluster: Cluster, run: Run) -> Iterator[str]:
    """Every run, children included, ended as its own program says, and its history replays."""
    record = run.record
    if not (record.status.is_terminal or run.gone):
        yield f"{run.instance} is {record.status} for ever ({record.reason})"
        return
    if not _fits(run, unread=cluster.plan.behind == "events"):
        yield f"run {run.run} of {run.instance} ended as {record.status} with {record.output!r} {record.failure!r}"
    if record.status.is_terminal and record.tasks_pending:
        yield f"{run.instance} has ended, and has {record.tasks_pending} tasks pending"
    resolve = resolver(cluster.app)
    for generation, history in run.histories.items():
        execution = replay(resolve, run.instance, run.run, history)
        if execution.stalled is not None:
            yield f"generation {generation} of {run.instance} does not replay: {execution.stalled}"
        elif generation == record.generation and execution.state.status is not record.status and not run.gone:
            yield f"{run.instance} replays to {execution.state.status} and is {record.status}"
        execution.abandon()
    if not run.gone:
        stored = [e for body in cluster.database.database.history(run.instance) for e in decode_events(body)]
        if stored != run.histories.get(record.generation, []):
            yield f"the stored history of {run.instance} is not what was committed"


def _fits(run: Run, *, unread: bool) -> bool:
    """Whether it has ended as it may. `unread`: an older release that came back may have deleted it by force, without
    being able to read it."""
    if is_reserved(run.instance):
        status = run.record.status
        if run.record.workflow != SCHEDULE:  # a lock ends when nobody wants it any more, in no other way
            return status is Status.COMPLETED
        return status is Status.TERMINATED or (unread and run.gone)  # a schedule is deleted
    steps = _job.decode(run.first.input).steps
    return any(fits_program(run, outcome(steps, mended=mended)) for mended in (False, True))


def fits_program(run: Run, expected: Outcome) -> bool:
    record = run.record
    match record.status:
        case Status.TERMINATED:
            return True  # whether anybody may have terminated it is for its story to say
        case Status.FAILED:
            failure = b"" if record.failure is None else record.failure
            return expected.failed is not None and expected.failed.encode() in failure
        case Status.COMPLETED:
            output = msgspec.json.decode(record.output or b"null")
            return expected.failed is None and fits(expected.results, output)
        case _:
            return run.gone


# The rest -------------------------------------------------------------------------------------------------------


def _orphans(cluster: Cluster) -> Iterator[str]:
    tables = cluster.database.database
    for letter in tables.letters.values():
        yield f"a letter to {letter.target} is left in the inbox (held: {letter.held}): {letter.body[:120]!r}"
    for key in tables.outboxes:
        yield f"outbox row {key} is left"
    for key in tables.due:
        yield f"timer {key} is left"
    for name in cluster.broker.queues._queues:
        if not _is_empty(cluster, name):
            queue = cluster.broker.queues._queues[name]
            held = [
                message.outgoing.body
                for consumer in queue._consumers
                for message in consumer.unacked.values()
            ]
            yield f"messages are left on queue {name}: {len(queue._ready)} ready, unacknowledged: {held}"


def _ownership(cluster: Cluster) -> Iterator[str]:
    tables = cluster.database.database
    owners = {member.owner for _, member in tables.alive.values()}
    running = len(cluster.of("orchestrator"))
    if len(owners) != running:
        yield f"there are {len(owners)} members, and {running} orchestrators run"
    held: Counter[str] = Counter(dict.fromkeys(owners, 0))
    token = "" if tables.recorded is None else tables.recorded.broker_token
    for lease in tables.leases.values():
        if lease.owner not in owners or lease.free(tables.now()):
            yield f"partition {lease.partition} has no live owner ({lease.owner})"
        else:
            held[lease.owner or ""] += 1
        if lease.broker_token != token:
            yield f"partition {lease.partition} has not noticed that the broker was wiped"
    if held and max(held.values()) - min(held.values()) > 1:
        yield f"the partitions are shared out unevenly: {sorted(held.values())}"
