"""What must leave the process because of a turn: tasks, timers, letters. A function of the events and the state.

Each event is asked for its effects directly before the state takes it.

    event                    effects
    TurnStarted, the first   the timer of a delayed start goes
    ActivityScheduled        its task; the timer of its deadline
    ActivityCompleted        that timer goes
    ActivityFailed           that timer goes; the timer of the wait for a retry
    ActivityRetried          that timer goes; the task, unless suspended; the timer of its deadline
    ActivityLost             the task again, alone (rule W1)
    TimerCreated             a timer
    TimerFired               that timer goes
    ChildScheduled           a Start
    ChildFailed, retried     the timer of the wait
    ChildRetried             that timer goes; a Start, unless suspended
    EventSent                a Raise
    WorkflowStarted          a Start
    LockRequested            a Start of the lock, or a Raise to it where it is in use
    TaskCancelled            timers go; a Terminate to a child; a Raise to a lock
    ExecutionResumed         what fell due meanwhile: tasks with the timers of their deadlines, Starts
    an end, ContinuedAsNew   timers go; a Terminate to each child that is not abandoned (rule N3); a Raise to each
                             lock that is held or waited for
    failed, terminated       a Start of what runs the compensations that are owed
    an end                   a ChildEnded to the parent
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from tenuto.core import ids
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityLost,
    ActivityRetried,
    ActivityScheduled,
    ChildFailed,
    ChildRetried,
    ChildScheduled,
    ContinuedAsNew,
    Event,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionResumed,
    ExecutionTerminated,
    Failure,
    LockRequested,
    Parent,
    TaskCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    WorkflowStarted,
)
from tenuto.core.letters import ChildEnded, FirstEvent, Raise, Start, Terminate
from tenuto.core.pending import (
    LiveChild,
    PendingActivity,
    PendingChild,
    PendingCompensation,
    PendingLock,
    deadline,
)
from tenuto.core.reserved import LOCK, SAGA, LockRequest, compensations, lock_instance, saga_instance
from tenuto.core.state import State
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.core.turn import START_TIMER, LetterOut, TaskOut, TimerKey, TimerSet
from tenuto.payloads import NULL, encode

__all__ = ["Effects", "terminated_failure"]


class Effects:
    """The effects of the events of one turn."""

    __slots__ = ("letters", "sent", "tasks", "timers_cleared", "timers_set")

    def __init__(self) -> None:
        self.tasks: dict[int, TaskOut] = {}
        """By command: an activity has one task at a time."""
        self.timers_set: dict[TimerKey, TimerSet] = {}
        self.timers_cleared: dict[TimerKey, None] = {}
        self.letters: list[LetterOut] = []
        self.sent: frozenset[bytes] = frozenset()
        """Events that were sent before the instance was rewound, as JSON: they are not sent twice."""

    def add(self, event: Event, state: State) -> None:
        """Take in the effects of `event`, which `state` is about to take."""
        effect = _EFFECTS.get(type(event))
        if effect is not None:
            effect(self, state, event)

    def set_timer(self, timer: TimerSet) -> None:
        """Make the timer's row, or put it at another time."""
        self.timers_cleared.pop(timer.key, None)
        self.timers_set[timer.key] = timer

    def set_deadline(self, command: ActivityScheduled, *, first: datetime, sent: datetime | None) -> None:
        """Set the timer of the activity's first deadline, if it has any."""
        fire_at = deadline(command, first=first, sent=sent)
        if fire_at is not None:
            self.set_timer(TimerSet(key=TimerKey(command=command.id), fire_at=fire_at))

    def answered(self, state: State, command: int) -> None:
        """An attempt is over: what was to go out for it does not, and its deadline goes."""
        self.tasks.pop(command, None)  # it was lost and sent again in this very turn
        pending = state.pending.get(command)
        if pending is not None and (timer := pending.timer) is not None:
            self.clear_timer(TimerKey(command=command, attempt=timer[0]))

    def clear_timer(self, key: TimerKey) -> None:
        """The timer's row goes; or, where this turn was to make it, is not made."""
        if self.timers_set.pop(key, None) is None:
            self.timers_cleared[key] = None

    def send_again(self, state: State) -> None:
        """All that is pending goes out, but children: the instance was rewound, or has another's history."""
        for task in state.tasks_out():
            self.tasks[task.scheduled.id] = task
        for timer in state.timers():
            self.set_timer(timer)

    def start_again(self, state: State, children: Iterable[PendingChild], *, rewind: bool = False) -> None:
        """Children that are pending start or, where their parent was rewound, are rewound with it."""
        for pending in children:
            self.start_child(state, pending.command, pending.instance, pending.attempt, rewind=rewind)

    def start_child(
        self, state: State, command: ChildScheduled, instance: str, attempt: int, *, rewind: bool = False
    ) -> None:
        where = (state.run, state.generation, command.id, attempt)
        start = Start(
            workflow=command.workflow,
            version=command.version,
            input=command.input,
            run=ids.child_run(*where),
            seed=ids.child_seed(*where),
            tags=command.tags,
            parent=Parent(
                instance=state.instance,
                run=state.run,
                generation=state.generation,
                command=command.id,
                attempt=attempt,
            ),
            trace=state.trace,
            rewind=rewind,
        )
        self.letters.append(LetterOut(instance=instance, letter=start))

    def end_child(self, child: LiveChild, reason: str) -> None:
        """Terminate a child, that very run, unless it was to be left alone."""
        if not child.abandon:  # rule N3
            letter = Terminate(output=NULL, reason=reason, cascade=True)
            self.letters.append(LetterOut(instance=child.instance, letter=letter, run=child.run))

    def leave(self, state: State, reason: str, *, recursive: bool = True) -> None:
        """The generation is over: its timers go, and its children as the parent-close policy says (rule N3)."""
        for timer in state.timers():
            self.clear_timer(timer.key)
        for child in state.children_alive() if recursive else ():
            self.end_child(child, reason)
        for pending in state.pending.values():
            if isinstance(pending, PendingLock):
                self.release_lock(state, pending.command)

    def release_lock(self, state: State, command: LockRequested) -> None:
        """Give a lock back, or wait for it no longer."""
        payload = _lock_request(state, command.id, wanted=False)
        letter = Raise(name=LOCK, payload=payload, sender=state.instance)
        self.letters.append(LetterOut(instance=lock_instance(command.key), letter=letter))

    def compensate(self, state: State) -> None:
        """Have what the code can no longer undo be undone."""
        owed = [p.command for p in state.pending.values() if isinstance(p, PendingCompensation)]
        if owed:
            start = _start(state, owed[0].id, workflow=SAGA, input=compensations(owed))
            self.letters.append(LetterOut(instance=saga_instance(state.instance, state.run), letter=start))

    def tell_parent(self, state: State, **outcome: Any) -> None:
        parent = state.parent
        if parent is not None:
            letter = ChildEnded(
                generation=parent.generation, command=parent.command, attempt=parent.attempt, **outcome
            )
            self.letters.append(LetterOut(instance=parent.instance, letter=letter, run=parent.run))


