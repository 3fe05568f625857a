"""What each event does to a state, joined to the events by the table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityLost,
    ActivityRetried,
    ActivityScheduled,
    ChildCompleted,
    ChildFailed,
    ChildRetried,
    ChildScheduled,
    CompensationAdded,
    ContinuedAsNew,
    Event,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    LockRequested,
    PatchRecorded,
    TaskCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    WorkflowStarted,
)
from tenuto.core.pending import (
    PendingActivity,
    PendingChild,
    PendingCompensation,
    PendingLock,
    PendingTimer,
)
from tenuto.core.status import Status

if TYPE_CHECKING:
    from tenuto.core.state import State

__all__ = ["FOLD"]


def _execution_started(state: State, event: ExecutionStarted) -> None:
    state.workflow = event.workflow
    state.version = event.version
    state.seed = event.seed
    state.generation = event.generation
    state.parent = event.parent
    state.tags = event.tags
    state.reply = event.reply
    state.trace = event.trace
    state.input = event.input
    state.children = event.children
    state.start_at = event.start_at
    state.time = state.started = event.at
    if event.generation > 0:  # the instance has been running in earlier generations
        state.status = Status.RUNNING


def _turn_started(state: State, event: TurnStarted) -> None:
    state.time = event.at
    state.begun = True
    if event.version is not None:
        state.version = event.version
    if state.status is Status.PENDING:
        state.status = Status.RUNNING


def _activity_scheduled(state: State, event: ActivityScheduled) -> None:
    state.next_command = event.id + 1
    if event.refused is not None:
        return
    time = _time(state)
    state.pending[event.id] = PendingActivity(command=event, first=time, sent=time)
    _count_out(state, event, 1)


def _activity_completed(state: State, event: ActivityCompleted) -> None:
    _drop(state, event.command)


def _activity_failed(state: State, event: ActivityFailed) -> None:
    pending = state.pending.get(event.command)
    if event.retry_at is None or not isinstance(pending, PendingActivity):
        _drop(state, event.command)
        return
    _count_out(state, pending.command, -pending.is_out)
    pending.fail(event)


def _activity_retried(state: State, event: ActivityRetried) -> None:
    pending = state.pending.get(event.command)
    if isinstance(pending, PendingActivity):
        _end_wait(state, pending)
        pending.sent = _time(state)
        _count_out(state, pending.command, +pending.is_out)


def _activity_lost(state: State, event: ActivityLost) -> None:
    pending = state.pending.get(event.command)
    if isinstance(pending, PendingActivity):
        pending.lose(event)


def _timer_created(state: State, event: TimerCreated) -> None:
    state.next_command = event.id + 1
    state.pending[event.id] = PendingTimer(command=event, first=_time(state))


def _timer_fired(state: State, event: TimerFired) -> None:
    _drop(state, event.command)


def _child_scheduled(state: State, event: ChildScheduled) -> None:
    state.next_command = event.id + 1
    state.children += 1
    if event.refused is not None:
        return
    state.pending[event.id] = PendingChild(command=event, first=_time(state), instance=event.instance)


def _child_completed(state: State, event: ChildCompleted) -> None:
    _drop(state, event.command)


def _child_failed(state: State, event: ChildFailed) -> None:
    pending = state.pending.get(event.command)
    if event.retry_at is None or not isinstance(pending, PendingChild):
        _drop(state, event.command)
        return
    pending.attempt = event.attempt + 1
    pending.waiting_until = event.retry_at


def _child_retried(state: State, event: ChildRetried) -> None:
    pending = state.pending.get(event.command)
    if isinstance(pending, PendingChild):
        pending.instance = event.instance
        _end_wait(state, pending)


def _lock_requested(state: State, event: LockRequested) -> None:
    state.next_command = event.id + 1
    state.pending[event.id] = PendingLock(command=event, first=_time(state))


def _compensation_added(state: State, event: CompensationAdded) -> None:
    state.next_command = event.id + 1
    if event.call.refused is not None:
        return
    state.pending[event.id] = PendingCompensation(command=event, first=_time(state))


def _workflow_started(state: State, event: WorkflowStarted) -> None:
    state.next_command = event.id + 1
    state.children += 1


def _command_without_answer(state: State, event: EventSent | PatchRecorded) -> None:
    state.next_command = event.id + 1


def _task_cancelled(state: State, event: TaskCancelled) -> None:
    state.next_command = event.id + 1
    _drop(state, event.command)


def _event_raised(_state: State, _event: EventRaised) -> None:
    """Only the code knows who waits for it."""


def _execution_suspended(state: State, event: ExecutionSuspended) -> None:
    state.status = Status.SUSPENDED
    state.reason = event.reason


def _execution_resumed(state: State, event: ExecutionResumed) -> None:
    state.status = Status.RUNNING if state.begun or state.generation > 0 else Status.PENDING
    state.reason = event.reason
    for pending in state.deferred():
        pending.deferred = False
        if isinstance(pending, PendingActivity):
            pending.sent = _time(state)
            _count_out(state, pending.command, 1)
    state.deferred_commands = []


def _execution_rewound(state: State, event: ExecutionRewound) -> None:
    state.reason = event.reason
    state.started = state.rewound_at = event.at
    for command in event.again:
        pending = state.pending.get(command)
        if isinstance(pending, PendingActivity):
            pending.rewind(event.at)


def _execution_rerun(state: State, event: ExecutionRerun) -> None:
    state.reason = None
    state.started = event.at
    state.rewound_at = None
    state.seed = event.seed
    state.replaced = event.command if event.replaced else None
    if state.time is not None:
        for pending in state.pending.values():
            pending.postpone(event.at - state.time)


def _execution_terminated(state: State, event: ExecutionTerminated) -> None:
    state.status = Status.TERMINATED
    state.output = event.output
    state.reason = event.reason
    state.forget_all()


def _execution_completed(state: State, event: ExecutionCompleted) -> None:
    state.next_command = event.id + 1
    state.status = Status.COMPLETED
    state.output = event.result
    state.forget_all()


def _execution_failed(state: State, event: ExecutionFailed) -> None:
    state.next_command = event.id + 1
    state.status = Status.FAILED
    state.failure = event.failure
    state.forget_all()


def _continued_as_new(state: State, event: ContinuedAsNew) -> None:
    state.next_command = event.id + 1
    state.forget_all()


def _time(state: State) -> datetime:
    if state.time is None or not state.begun:
        raise ValueError(f"the history of instance {state.instance!r} has a command before its first turn")
    return state.time


def _count_out(state: State, command: ActivityScheduled, change: int) -> None:
    """So many more tasks of the activity, one or none, are out."""
    state.tasks_pending += change
    if command.local:
        return
    out = state.tasks_by_pool.get(command.pool, 0) + change
    if out:
        state.tasks_by_pool[command.pool] = out
    else:
        state.tasks_by_pool.pop(command.pool, None)


def _drop(state: State, command: int) -> None:
    pending = state.pending.pop(command, None)
    if isinstance(pending, PendingActivity):
        _count_out(state, pending.command, -pending.is_out)


def _end_wait(state: State, pending: PendingActivity | PendingChild) -> None:
    pending.waiting_until = None
    if state.status is Status.SUSPENDED:
        pending.deferred = True
        state.deferred_commands.append(pending.command.id)


FOLD: Mapping[type[Event], Callable[[State, Any], None]] = MappingProxyType(
    {
        ExecutionStarted: _execution_started,
        TurnStarted: _turn_started,
        ActivityCompleted: _activity_completed,
        ActivityFailed: _activity_failed,
        ActivityRetried: _activity_retried,
        ActivityLost: _activity_lost,
        TimerFired: _timer_fired,
        ChildCompleted: _child_completed,
        ChildFailed: _child_failed,
        ChildRetried: _child_retried,
        EventRaised: _event_raised,
        ExecutionSuspended: _execution_suspended,
        ExecutionResumed: _execution_resumed,
        ExecutionTerminated: _execution_terminated,
        ExecutionRewound: _execution_rewound,
        ExecutionRerun: _execution_rerun,
        ActivityScheduled: _activity_scheduled,
        TimerCreated: _timer_created,
        ChildScheduled: _child_scheduled,
        EventSent: _command_without_answer,
        PatchRecorded: _command_without_answer,
        WorkflowStarted: _workflow_started,
        LockRequested: _lock_requested,
        CompensationAdded: _compensation_added,
        TaskCancelled: _task_cancelled,
        ExecutionCompleted: _execution_completed,
        ExecutionFailed: _execution_failed,
        ContinuedAsNew: _continued_as_new,
    }
)
