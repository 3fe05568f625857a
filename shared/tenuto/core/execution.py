"""Executions: `replay` makes one from a history, `advance` takes it one turn further.

    execution = replay(app.resolve, instance, run, history)
    turn = advance(execution, arrivals, now)       # commit turn.events, then let the rest out

An execution stays resident between turns, so that a turn costs its new events, not the whole history. It can be
dropped at any time (`abandon` it first) and made again from the history.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tenuto.core.arrivals import Ignored, Judge
from tenuto.core.code import UNDECODED, Code
from tenuto.core.definitions import Resolver
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    ContinuedAsNew,
    Event,
    EventRaised,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTerminated,
    Notification,
    TimerFired,
    TurnStarted,
    rewound,
)
from tenuto.core.letters import Continue, Terminate
from tenuto.core.mismatch import explain_custom_status
from tenuto.core.playback import Playback
from tenuto.core.recorder import Recorder
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, Turn
from tenuto.core.turn_builder import TurnBuilder
from tenuto.errors import NonDeterminismError, StalledError, TenutoError, UnknownWorkflowError

__all__ = ["Execution", "Resolver", "advance", "compare_custom_status", "replay"]

_BASE_BYTES = 8 * 1024
"""What an execution holds before it has done anything: frames, tasks, dictionaries (measured, rounded up)."""
_PENDING_BYTES = 1024


class Execution:
    """An instance with its code, in memory. `replay` makes it and `advance` changes it; others only read."""

    __slots__ = (
        "_bytes",
        "_held",
        "_recorder",
        "_resolve",
        "_status",
        "_tags",
        "code",
        "stalled",
        "state",
        "strict",
    )

    def __init__(self, resolve: Resolver, recorder: Recorder) -> None:
        self.state = recorder.state
        self.code: Code | None = None
        """None where no code can run; see `stalled`."""
        self.stalled: TenutoError | None = None
        """Why no code can run: `UnknownWorkflowError`, `NonDeterminismError`, `WorkflowCodeError` …"""
        self._resolve = resolve
        self._recorder = recorder
        self._held: deque[tuple[Notification, Any]] = deque()
        """Kept from the code while the instance is suspended."""
        self._status: bytes | None = None
        self.strict = False
        """Whether a replay compares inputs, outputs and custom status too."""
        self._tags: Mapping[str, str] = {}
        self._bytes = _BASE_BYTES

    @property
    def instance(self) -> str:
        return self.state.instance

    @property
    def run(self) -> str:
        return self.state.run

    @property
    def custom_status(self) -> bytes | None:
        """JSON that the code set last; None: it never has, as far as this execution knows."""
        set_now = None if self.code is None else self.code.custom_status
        return self._status if set_now is None else set_now

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the start, with what the code has made of them since."""
        return self._tags if self.code is None else self.code.tags(self.state.tags)

    @property
    def size(self) -> int:
        """About how many bytes it keeps in memory: at most, since the code may keep whatever it was told."""
        return self._bytes + _PENDING_BYTES * len(self.state.pending)

    @property
    def waiting_events(self) -> int:
        """How many external events nobody has taken, and whatever else is held while suspended."""
        return len(self._held) + (0 if self.code is None else self.code.mailbox.kept)

    def abandon(self) -> None:
        """Drop the code. `finally` blocks run, but cannot ask for anything. No use of it is left afterwards."""
        if self.code is not None:
            self._status, self._tags = self.custom_status, self.tags
            self.code.abandon()
            self.code = None

    # For `replay` and `advance`.

    def attach(self, recorder: Recorder) -> None:
        """From now on events go to this recorder."""
        self._recorder = recorder
        if self.code is not None:
            self.code.attach(recorder)

    def judge(self, builder: TurnBuilder, max_losses: int) -> Judge:
        """Who tells which arrivals count, as things stand now in the turn that `builder` makes."""
        return Judge(
            state=self.state,
            code=self.code,
            stalled=self.stalled,
            at=builder.at,
            max_losses=max_losses,
            max_payload_bytes=builder.max_payload_bytes,
        )

    def notify(self, event: Notification, value: Any = UNDECODED) -> None:
        """Record what the world answered, and let the code go on with it, or hold it while suspended.

        Raises:
            StalledError: live, the code is needed and cannot go on. The execution is spoiled.
        """
        self._recorder.record(event)
        match event:
            case ActivityCompleted() | ChildCompleted() | TimerFired() | EventRaised():
                self._deliver(event, value)
            case ActivityFailed() | ChildFailed():
                if event.retry_at is None:
                    self._deliver(event, value)
            case TurnStarted() | ExecutionResumed():
                self._proceed()
            case ExecutionStarted():
                self._load()
            case ExecutionTerminated():
                self.abandon()
            case ExecutionRerun():
                self._code().feed(event)
            case _:
                pass  # the code does not hear of it

    def stall(self, error: TenutoError) -> None:
        """The code cannot go on."""
        self.abandon()
        self.stalled = error
        self._held.clear()

    def place(self) -> str:
        """Where the code stands."""
        return "an unknown line" if self.code is None else self.code.place()

    def needs_code(self) -> StalledError:
        """The error for an instance that cannot go on."""
        return StalledError(f"instance {self.instance!r} cannot go on: {self.stalled}")

    def _load(self) -> None:
        state = self.state
        recorder = self._recorder
        version = (recorder.version_taken if isinstance(recorder, Playback) else None) or state.version
        definition = self._resolve(state.workflow, version)
        self._bytes += memoryview(state.input).nbytes
        self._tags = state.tags
        if definition is None:
            which = repr(state.workflow) + ("" if version is None else f" in version {version!r}")
            self.stall(UnknownWorkflowError(f"no workflow {which} is known here"))
        else:
            self.code = Code(definition, recorder)
            self.strict = definition.registry.strict_replay
            if isinstance(recorder, Playback):
                recorder.strict = self.strict

    def _deliver(self, event: Notification, value: Any) -> None:
        self._bytes += _payload_bytes(event)
        code = self._code()
        if self.state.status is Status.SUSPENDED:
            self._held.append((event, value))
            return
        code.feed(event, value)
        self._settle(code)

    def _proceed(self) -> None:
        """Begin the code if that is due, and let it have what was held."""
        if self.state.status is Status.SUSPENDED:
            return
        code = self._code()
        if self.state.begun and not code.started:
            code.start()
        while self._held and code.end is None and code.error is None:
            event, value = self._held.popleft()
            if code.awaits(event):  # else the code has cancelled it just now, on hearing of those before
                code.feed(event, value)
        self._settle(code)

    def _settle(self, code: Code) -> None:
        """See, after the code has run, whether it fits, and whether it has ended."""
        if code.error is not None:
            error = code.error
            self.stall(error)
            if not self._recorder.replaying:
                raise self.needs_code() from error
        elif isinstance(code.end, ContinuedAsNew) and isinstance(self._recorder, TurnBuilder):
            self._begin_anew(code, code.end, self._recorder)

    def _begin_anew(self, code: Code, end: ContinuedAsNew, builder: TurnBuilder) -> None:
        """Become the execution of the next generation, which has not begun."""
        old = self.state
        held = [event for event, _ in self._held if isinstance(event, EventRaised)]
        carried = [*code.mailbox.unconsumed(), *held] if end.save_events else []
        self._held.clear()
        self._status = self.custom_status
        self._bytes = _BASE_BYTES
        self.state = builder.continue_as(
            ExecutionStarted(
                workflow=old.workflow,
                version=old.version,
                input=end.input,
                seed=old.seed,
                generation=old.generation + 1,
                at=old.time,
                parent=old.parent,
                tags=dict(self.tags),
                children=old.children,
                reply=old.reply,
                trace=old.trace,
            ),
            carried,
        )
        self._load()
        for event in carried:
            self._deliver(event, UNDECODED)

    def _code(self) -> Code:
        if self.code is None:
            raise self.needs_code()
        return self.code


