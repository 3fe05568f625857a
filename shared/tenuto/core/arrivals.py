"""What an arrival means to an instance: an event to record, or nothing, with the reason in words.

Here is where deliveries that come twice, late or to nobody are told from those that count (rule N1): an answer
counts only while exactly its instance, run, generation, command and attempt is pending.
"""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any, TypeAlias, assert_never

import msgspec

from tenuto import payloads
from tenuto.core import ids
from tenuto.core.code import UNDECODED, Code
from tenuto.core.durations import after
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityLost,
    ActivityRetried,
    ChildCompleted,
    ChildFailed,
    ChildRetried,
    EventRaised,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
    Failure,
    Notification,
    TimerFired,
)
from tenuto.core.failures import payload_failure
from tenuto.core.letters import ChildEnded, Continue, Raise, Resume, Suspend, Terminate
from tenuto.core.pending import PendingActivity, PendingChild, PendingCompensation, PendingLock, PendingTimer
from tenuto.core.reserved import granted_ticket
from tenuto.core.retry import Retry, RetryPolicy, seconds
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.core.timeouts import timeout_failure
from tenuto.core.turn import Arrival, TaskLost, TaskOut, TimedOut, TimerDue
from tenuto.errors import PayloadError, StalledError, TenutoError
from tenuto.payloads import NULL

__all__ = ["Ignored", "Judge", "Taken", "Verdict"]

_NOT_PENDING = "nobody waits for it (any more): it has been answered, cancelled, or is of another attempt"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """It counts, as this event. `value` is its decoded result; `dead` a task that has been lost too often."""

    event: Notification
    value: Any = UNDECODED
    dead: TaskOut | None = None


class Ignored(msgspec.Struct, frozen=True):
    """It changes nothing."""

    reason: str


