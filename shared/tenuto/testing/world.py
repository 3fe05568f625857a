"""A world without processes, messages and clocks, in which instances run on the pure core.

What is due is done in order of its virtual time; when nothing is due now, the clock jumps to what comes next. One thing
is done at a time, and nothing depends on real time, so a test sees the same on every run.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

from tenuto import activity, builtins, payloads
from tenuto.activity import ActivityContext
from tenuto.app import App
from tenuto.core.definitions import ActivityDefinition
from tenuto.core.events import ActivityCompleted, ActivityFailed, Event, ExecutionStarted, Failure
from tenuto.core.execution import Execution, advance, replay
from tenuto.core.failures import failure_from
from tenuto.core.letters import (
    ChildEnded,
    Continue,
    FirstEvent,
    Letter,
    Raise,
    Resume,
    Start,
    Suspend,
    Terminate,
)
from tenuto.core.pending import PendingActivity
from tenuto.core.reserved import is_reserved
from tenuto.core.status import ReuseAction, Status
from tenuto.core.timeouts import timeout_failure
from tenuto.core.turn import Arrival, LetterOut, TaskOut, TimerDue, TimerKey, TimerSet, Turn
from tenuto.errors import NonDeterminismError, UsageError
from tenuto.testing.mocks import Call, Mocks

__all__ = ["Life", "World"]

Action: TypeAlias = Callable[[], Awaitable[None] | None]


@dataclass(kw_only=True)
class Life:
    """One run of an instance."""

    id: str
    run: str
    execution: Execution
    history: list[Event]
    """Of the present generation."""
    custom_status: bytes | None = None
    arrivals: deque[Arrival] = field(default_factory=deque)
    timers: dict[TimerKey, datetime] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        state = self.execution.state
        if state.status is Status.PENDING and state.generation > 0:
            return Status.RUNNING
        return state.status


class World:
    """Instances, what is due to happen to them, and a clock."""

    def __init__(self, app: App, now: datetime, mocks: Mocks) -> None:
        self.app = app
        self.resolve = builtins.resolver(app)
        self.now = now
        self.mocks = mocks
        self.calls: list[Call] = []
        self.lives: dict[str, Life] = {}
        self._due: list[tuple[datetime, int, Action]] = []
        self._order = itertools.count()
        self._ready: deque[Life] = deque()

    @property
    def next_at(self) -> datetime | None:
        """When something is to happen next; None: nothing ever will by itself."""
        if self._ready:
            return self.now
        return self._due[0][0] if self._due else None

    async def step(self) -> None:
        """Do what comes next."""
        if self._ready:
            self._take_turn(self._ready.popleft())
            return
        at, _, action = heapq.heappop(self._due)
        self.now = max(self.now, at)
        done = action()
        if done is not None:
            await done

    def after(self, delay: timedelta, action: Action) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._order), action))

    def begin(self, instance: str, start: Start) -> Life:
        """Make an instance, which takes its first turn with the next step.

        Raises:
            UsageError: the id has a live instance, or nobody knows the workflow.
        """
        latest = self.app.latest(start.workflow)
        version = latest.version if start.version is None and latest is not None else start.version
        if self.resolve(start.workflow, version) is None:
            known = ", ".join(sorted(self.app.workflows)) or "none"
            raise UsageError(
                f"There is no workflow {start.workflow!r} {'' if version is None else version!r} here; there are: "
                f"{known}. Give the environment the app that has it, or mock it."
            )
        if instance in self.lives and not self.lives[instance].status.is_terminal:
            raise UsageError(f"There is a live instance {instance!r} already.")
        started = ExecutionStarted(
            workflow=start.workflow,
            version=version,
            input=start.input,
            seed=start.seed,
            at=self.now,
            parent=start.parent,
            tags=start.tags,
            start_at=start.start_at,
        )
        execution = replay(self.resolve, instance, start.run, [started])
        life = Life(id=instance, run=start.run, execution=execution, history=[started])
        if start.event is not None:
            life.arrivals.append(_first_event(start.event, start.run))
        self.lives[instance] = life
        self._ready.append(life)
        return life

    def deliver(self, out: LetterOut) -> None:
        """Hand a letter to its instance."""
        if isinstance(out.letter, Start):
            self._start(out.instance, out.letter)
            return
        life = self.lives.get(out.instance)
        if life is not None and not life.status.is_terminal:
            self._arrive(life, _arrival(out.letter, out.run))

    # Turns --------------------------------------------------------------------------------------------------

    def _arrive(self, life: Life, arrival: Arrival) -> None:
        life.arrivals.append(arrival)
        self._ready.append(life)

    def _take_turn(self, life: Life) -> None:
        if life.status.is_terminal:
            life.arrivals.clear()
            return
        arrivals = list(life.arrivals)
        life.arrivals.clear()
        turn = advance(life.execution, arrivals, self.now)
        generation = life.execution.state.generation - (1 if turn.next_generation else 0)
        if turn.next_generation:
            life.history = list(turn.next_generation)
        else:
            life.history += turn.events
        status = life.execution.custom_status
        life.custom_status = life.custom_status if status is None else status
        self._check_replay(life)
        self._carry_out(life, turn, generation)

    def _check_replay(self, life: Life) -> None:
        """Every turn is replayed from nothing: what does not replay must not pass a test."""
        execution = life.execution
        again = replay(self.resolve, life.id, life.run, life.history)
        try:
            if again.stalled is not None and execution.stalled is None:
                raise again.stalled
            if again.state.status is not execution.state.status:
                raise NonDeterminismError(
                    f"instance {life.id!r} is {execution.state.status}, and after a replay {again.state.status}"
                )
        finally:
            again.abandon()

    def _carry_out(self, life: Life, turn: Turn, generation: int) -> None:
        for key in turn.timers_cleared:
            life.timers.pop(key, None)
        for timer in turn.timers_set:
            self._set_timer(life, generation, timer)
        for task in turn.tasks:
            self.after(timedelta(), partial(self._perform, life, generation, task))
        for letter in turn.letters:
            self.deliver(letter)

    def _set_timer(self, life: Life, generation: int, timer: TimerSet) -> None:
        life.timers[timer.key] = timer.fire_at
        self.after(timer.fire_at - self.now, partial(self._fire, life, generation, timer))

    def _fire(self, life: Life, generation: int, timer: TimerSet) -> None:
        if life.timers.get(timer.key) != timer.fire_at:
            return
        pending = life.execution.state.pending.get(timer.key.command)
        if isinstance(pending, PendingActivity) and pending.waiting_until is None:
            # Its deadline. Activities begin at once here, so none is ever late to start.
            if pending.close_by is None:
                return
            if pending.close_by > self.now:
                self._set_timer(life, generation, TimerSet(key=timer.key, fire_at=pending.close_by))
                return
        what = TimerDue(command=timer.key.command, attempt=timer.key.attempt)
        self._arrive(life, Arrival(what=what, run=life.run, generation=generation))

    # Activities ---------------------------------------------------------------------------------------------

    async def _perform(self, life: Life, generation: int, task: TaskOut) -> None:
        scheduled = task.scheduled
        if not life.execution.state.is_pending(scheduled.id, task.attempt):
            return  # cancelled, or its workflow is over
        definition = self.app.find_activity(scheduled.name)
        mock, takes = self.mocks.next(scheduled.name)
        if definition is None and not mock.stands_in:
            raise UsageError(
                f"Instance {life.id!r} calls the activity {scheduled.name!r}, which the app does not have: mock it."
            )
        limit = scheduled.start_to_close
        context = ActivityContext(
            instance_id=life.id,
            workflow=life.execution.state.workflow,
            activity=scheduled.name,
            attempt=task.attempt,
            idempotency_key=task.key,
            generation=generation,
            command=scheduled.id,
            started_at=self.now,
            deadline=None if limit is None else self.now + timedelta(seconds=limit),
        )
        try:
            value = (
                payloads.decode(scheduled.input, Any)
                if definition is None
                else definition.decode_input(scheduled.input)
            )
            self.calls.append(
                Call(
                    name=scheduled.name,
                    input=value,
                    instance_id=life.id,
                    attempt=task.attempt,
                    at=self.now,
                    idempotency_key=task.key,
                )
            )
            with activity.provide(context):
                result = await (mock.outcome(value) if mock.stands_in else _run(definition, context, value))
            what: ActivityCompleted | ActivityFailed = ActivityCompleted(
                command=scheduled.id, attempt=task.attempt, result=payloads.encode(result)
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the activity has failed
            what = ActivityFailed(command=scheduled.id, attempt=task.attempt, failure=failure_from(error))
        if limit is not None and takes > timedelta(seconds=limit):
            takes = timedelta(seconds=limit)
            failure = timeout_failure(
                "start_to_close", limit, activity=scheduled.name, instance=life.id, attempt=task.attempt
            )
            what = ActivityFailed(command=scheduled.id, attempt=task.attempt, failure=failure)
        self.after(
            takes, partial(self._arrive, life, Arrival(what=what, run=life.run, generation=generation))
        )

    # Children -----------------------------------------------------------------------------------------------

    def _start(self, instance: str, start: Start) -> None:
        """A workflow asks for another: a child, a detached start, or something built in."""
        mock, takes = self.mocks.next(start.workflow)
        value: Any = None
        if not is_reserved(start.workflow):
            value = self._record_start(instance, start)
        if mock.stands_in:
            self.after(takes, partial(self._end_mocked, start, mock.outcome, value))
            return
        self.after(takes, partial(self._admit, instance, start))

    def _admit(self, instance: str, start: Start) -> None:
        taken = self.lives.get(instance)
        action = None if taken is None else start.reuse.decide(taken.status)
        if taken is None or action is None:
            self.begin(instance, start)
        elif action is ReuseAction.IGNORE:
            if start.event is not None and not taken.status.is_terminal:
                self._arrive(taken, _first_event(start.event, taken.run))
        else:
            message = f"instance {instance!r} exists and is {taken.status}"
            self._tell_parent(
                start, failure=Failure(type="AlreadyExistsError", message=message, retryable=False)
            )

    def _record_start(self, instance: str, start: Start) -> Any:
        definition = self.resolve(start.workflow, start.version) or self.app.latest(start.workflow)
        value = (
            payloads.decode(start.input, Any) if definition is None else definition.decode_input(start.input)
        )
        parent = start.parent
        self.calls.append(
            Call(
                name=start.workflow,
                input=value,
                instance_id=instance if parent is None else parent.instance,
                attempt=1 if parent is None else parent.attempt,
                at=self.now,
            )
        )
        return value

    async def _end_mocked(self, start: Start, outcome: Callable[[Any], Awaitable[Any]], value: Any) -> None:
        try:
            result = payloads.encode(await outcome(value))
        except Exception as error:  # noqa: BLE001 - whatever it is, the child has failed
            self._tell_parent(start, failure=failure_from(error))
        else:
            self._tell_parent(start, result=result)

    def _tell_parent(self, start: Start, **outcome: Any) -> None:
        parent = start.parent
        if parent is not None:
            ended = ChildEnded(
                generation=parent.generation, command=parent.command, attempt=parent.attempt, **outcome
            )
            self.deliver(LetterOut(instance=parent.instance, letter=ended, run=parent.run))


async def _run(definition: ActivityDefinition | None, context: ActivityContext, value: Any) -> Any:
    assert definition is not None  # noqa: S101 - the caller has seen to it
    if definition.is_async:
        return await definition.call(context, value)
    return await asyncio.to_thread(definition.call, context, value)


def _first_event(event: FirstEvent, run: str) -> Arrival:
    return Arrival(what=Raise(name=event.name, payload=event.payload, sender=event.sender), run=run)


def _arrival(letter: Letter, run: str | None) -> Arrival:
    match letter:
        case ChildEnded(generation=generation) | Continue(generation=generation):
            return Arrival(what=letter, run=run, generation=generation)
        case Raise() | Suspend() | Resume() | Terminate():
            return Arrival(what=letter, run=run)
        case _:
            raise TypeError(f"{type(letter).__name__} is no letter to a workflow")