def replay(
    resolve: Resolver,
    instance: str,
    run: str,
    history: Iterable[Event],
    *,
    max_payload_bytes: int = sys.maxsize,
) -> Execution:
    """The execution that a history comes to, from nothing.

    It never raises for what is wrong with one instance (code that is unknown, does not fit, or breaks the engine; a
    history that is damaged): then `stalled` says why, and the state is that of the whole history nevertheless, as far
    as the history makes sense. An error that is neither the code's nor the history's has its cause with it.
    """
    playback = Playback(State(instance, run), rewound(history), max_payload_bytes=max_payload_bytes)
    execution = Execution(resolve, playback)
    try:
        _walk(execution, playback)
    except NonDeterminismError as error:
        execution.stall(error)
    except Exception as error:  # noqa: BLE001 - it concerns this instance, and must not reach the others
        execution.stall(_broken(instance, "replayed", error))
    try:
        playback.fold_rest()
    except Exception as error:  # noqa: BLE001 - likewise
        execution.stall(execution.stalled or _broken(instance, "read", error))
    return execution


def compare_custom_status(execution: Execution, shown: bytes | None) -> None:
    """After a replay, where the app's are strict: stall if the code has set another custom status than `shown`, the
    instance's. One that this generation has not set is an earlier one's, and not compared."""
    found = execution.custom_status
    if execution.strict and execution.code is not None and found is not None and found != shown:
        execution.stall(explain_custom_status(execution.state, shown, found, execution.place()))