def terminated_failure(reason: str | None) -> Failure:
    """What the parent of a terminated instance is told."""
    message = "the workflow was terminated" if reason is None else f"the workflow was terminated: {reason}"
    return Failure(type="Terminated", message=message, retryable=False)


def _turn_started(effects: Effects, state: State, _event: TurnStarted) -> None:
    if state.awaited_start is not None:
        effects.clear_timer(START_TIMER)


def _activity_scheduled(effects: Effects, state: State, event: ActivityScheduled) -> None:
    if event.refused is not None:
        return
    key = ids.idempotency_key(state.seed, state.generation, event.id)
    effects.tasks[event.id] = TaskOut(scheduled=event, attempt=1, key=key)
    if state.time is not None:
        effects.set_deadline(event, first=state.time, sent=state.time)


def _activity_completed(effects: Effects, state: State, event: ActivityCompleted) -> None:
    effects.answered(state, event.command)


def _activity_failed(effects: Effects, state: State, event: ActivityFailed) -> None:
    effects.answered(state, event.command)
    _call_failed(effects, state, event)


def _call_failed(effects: Effects, _state: State, event: ActivityFailed | ChildFailed) -> None:
    if event.retry_at is not None:
        key = TimerKey(command=event.command, attempt=event.attempt + 1)
        effects.set_timer(TimerSet(key=key, fire_at=event.retry_at))


def _activity_retried(effects: Effects, state: State, event: ActivityRetried) -> None:
    effects.clear_timer(TimerKey(command=event.command, attempt=event.attempt))
    pending = state.pending.get(event.command)
    if not isinstance(pending, PendingActivity):
        return
    suspended = state.status is Status.SUSPENDED
    if not suspended:
        effects.tasks[event.command] = state.task(pending)
    effects.set_deadline(pending.command, first=pending.first, sent=None if suspended else state.time)


def _activity_lost(effects: Effects, state: State, event: ActivityLost) -> None:
    pending = state.pending.get(event.command)
    if isinstance(pending, PendingActivity):
        key = ids.idempotency_key(state.seed, state.generation, event.command)
        details = pending.details if event.details is None else event.details
        effects.tasks[event.command] = TaskOut(
            scheduled=pending.command,
            attempt=event.attempt,
            key=key,
            sending=pending.sending + 1,
            details=details,
        )


def _timer_created(effects: Effects, _state: State, event: TimerCreated) -> None:
    effects.set_timer(TimerSet(key=TimerKey(command=event.id), fire_at=event.fire_at))


def _timer_fired(effects: Effects, _state: State, event: TimerFired) -> None:
    effects.clear_timer(TimerKey(command=event.command))


