"""The spans of turns: what a turn has ended becomes spans, once it is committed.

Before the turn a `View` is taken of what the spans need and the turn uses up: when what it ends began. After the commit
they are made of it, and only then: whoever replays the history, or takes it over, makes none of them again. A crash in
between loses them, and doubles none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from tenuto.core.events import (
    ActivityFailed,
    ActivityScheduled,
    ContinuedAsNew,
    Event,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionTerminated,
    TimerFired,
    TurnStarted,
)
from tenuto.core.letters import Letter, Raise, Start
from tenuto.core.pending import PendingActivity, PendingTimer
from tenuto.core.reserved import LOCK, SCHEDULE, is_reserved
from tenuto.core.state import State
from tenuto.core.turn import Arrival, LetterOut, TaskLost, TimedOut, TimerDue, Turn
from tenuto.store.protocol import InstanceRecord
from tenuto.tracing import Fact, Tracing, carrier, own_context, parent_context, read_context
from tenuto.tracing.lineage import attempt_span
from tenuto_orchestrator.work import Item

__all__ = ["Spans", "View", "onward"]

_log = logging.getLogger("tenuto.orchestrator")
_UNTRACED = frozenset({LOCK, SCHEDULE})
"""Workflows that serve many callers, or begin many traces of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """An activity's attempt that its owner may end, as it is before."""

    scheduled: ActivityScheduled
    sent: datetime
    number: int


@dataclass(slots=True, kw_only=True)
class View:
    """A traced instance before its turn and, once `turn` is set, what the turn was."""

    record: InstanceRecord
    context: SpanContext
    """Of its generation's `orchestration` span."""
    started: datetime
    """When that span begins."""
    rewound: bool
    began: datetime
    """When the turn began."""
    items: Sequence[Item]
    timers: dict[int, PendingTimer] = field(default_factory=dict)
    """Those that may fire in the turn."""
    attempts: dict[int, _Attempt] = field(default_factory=dict)
    """Those that may be ended by the engine itself."""
    turn: Turn | None = None
    """What it has come to."""
    version: str | None = None

    def after(self, turn: Turn, record: InstanceRecord | None) -> View | None:
        """With the turn that was taken, and the row as that leaves it; None: the turn changes nothing."""
        if record is None or not turn.events:
            return None
        self.turn, self.version = turn, record.version
        return self


class Spans:
    """Makes the spans of one orchestrator's turns; nothing where tracing is off."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def admit(
        self, trace: dict[str, str], *, instance: str, run: str, workflow: str, version: str | None
    ) -> dict[str, str]:
        """What stands in a new instance's row: where its trace starts, with the sampler's decision."""
        if not self._tracing.on:
            return trace
        if workflow in _UNTRACED:
            return {}
        attributes = _attributes("orchestration", workflow, instance, version)
        return self._tracing.admit(trace, run=run, name=f"orchestration||{workflow}", attributes=attributes)

    def context(self, record: InstanceRecord) -> SpanContext | None:
        """Of the `orchestration` span of an instance's present generation; None: it is not traced."""
        if not self._tracing.on:
            return None
        return own_context(record.trace, record.run, record.generation)

    def headers(self, record: InstanceRecord) -> dict[str, str]:
        """The trace context that goes with the tasks of an instance's present generation."""
        context = self.context(record)
        return dict(record.trace) if context is None else carrier(context)

    def view(
        self, record: InstanceRecord, state: State | None, items: Sequence[Item], now: datetime
    ) -> View | None:
        """Look at an instance before its turn (`state` None: it is about to be rewound); None: it is not traced."""
        context = self.context(record)
        if context is None:
            return None
        view = View(
            record=record,
            context=context,
            started=now if state is None else _began(state, record),
            rewound=state is None or state.rewound_at is not None,
            began=now,
            items=items,
        )
        for item in items if state is not None else ():
            match item.work:
                case Arrival(
                    what=TimerDue(command=command) | TimedOut(command=command) | TaskLost(command=command)
                ):
                    pending = state.pending.get(command) if state is not None else None
                    if isinstance(pending, PendingTimer):
                        view.timers[command] = pending
                    elif isinstance(pending, PendingActivity):
                        view.attempts[command] = _Attempt(
                            scheduled=pending.command, sent=pending.sent, number=pending.attempt
                        )
                case _:
                    pass
        return view

    def emit(self, view: View, now: datetime) -> None:
        """Make the spans of a turn that is committed."""
        try:
            for fact in _facts(view, now):
                self._tracing.emit(fact)
        except Exception:  # noqa: BLE001 - a span processor's error must not reach the engine: it is committed
            _log.exception("instance %r: the spans of a turn could not be made", view.record.id)


def onward(out: LetterOut, context: SpanContext | None) -> Letter:
    """A letter of a traced instance, with its context instead of that of whoever started it."""
    match out.letter:
        case Start() | Raise() as letter if context is not None:
            return replace(letter, trace=carrier(context))
        case letter:
            return letter


def _began(state: State, record: InstanceRecord) -> datetime:
    started = state.started or record.created_at
    return started if state.start_at is None else max(started, state.start_at)


def _facts(view: View, now: datetime) -> Iterator[Fact]:
    turn = view.turn
    if turn is None:
        return
    at = _time(turn, view)
    yield _turn(view, turn, now)
    ignored = {id(arrival) for arrival, _ in turn.ignored}
    for item in view.items:
        match item.work:
            case Arrival(what=Raise() as letter) as arrival if id(arrival) not in ignored:
                if not is_reserved(letter.name):
                    yield _event_taken(view, letter, at)
            case _:
                pass
    for event in turn.events:
        yield from _fact(view, event, at)


