"""One instance on a bench: takes turns, keeps its history, and replays it from nothing after every turn."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tenuto.app import App
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    Event,
    ExecutionStarted,
    Failure,
    Parent,
    decode_events,
    encode_events,
)
from tenuto.core.execution import Execution, advance, replay
from tenuto.core.letters import ChildEnded, Raise, Resume, Start, Suspend, Terminate
from tenuto.core.state import State
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, LetterOut, TaskLost, TimedOut, TimerDue, Turn, What

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = "0123456789abcdef0123456789abcdef"
PARENT = Parent(instance="mother", run="f" * 32, generation=2, command=7, attempt=1)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def value(payload: msgspec.Raw | bytes | None) -> Any:
    assert payload is not None
    return msgspec.json.decode(payload)


def done(command: int, result: Any = None, attempt: int = 1) -> ActivityCompleted:
    return ActivityCompleted(command=command, attempt=attempt, result=raw(result))


def failed(command: int, type: str = "ValueError", attempt: int = 1, **more: Any) -> ActivityFailed:  # noqa: A002 - as in Failure
    failure = Failure(type=type, message="broken", **more)
    return ActivityFailed(command=command, attempt=attempt, failure=failure)


def child_done(command: int, result: Any = None, attempt: int = 1, generation: int = 0) -> ChildEnded:
    return ChildEnded(generation=generation, command=command, attempt=attempt, result=raw(result))


def child_failed(
    command: int,
    type: str = "ValueError",  # noqa: A002 - as in Failure
    attempt: int = 1,
    generation: int = 0,
) -> ChildEnded:
    failure = Failure(type=type, message="broken")
    return ChildEnded(generation=generation, command=command, attempt=attempt, failure=failure)


def event(name: str, payload: Any = None) -> Raise:
    return Raise(name=name, payload=raw(payload))


def due(command: int, attempt: int = 0) -> TimerDue:
    return TimerDue(command=command, attempt=attempt)


def terminate(reason: str | None = None, output: Any = None) -> Terminate:
    return Terminate(output=raw(output), reason=reason)


SUSPEND = Suspend(reason="wait")
RESUME = Resume(reason="go")


@dataclass
class Bench:
    """Runs `workflow` of `app`. Every turn is checked against a replay of the whole history."""

    app: App
    workflow: str
    input: Any = None
    started: ExecutionStarted | None = None
    instance: str = "order-17"
    run: str = RUN
    now: datetime = START
    max_losses: int = 3
    max_payload_bytes: int = sys.maxsize
    history: list[Event] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        started = self.started or ExecutionStarted(workflow=self.workflow, input=raw(self.input), seed="seed")
        self.history = [started]
        self.execution = replay(self.app.resolve, self.instance, self.run, self.history)

    @property
    def state(self) -> State:
        return self.execution.state

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def output(self) -> Any:
        return value(self.state.output)

    @property
    def failure(self) -> Failure:
        assert self.state.failure is not None
        return self.state.failure

    def go(self, *whats: What | Arrival, after: float = 1.0) -> Turn:
        """One turn, `after` seconds later, with what is addressed to this very run (answers: and generation)."""
        self.now += timedelta(seconds=after)
        arrivals = [self.arrival(what) for what in whats]
        turn = advance(
            self.execution,
            arrivals,
            self.now,
            max_losses=self.max_losses,
            max_payload_bytes=self.max_payload_bytes,
        )
        self.record(turn)
        return turn

    def record(self, turn: Turn) -> None:
        """Take a turn into the history, and check that a replay comes to the same."""
        self.turns.append(turn)
        self.history = list(turn.next_generation) if turn.next_generation else [*self.history, *turn.events]
        self.check_replay()

    def arrival(self, what: What | Arrival) -> Arrival:
        if isinstance(what, Arrival):
            return what
        is_answer = isinstance(what, ActivityCompleted | ActivityFailed | TimerDue | TaskLost | TimedOut)
        return Arrival(what=what, run=self.run, generation=self.state.generation if is_answer else None)

    def replayed(self) -> Execution:
        """From nothing, through the bytes that a store would keep."""
        history = decode_events(encode_events(self.history))
        return replay(
            self.app.resolve, self.instance, self.run, history, max_payload_bytes=self.max_payload_bytes
        )

    def check_replay(self) -> None:
        again = self.replayed()
        assert again.stalled is None, again.stalled
        assert same_state(again.state, self.state)
        out = Counter(task.scheduled.pool for task in self.state.tasks_out() if not task.scheduled.local)
        assert self.state.tasks_by_pool == out
        if again.custom_status is not None:
            assert again.custom_status == self.execution.custom_status
        again.abandon()

    def cold_start(self) -> None:
        """Go on from the history alone."""
        self.execution.abandon()
        self.execution = self.replayed()


def same_state(one: State, other: State) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in State.__slots__)


def begun(app: App, workflow: str, input: Any = None, **more: Any) -> Bench:  # noqa: A002 - as elsewhere
    bench = Bench(app=app, workflow=workflow, input=input, **more)
    bench.go()
    return bench


def with_parent(workflow: str, input: Any = None, **more: Any) -> ExecutionStarted:  # noqa: A002 - as elsewhere
    return ExecutionStarted(workflow=workflow, input=raw(input), seed="seed", parent=PARENT, **more)


def letters_of(turn: Turn, kind: type[Any]) -> list[LetterOut]:
    return [letter for letter in turn.letters if isinstance(letter.letter, kind)]


def starts(turn: Turn) -> list[tuple[str, Start]]:
    return [(out.instance, out.letter) for out in turn.letters if isinstance(out.letter, Start)]


def names(turn: Turn) -> list[str]:
    return [type(each).__name__ for each in turn.events]


def anybody(what: What) -> Arrival:
    """From an outsider, who names neither run nor generation."""
    return Arrival(what=what)


def rename(history: Sequence[Event], index: int, **changes: Any) -> list[Event]:
    """The history with one event changed."""
    changed = list(history)
    changed[index] = msgspec.structs.replace(changed[index], **changes)
    return changed