Verdict: TypeAlias = Taken | Ignored


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Judges the arrivals of one turn.

    Raises, from any of its methods:
        StalledError: the code is needed to tell (its type hints, its retry policies), and there is none, or it
            failed to tell.
    """

    state: State
    code: Code | None
    stalled: TenutoError | None
    """Why there is no code."""
    at: datetime
    max_losses: int
    max_payload_bytes: int

    def judge(self, arrival: Arrival) -> Verdict:
        if (reason := self._misdirected(arrival)) is not None:  # rule N1
            return Ignored(reason)
        match arrival.what:
            case ActivityCompleted() as what:
                verdict = self._activity_completed(what)
            case ActivityFailed() as what:
                verdict = self._activity_failed(what)
            case TimerDue() as what:
                verdict = self._timer_due(what)
            case TaskLost() as what:
                verdict = self._task_lost(what)
            case TimedOut() as what:
                verdict = self._timed_out(what)
            case ChildEnded() as what:
                verdict = self._child_ended(what)
            case Continue() as what:
                verdict = Ignored(f"generation {what.generation} has begun already")
            case Raise() | Suspend() | Resume() | Terminate() as what:
                verdict = self._request(what)
            case _:
                assert_never(arrival.what)
        return verdict

    def _misdirected(self, arrival: Arrival) -> str | None:
        state = self.state
        if arrival.run is not None and arrival.run != state.run:
            return f"it is for run {arrival.run}, and this is run {state.run}"
        if arrival.generation is not None and arrival.generation != state.generation:
            return f"it is for generation {arrival.generation}, and this is generation {state.generation}"
        if state.status.is_terminal:
            return f"the instance has ended ({state.status})"
        if isinstance(arrival.what, Raise) and self._is_stray_grant(arrival.what):
            return _NOT_PENDING
        return None

    def _request(self, what: Raise | Suspend | Resume | Terminate) -> Verdict:
        suspended = self.state.status is Status.SUSPENDED
        match what:
            case Raise():
                return Taken(event=EventRaised(name=what.name, payload=what.payload, sender=what.sender))
            case Suspend():
                if suspended:
                    return Ignored("the instance is suspended already")
                return Taken(event=ExecutionSuspended(reason=what.reason))
            case Resume():
                if not suspended:
                    return Ignored("the instance is not suspended")
                return Taken(event=ExecutionResumed(reason=what.reason))
            case Terminate():
                return Taken(
                    event=ExecutionTerminated(
                        output=what.output, reason=what.reason, recursive=what.recursive, cascade=what.cascade
                    )
                )
            case _:
                assert_never(what)

    def _is_stray_grant(self, what: Raise) -> bool:
        """Whether it grants a lock that is no longer wanted. That has been given back already."""
        ticket = granted_ticket(what.name, what.payload)
        if ticket is None:
            return False
        wanted = isinstance(self.state.pending.get(ticket.command), PendingLock)
        return not (wanted and ticket == self.state.ticket(ticket.command))

    def _activity_completed(self, what: ActivityCompleted) -> Verdict:
        if not self.state.is_pending(what.command, what.attempt):  # rule N1
            return Ignored(_NOT_PENDING)
        try:
            payloads.check_size(what.result, self.max_payload_bytes, "the result")
            return Taken(event=what, value=self._code().decode(what.command, what.result))
        except PayloadError as error:
            # Recorded as a failure, so that a replay need not guess whether it did fit when it came.
            failure = payload_failure(str(error))
            return Taken(event=ActivityFailed(command=what.command, attempt=what.attempt, failure=failure))

    def _activity_failed(self, what: ActivityFailed) -> Verdict:
        if not self.state.is_pending(what.command, what.attempt):  # rule N1
            return Ignored(_NOT_PENDING)
        retry_at = self._retry_at(what.command, what.attempt, what.failure)
        return Taken(
            event=ActivityFailed(
                command=what.command,
                attempt=what.attempt,
                failure=what.failure,
                retry_at=retry_at,
                details=None if retry_at is None else what.details,
            )
        )

    def _timed_out(self, what: TimedOut) -> Verdict:
        """Its worker did not say so, and is not heard of any more, or is not to be trusted (rule W4)."""
        pending = self.state.pending.get(what.command)
        allowed = getattr(pending.command, what.limit) if isinstance(pending, PendingActivity) else None
        if not isinstance(pending, PendingActivity) or allowed is None:
            return Ignored(_NOT_PENDING)
        failure = timeout_failure(
            what.limit,
            allowed,
            activity=pending.command.name,
            instance=self.state.instance,
            attempt=what.attempt,
        )
        return self._activity_failed(
            ActivityFailed(command=what.command, attempt=what.attempt, failure=failure, details=what.details)
        )

    def _timer_due(self, what: TimerDue) -> Verdict:
        pending = self.state.pending.get(what.command)
        if isinstance(pending, PendingActivity) and what.attempt == 0:
            return self._deadline_passed(pending)
        if pending is None or pending.attempt != what.attempt or pending.waiting_until is None:
            return Ignored(_NOT_PENDING)
        match pending:
            case PendingTimer():
                return Taken(event=TimerFired(command=what.command))
            case PendingActivity():
                return Taken(event=ActivityRetried(command=what.command, attempt=what.attempt))
            case PendingChild():
                child = ids.retried_instance(pending.command.instance, what.attempt)
                return Taken(event=ChildRetried(command=what.command, attempt=what.attempt, instance=child))
            case PendingLock() | PendingCompensation():
                return Ignored(_NOT_PENDING)
            case _:
                assert_never(pending)

    def _deadline_passed(self, pending: PendingActivity) -> Verdict:
        """Neither of the limits that are enforced here is worth another attempt."""
        failure = None if pending.waiting_until else pending.overdue(self.at, self.state.instance)
        if failure is None:
            return Ignored("no deadline of the activity has passed")
        return Taken(
            event=ActivityFailed(command=pending.command.id, attempt=pending.attempt, failure=failure)
        )

    def _task_lost(self, what: TaskLost) -> Verdict:
        """It goes out again, alone; only losses of a task that was alone are counted. A takeover or a doubtful confirm
        may have sent it twice, and then it is lost twice when one worker dies: the second loss is that of an earlier
        sending, and neither counted nor made up for once more."""
        pending = self.state.pending.get(what.command)
        if not self.state.is_pending(what.command, what.attempt) or not isinstance(pending, PendingActivity):
            return Ignored(_NOT_PENDING)
        if what.sending is not None and what.sending < pending.sending:
            return Ignored("the task has been sent again since")
        losses = pending.losses + (1 if what.counted else 0)
        if losses <= self.max_losses:  # rule W1
            lost = ActivityLost(
                command=what.command, attempt=what.attempt, losses=losses, details=what.details
            )
            return Taken(event=lost)
        failure = Failure(
            type="WorkerLostError",
            message=f"activity {pending.command.name!r} was lost with its worker {losses} times, though sent alone",
            retryable=False,
        )
        return Taken(
            event=ActivityFailed(command=what.command, attempt=what.attempt, failure=failure),
            dead=self.state.task(pending),
        )

    def _child_ended(self, what: ChildEnded) -> Verdict:
        pending = self.state.pending.get(what.command)
        if (
            what.generation != self.state.generation
            or not isinstance(pending, PendingChild)
            or pending.attempt != what.attempt
            or not pending.is_out
        ):
            return Ignored(_NOT_PENDING)
        if what.cascade:
            return Ignored("this instance itself terminated the child, before it was rewound")
        if what.failure is not None:
            retry_at = self._retry_at(what.command, what.attempt, what.failure)
            return Taken(
                event=ChildFailed(
                    command=what.command, attempt=what.attempt, failure=what.failure, retry_at=retry_at
                )
            )
        result = NULL if what.result is None else what.result
        try:
            value = self._code().decode(what.command, result)
        except PayloadError as error:
            failure = payload_failure(str(error))
            return Taken(event=ChildFailed(command=what.command, attempt=what.attempt, failure=failure))
        return Taken(
            event=ChildCompleted(command=what.command, attempt=what.attempt, result=result), value=value
        )

    def _retry_at(self, command: int, attempt: int, failure: Failure) -> datetime | None:
        """When the next attempt is to begin; None: there is none, and the code is told of the failure."""
        policy = self._code().retry(command)
        if policy is None or not failure.retryable:
            return None
        pending = self.state.pending[command]
        counted = attempt - pending.base if isinstance(pending, PendingActivity) else attempt
        delay = self._delay(policy, command, counted, failure, pending.first)
        retry_at = None if delay is None else after(self.at, delay)
        close_by = pending.close_by if isinstance(pending, PendingActivity) else None
        # An attempt that would begin after the deadline of all of them is not made.
        return None if retry_at and close_by and retry_at >= close_by else retry_at

    def _delay(
        self, policy: Retry, command: int, attempt: int, failure: Failure, first: datetime
    ) -> float | None:
        if isinstance(policy, RetryPolicy):
            chance = Random(f"{self.state.seed}:{self.state.generation}:{command}:{attempt}")  # noqa: S311 - jitter
            return policy.delay(failure, attempt, (self.at - first).total_seconds(), chance)
        try:
            wait = policy(failure, attempt)
            return None if wait is None else seconds(wait)
        except Exception as error:
            raise StalledError(
                f"the retry policy of command {command} of instance {self.state.instance!r} raised "
                f"{type(error).__name__}: {error}"
            ) from error

    def _code(self) -> Code:
        if self.code is None:
            raise StalledError(f"instance {self.state.instance!r} cannot go on: {self.stalled}")
        return self.code