def _child_scheduled(effects: Effects, state: State, event: ChildScheduled) -> None:
    if event.refused is None:
        effects.start_child(state, event, event.instance, 1)


def _child_retried(effects: Effects, state: State, event: ChildRetried) -> None:
    effects.clear_timer(TimerKey(command=event.command, attempt=event.attempt))
    pending = state.pending.get(event.command)
    if isinstance(pending, PendingChild) and state.status is not Status.SUSPENDED:
        effects.start_child(state, pending.command, event.instance, event.attempt)


def _event_sent(effects: Effects, state: State, event: EventSent) -> None:
    if event.refused is not None:
        return
    if effects.sent and msgspec.json.encode(event) in effects.sent:
        return
    letter = Raise(name=event.name, payload=event.payload, sender=state.instance)
    effects.letters.append(LetterOut(instance=event.instance, letter=letter))


def _workflow_started(effects: Effects, state: State, event: WorkflowStarted) -> None:
    if event.refused is not None:
        return
    start = _start(
        state, event.id, workflow=event.workflow, version=event.version, input=event.input, tags=event.tags
    )
    effects.letters.append(LetterOut(instance=event.instance, letter=start))


def _lock_requested(effects: Effects, state: State, event: LockRequested) -> None:
    start = _start(
        state,
        event.id,
        workflow=LOCK,
        input=NULL,
        reuse=ReusePolicy(action=ReuseAction.IGNORE),
        event=FirstEvent(
            name=LOCK, payload=_lock_request(state, event.id, wanted=True), sender=state.instance
        ),
    )
    effects.letters.append(LetterOut(instance=lock_instance(event.key), letter=start))


def _lock_request(state: State, command: int, *, wanted: bool) -> Raw:
    return encode(LockRequest(ticket=state.ticket(command), wanted=wanted))


def _start(state: State, command: int, **more: Any) -> Start:
    """The start of an instance that has no parent, made once however often the command is carried out."""
    where = (state.run, state.generation, command, 1)
    return Start(run=ids.child_run(*where), seed=ids.child_seed(*where), trace=state.trace, **more)


def _task_cancelled(effects: Effects, state: State, event: TaskCancelled) -> None:
    pending = state.pending.get(event.command)
    if pending is None:
        return
    effects.answered(state, event.command)
    if isinstance(pending, PendingLock):
        effects.release_lock(state, pending.command)
    elif isinstance(pending, PendingChild) and pending.is_out:
        effects.end_child(state.child(pending), "cancelled by its parent")


def _execution_resumed(effects: Effects, state: State, _event: ExecutionResumed) -> None:
    for pending in state.deferred():
        match pending:
            case PendingActivity():
                effects.tasks[pending.command.id] = state.task(pending)
                effects.set_deadline(pending.command, first=pending.first, sent=state.time)
            case PendingChild():
                effects.start_child(state, pending.command, pending.instance, pending.attempt)


def _execution_completed(effects: Effects, state: State, event: ExecutionCompleted) -> None:
    effects.leave(state, "its parent has completed")
    effects.tell_parent(state, result=event.result)


def _execution_failed(effects: Effects, state: State, event: ExecutionFailed) -> None:
    effects.leave(state, "its parent has failed")
    effects.compensate(state)
    effects.tell_parent(state, failure=event.failure)


def _execution_terminated(effects: Effects, state: State, event: ExecutionTerminated) -> None:
    cause = "" if event.reason is None else f": {event.reason}"
    effects.leave(state, f"its parent was terminated{cause}", recursive=event.recursive)
    effects.compensate(state)
    effects.tell_parent(state, failure=terminated_failure(event.reason), cascade=event.cascade)


def _continued_as_new(effects: Effects, state: State, _event: ContinuedAsNew) -> None:
    effects.leave(state, "its parent continued as new")


_EFFECTS: Mapping[type[Event], Callable[[Effects, State, Any], None]] = MappingProxyType(
    {
        TurnStarted: _turn_started,
        ActivityScheduled: _activity_scheduled,
        ActivityCompleted: _activity_completed,
        ActivityFailed: _activity_failed,
        ActivityRetried: _activity_retried,
        ActivityLost: _activity_lost,
        TimerCreated: _timer_created,
        TimerFired: _timer_fired,
        ChildScheduled: _child_scheduled,
        ChildFailed: _call_failed,
        ChildRetried: _child_retried,
        EventSent: _event_sent,
        WorkflowStarted: _workflow_started,
        LockRequested: _lock_requested,
        TaskCancelled: _task_cancelled,
        ExecutionResumed: _execution_resumed,
        ExecutionCompleted: _execution_completed,
        ExecutionFailed: _execution_failed,
        ExecutionTerminated: _execution_terminated,
        ContinuedAsNew: _continued_as_new,
    }
)
"""Events without an entry have no effects."""