def _time(turn: Turn, view: View) -> datetime:
    started = next((event.at for event in turn.events if isinstance(event, TurnStarted)), None)
    return view.began if started is None else started


def _fact(view: View, event: Event, at: datetime) -> Iterator[Fact]:
    match event:
        case TimerFired(command=command) if command in view.timers:
            yield _timer(view, view.timers[command], at)
        case ActivityFailed(command=command) if command in view.attempts:
            yield from _attempt(view, view.attempts[command], event, at)
        case EventSent(refused=None):
            yield _event_sent(view, event, at)
        case ExecutionCompleted():
            yield _orchestration(view, at, status="COMPLETED")
        case ExecutionFailed(failure=failure):
            yield _orchestration(view, at, status="FAILED", error=f"{failure.type}: {failure.message}")
        case ExecutionTerminated(reason=reason):
            yield _orchestration(view, at, status="TERMINATED", error=reason or "terminated")
        case ContinuedAsNew():
            yield _orchestration(view, at, status="CONTINUED_AS_NEW")
        case _:
            pass


def _turn(view: View, turn: Turn, now: datetime) -> Fact:
    return Fact(
        name=f"turn||{view.record.workflow}",
        start=view.began,
        end=max(now, view.began),
        parent=view.context,
        attributes=_of(view, "turn")
        | {
            "tenuto.turn": view.record.turn,
            "tenuto.partition": view.record.partition,
            "tenuto.events": len(turn.events),
        },
    )


def _timer(view: View, timer: PendingTimer, at: datetime) -> Fact:
    command = timer.command
    attributes = _of(view, "timer") | {
        "durabletask.task.task_id": command.id,
        "durabletask.fire_at": command.fire_at.isoformat(),
    }
    if command.event is not None:
        attributes["durabletask.event.name"] = command.event
    return Fact(
        name="timer", start=timer.first, end=max(at, timer.first), parent=view.context, attributes=attributes
    )


def _attempt(view: View, attempt: _Attempt, event: ActivityFailed, at: datetime) -> Iterator[Fact]:
    """An attempt that no worker has ended: it was lost too often, or a deadline has passed."""
    if event.attempt != attempt.number or _answered(view, event):
        return
    record, scheduled = view.record, attempt.scheduled
    yield Fact(
        name=f"activity||{scheduled.name}",
        start=attempt.sent,
        end=max(at, attempt.sent),
        parent=view.context,
        context=_sibling(
            view.context, attempt_span(record.run, record.generation, scheduled.id, attempt.number)
        ),
        attributes=_attributes("activity", scheduled.name, record.id, None)
        | {"durabletask.task.task_id": scheduled.id, "tenuto.attempt": attempt.number},
        error=f"{event.failure.type}: {event.failure.message}",
    )


def _answered(view: View, event: ActivityFailed) -> bool:
    """Whether a worker's answer came in the same turn."""
    return any(
        isinstance(item.work, Arrival)
        and isinstance(item.work.what, ActivityFailed)
        and (item.work.what.command, item.work.what.attempt) == (event.command, event.attempt)
        for item in view.items
    )


def _event_taken(view: View, letter: Raise, at: datetime) -> Fact:
    sender = read_context(letter.trace)
    return Fact(
        name=f"orchestration_event||{letter.name}",
        start=at,
        end=at,
        parent=view.context,
        kind=SpanKind.CONSUMER,
        links=() if sender is None else (sender,),
        attributes=_of(view, "event") | {"durabletask.event.name": letter.name},
    )


def _event_sent(view: View, event: EventSent, at: datetime) -> Fact:
    return Fact(
        name=f"orchestration_event||{event.name}",
        start=at,
        end=at,
        parent=view.context,
        kind=SpanKind.PRODUCER,
        attributes=_of(view, "event")
        | {
            "durabletask.event.name": event.name,
            "durabletask.event.target_instance_id": event.instance,
            "durabletask.task.task_id": event.id,
        },
    )


def _orchestration(view: View, at: datetime, *, status: str, error: str | None = None) -> Fact:
    record = view.record
    attributes = _attributes("orchestration", record.workflow, record.id, view.version) | {
        "durabletask.runtime_status": status,
        "tenuto.run": record.run,
        "tenuto.generation": record.generation,
    }
    again = view.rewound  # the generation has had a span, which all that it does belongs to
    return Fact(
        name=f"orchestration||{record.workflow}",
        start=view.started,
        end=max(at, view.started),
        parent=view.context if again else parent_context(record.trace, record.run, record.generation),
        context=None if again else view.context,
        decided=True,
        kind=SpanKind.SERVER,
        links=tuple(_ancestors(record)),
        attributes=attributes,
        error=error,
    )


def _ancestors(record: InstanceRecord) -> Iterator[SpanContext]:
    """Of a later generation: the one before, and whoever started the first."""
    if record.generation == 0:
        return
    before = own_context(record.trace, record.run, record.generation - 1)
    starter = parent_context(record.trace, record.run, 0)
    yield from (context for context in (before, starter) if context is not None)


def _sibling(context: SpanContext, span_id: int) -> SpanContext:
    """Another span of the same trace."""
    return SpanContext(
        trace_id=context.trace_id,
        span_id=span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=context.trace_state,
    )


def _of(view: View, kind: str) -> dict[str, AttributeValue]:
    return _attributes(kind, view.record.workflow, view.record.id, view.version)


def _attributes(kind: str, name: str, instance: str, version: str | None) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "durabletask.type": kind,
        "durabletask.task.name": name,
        "durabletask.task.instance_id": instance,
    }
    if version is not None:
        attributes["durabletask.task.version"] = version
    return attributes