def _walk(execution: Execution, playback: Playback) -> None:
    while execution.stalled is None and (event := playback.next(execution.place)) is not None:
        if playback.ends_there:  # then its code need not even begin
            playback.record(event)
        else:
            execution.notify(event)


def _broken(instance: str, what: str, error: Exception) -> StalledError:
    stalled = StalledError(
        f"the history of instance {instance!r} cannot be {what}: {type(error).__name__}: {error}"
    )
    stalled.__cause__ = error
    return stalled


def advance(
    execution: Execution,
    arrived: Sequence[Arrival],
    now: datetime,
    *,
    max_losses: int = 3,
    max_payload_bytes: int = sys.maxsize,
) -> Turn:
    """Take an execution one turn further with what has arrived.

    An execution that has not begun begins, also without arrivals. One that has drops what does not count; if
    nothing is left, the turn has no events.

    Args:
        execution: is changed. After a raise it is spoiled: abandon it, and replay.
        arrived: in the order in which it is to count.
        now: the present time, aware; the turn's is never earlier than the last turn's (rule T1).
        max_losses: how often a task that was sent alone may be lost before its activity fails (rule W1).
        max_payload_bytes: what the code hands over may have so many bytes; a call with more fails at once.

    Raises:
        StalledError: there is no code that can take the turn, or it does what no workflow may do; history and
            database are to stay as they are. Termination needs no code.
    """
    shown = execution.custom_status
    builder = TurnBuilder(execution.state, now, max_payload_bytes=max_payload_bytes)
    execution.attach(builder)
    try:
        if not _terminate(execution, builder, arrived, max_losses):
            _take_all(execution, builder, arrived, max_losses)
    except NonDeterminismError as error:
        raise StalledError(str(error)) from error
    set_now = execution.custom_status
    return builder.turn(None if set_now is shown else set_now)


def _terminate(
    execution: Execution, builder: TurnBuilder, arrived: Sequence[Arrival], max_losses: int
) -> bool:
    """Where no code has begun or can go on, a terminate among the arrivals is all that counts."""
    if execution.state.begun and execution.stalled is None:
        return False
    judge = execution.judge(builder, max_losses)
    for final in arrived:
        if isinstance(final.what, Terminate) and not isinstance(verdict := judge.judge(final), Ignored):
            for other in arrived:
                if other is not final:
                    builder.ignore(other, "the instance is terminated in the same turn")
            execution.notify(verdict.event)
            return True
    return False


def _take_all(
    execution: Execution, builder: TurnBuilder, arrived: Sequence[Arrival], max_losses: int
) -> None:
    begun = None
    state = execution.state
    start_at = state.awaited_start
    if start_at is not None and builder.at < start_at:
        begun = Continue(generation=state.generation)  # held while no code was there; its time has not come
    elif not (state.begun or state.status.is_terminal):
        begun = Continue(generation=state.generation)
        code, version = execution.code, execution.state.version
        latest = code.version if code is not None and version is None else None  # which it keeps from now on
        execution.notify(TurnStarted(at=builder.at, version=latest))
    for arrival in arrived:
        if arrival.what == begun:
            continue  # that is what it asked for
        verdict = execution.judge(builder, max_losses).judge(arrival)
        if isinstance(verdict, Ignored):
            builder.ignore(arrival, verdict.reason)
            continue
        if verdict.dead is not None:
            builder.bury(verdict.dead)
        execution.notify(verdict.event, verdict.value)


def _payload_bytes(event: Notification) -> int:
    match event:
        case ActivityCompleted() | ChildCompleted():
            return memoryview(event.result).nbytes
        case EventRaised():
            return memoryview(event.payload).nbytes
        case _:
            return 0
