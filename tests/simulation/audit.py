"""What the simulation knows from outside: every commit, every message, every execution.

The audit sees what the database stored and the broker took, in order, and says at once when a rule is broken. What the
database deletes, it remembers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from tenuto.activity import ActivityContext
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
    Event,
    ExecutionRewound,
    TaskCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    decode_events,
    newest,
    rewound,
)
from tenuto.core.letters import Answered, decode_letter
from tenuto.core.pending import PendingActivity, PendingChild, PendingTimer
from tenuto.core.state import State
from tenuto.messages import (
    Beat,
    Results,
    Returned,
    TaskRef,
    decode_dropped,
    decode_tasks,
    decode_turn_message,
)
from tenuto.store.protocol import InstanceRecord, PartitionWrites
from tenuto_orchestrator.change import decode_outgoings
from tests.simulation.database import Database
from tests.simulation.locks import LockBook

__all__ = ["Audit", "Run", "TaskKey"]

_BEATS_TO_KNOW = 8
"""After so many beats of its own an owner knows of a new member for sure."""

TaskKey = tuple[str, str, int, int, int]
"""Instance, run, generation, command, attempt (rule N1)."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One run of an instance, over all its generations, as it was committed."""

    instance: str
    run: str
    first: InstanceRecord
    turns: int = 0
    histories: dict[int, list[Event]] = field(default_factory=dict)
    """By generation; of a generation that continued as new, all but its last turn."""
    open: dict[int, int] = field(default_factory=dict)
    """By command of the present generation: the attempt that is or will be out."""
    generation: int = 0
    children: dict[str, int] = field(default_factory=dict)
    """The generation that started each."""
    record: InstanceRecord
    gone: bool = False
    """Purged, or replaced by another run."""


class Audit:
    def __init__(self, note: Callable[[str], None], complain: Callable[[str], None]) -> None:
        """`note` is told of all that happens; `complain`, of every rule that is broken."""
        self._note = note
        self._complain = complain
        self.runs: dict[str, list[Run]] = {}
        self.database: Database | None = None
        self.executions: Counter[TaskKey] = Counter()
        self.mended: set[str] = set()
        """What fails no longer."""
        self._committed: dict[TaskKey, bytes] = {}
        self._sent: dict[TaskKey, datetime | None] = {}
        """When each was sent last."""
        """The input of each task that an outbox has held."""
        self._rows: dict[tuple[int, int, int], list[TaskKey]] = {}
        """The tasks of each outbox row."""
        self._published: set[TaskKey] = set()
        self._answered: set[TaskKey] = set()
        self.max_losses = 0
        self._lost_alone: Counter[TaskKey] = Counter()
        """How often a task that was sent alone was delivered again."""
        self._held: set[TaskKey] = set()
        """Tasks that beats have stood for. When those stop, no redelivery says that a task is lost."""
        self._kept: set[TaskKey] = set()
        """Answers that were kept as letters."""
        self._here: set[TaskKey] = set()
        """Tasks of local activities."""
        self._locks = LockBook(complain)

    def run(self, instance: str) -> Run | None:
        """The one that is there now."""
        runs = self.runs.get(instance)
        return runs[-1] if runs and not runs[-1].gone else None

    # The database -----------------------------------------------------------------------------------------------

    def committed(self, writes: PartitionWrites) -> None:
        if self.database is not None and self.database.leases[writes.partition].epoch != writes.epoch:
            self._complain(
                f"partition {writes.partition}: a commit under the lost epoch {writes.epoch} (rule C1)"
            )
        for delete in writes.deletes:
            self._gone(delete.id, delete.run)
        for record in writes.inserts:
            self._note(
                f"commit {writes.partition}/{writes.epoch}: insert {record.id} {record.run} {record.status}"
            )
            made = Run(instance=record.id, run=record.run, first=record, record=record)
            if any(run.run == record.run for run in self.runs.get(record.id, [])):
                self._complain(f"run {record.run} of {record.id} was started twice")
            self.runs.setdefault(record.id, []).append(made)
        for turn in writes.turns:
            events = decode_events(turn.events)
            self._check_level(writes.partition, events)
            self._turn(turn.instance, turn.turn, turn.generation, events)
        for update in writes.updates:
            run = self.run(update.id)
            if run is not None and self.database is not None:
                run.record = self.database.records[update.id]
            self._note(
                f"commit {writes.partition}/{writes.epoch}: {update.id} {update.status} turn {update.turn}"
            )
        for row in writes.inbox_added:
            self._letter(row.target, row.run, row.body)
        self._outbox(writes)

    def _gone(self, instance: str, run_id: str) -> None:
        run = self.run(instance)
        self._note(f"delete {instance} {run_id}")
        if run is None or run.run != run_id:
            self._complain(f"run {run_id} of {instance} was deleted, and it is not there")
        else:
            run.gone = True
            self._locks.end(instance, run_id)

    def _check_level(self, partition: int, events: Sequence[Event]) -> None:
        """Everybody who was there when the owner beat last can read the events (rule U1). Some beats go unanswered."""
        level, kind = newest(events)
        tables = self.database
        if level == 1 or tables is None:
            return
        owner = tables.leases[partition].owner or ""
        for name, (_, member) in tables.alive.items():
            known = tables.beats[owner] - tables.joined[name][owner] >= _BEATS_TO_KNOW
            if known and member.event_format < level:
                self._complain(f"{kind} is written, and {name} reads format {member.event_format} (rule U1)")

    def _turn(self, instance: str, number: int, generation: int, events: Sequence[Event]) -> None:
        run = self.run(instance)
        if run is None:
            self._complain(f"a turn of {instance}, which does not exist")
            return
        if number != run.turns:
            self._complain(f"{instance}: turn {number} follows upon {run.turns} turns")
        # Where that turn continues as new at once, only what begins the next generation is stored.
        rewinds = generation != run.generation or (bool(events) and isinstance(events[0], ExecutionRewound))
        if run.record.status.is_terminal and run.turns and not rewinds:
            self._complain(f"{instance}: turn {number} was taken after it had ended")
        run.turns += 1
        if generation != run.generation:
            if generation != run.generation + 1:
                self._complain(f"{instance}: generation {generation} follows upon {run.generation}")
            run.generation = generation
            run.open = {}
            self._locks.end(instance, run.run)
        history = run.histories.setdefault(generation, [])
        self._note(
            f"  {instance} g{generation} t{number}: {' '.join(type(event).__name__ for event in events)}"
        )
        for event in events:
            self._locks.follow(instance, run.run, generation, event)
            self._follow(run, event, history)
            history.append(event)

    def _follow(self, run: Run, event: Event, history: Sequence[Event]) -> None:
        match event:
            case ActivityScheduled(id=id_):
                run.open[id_] = 1
            case ChildScheduled(id=id_, instance=child):
                run.open[id_] = 1
                if child in run.children:
                    self._complain(f"{run.instance}: {child} is the id of another child, too (rule N3)")
                run.children[child] = run.generation
            case ExecutionRewound():
                _rewind(run, [*history, event])
            case TimerCreated(id=id_):
                run.open[id_] = 0
            case TaskCancelled(command=command):
                run.open.pop(command, None)
            case TurnStarted(at=at):
                earlier = [e.at for e in history[-200:] if isinstance(e, TurnStarted)]
                if earlier and at < earlier[-1]:
                    self._complain(f"{run.instance} g{run.generation}: time goes backwards (rule T1)")
                if run.first.start_at is not None and at < run.first.start_at:
                    self._complain(f"{run.instance} begins at {at}, before {run.first.start_at}")
            case _:
                self._follow_answer(run, event)

    def _follow_answer(self, run: Run, event: Event) -> None:
        """Each command is answered once, by an answer to its present attempt (rule N1), and lost only if it was alone."""
        match event:
            case TimerFired(command=command):
                self._expect(run, event, command, 0)
                run.open.pop(command, None)
            case (
                ActivityCompleted(command=command, attempt=attempt)
                | ChildCompleted(command=command, attempt=attempt)
            ):
                self._expect(run, event, command, attempt)
                run.open.pop(command, None)
            case (
                ActivityFailed(command=command, attempt=attempt)
                | ChildFailed(command=command, attempt=attempt)
            ):
                self._expect(run, event, command, attempt)
                if event.failure.type == "WorkerLostError":
                    self._check_losses((run.instance, run.run, run.generation, command, attempt))
                if event.retry_at is None:
                    run.open.pop(command, None)
                else:
                    run.open[command] = attempt + 1
            case ActivityRetried() | ChildRetried() | ActivityLost():
                self._expect(run, event, event.command, event.attempt)
            case _:
                pass

    def _expect(self, run: Run, event: Event, command: int, attempt: int) -> None:
        if run.open.get(command) != attempt:
            what = f"{type(event).__name__} for command {command} attempt {attempt}, which is not pending"
            self._complain(f"{run.instance} g{run.generation}: {what} (rule N1)")

    def _check_losses(self, task: TaskKey) -> None:
        if self._lost_alone[task] <= self.max_losses and task not in self._held:
            lost = self._lost_alone[task]
            self._complain(f"task {task} was given up, and was lost {lost} times when it was alone (rule W1)")

    def _letter(self, target: str, run: str | None, body: bytes) -> None:
        letter = decode_letter(body)
        self._note(f"  letter to {target}: {type(letter).__name__}")
        if isinstance(letter, Answered) and run is not None:
            self._kept.add((target, run, letter.generation, letter.command, letter.attempt))

    def _outbox(self, writes: PartitionWrites) -> None:
        row = writes.outbox_added
        if row is not None:
            outgoings = decode_outgoings(row.body)
            self._here.update(map(_key, outgoings.local))
            keys = []
            for task in (*(task for _, task in outgoings.tasks), *outgoings.local):
                key = _key(task)
                body = bytes(task.input)
                if self._committed.setdefault(key, body) != body:
                    self._complain(f"task {key} was committed with another input")
                self._sent[key] = task.sent
                keys.append(key)
            self._rows[row.partition, row.epoch, row.seq] = keys
        for epoch, seq in writes.outbox_confirmed:
            for key in self._rows.pop((writes.partition, epoch, seq), ()):
                if self.pending(key) and not any(key in keys for keys in self._rows.values()):
                    self._check_deleted(key, writes.partition)

    def _check_deleted(self, key: TaskKey, partition: int) -> None:
        """No other row holds the task, as one does that was sent again, and is held back there."""
        if key in self._here:
            if key not in self._kept:
                self._complain(f"the outbox row of local task {key} was deleted before its answer (rule C4)")
        elif key not in self._published and self._broker_is_known(partition):
            self._complain(f"the outbox row of task {key} was deleted before it was confirmed (rule C4)")

    def _broker_is_known(self, partition: int) -> bool:
        """False after a wipe, until the owner has sent again all that is pending (rule B1)."""
        tables = self.database
        if tables is None or tables.recorded is None:
            return True
        return tables.leases[partition].broker_token == tables.recorded.broker_token

    def pending(self, key: TaskKey) -> bool:
        """Whether the database waits for an answer to exactly this."""
        instance, run_id, generation, command, attempt = key
        run = self.run(instance)
        return (
            run is not None
            and run.run == run_id
            and not run.record.status.is_terminal
            and run.generation == generation
            and run.open.get(command) == attempt
        )

    # The broker -------------------------------------------------------------------------------------------------

    def published(self, queue: str, body: bytes) -> None:
        """The server has taken a message."""
        if ".activities." in queue:
            for task in decode_tasks(body).tasks:
                key = _key(task)
                self._published.add(key)
                if key not in self._committed:
                    self._complain(f"task {key} was published before it was committed (rule C4)")
                if key in self._here:
                    self._complain(f"local task {key} was published")
        elif ".turns." in queue:
            answered = _answers(body)
            self._answered.update(answered)
            if isinstance(_turn_message(body), Beat):
                self._held.update(answered)
        elif ".workers." in queue:
            for ref in decode_dropped(body).tasks:
                # A rewinding may have sent it again since; the worker does not take that sending for the other.
                if self.pending(_key(ref)) and not self._was_sent_after(_key(ref), ref.as_of):
                    self._complain(f"task {_key(ref)} was dropped, and its instance waits for it (rule N1)")
                self._answered.add(_key(ref))

    def _was_sent_after(self, key: TaskKey, moment: datetime | None) -> bool:
        sent = self._sent.get(key)
        return sent is not None and moment is not None and sent > moment

    def delivered(self, queue: str, body: bytes, redelivered: bool) -> None:
        """The server hands out a message."""
        if redelivered and ".activities." in queue:
            tasks = decode_tasks(body).tasks
            if len(tasks) == 1 and tasks[0].alone:
                self._lost_alone[_key(tasks[0])] += 1

    def acknowledged(self, queue: str, body: bytes) -> None:
        """The server forgets a message."""
        if ".activities." in queue:
            for task in _tasks(body):
                if _key(task) not in self._answered:
                    self._complain(f"task {_key(task)} was acknowledged before it was answered (rule W3)")
        elif ".turns." in queue:
            message = _turn_message(body)
            for result in message.results if isinstance(message, Results) else ():
                key = _key(result)
                if self.pending(key) and key not in self._kept:
                    self._complain(f"the answer to {key} was acknowledged before it was committed (rule C2)")

    # The workers ------------------------------------------------------------------------------------------------

    def executed(self, running: ActivityContext) -> int:
        """An activity begins. Returns how often this attempt has been executed."""
        run = self.run(running.instance_id)
        self._note(
            f"execute {running.instance_id} g{running.generation} c{running.command} a{running.attempt}"
        )
        tasks = [
            key for key in self._committed if key[0] == running.instance_id and key[2:] == _place(running)
        ]
        if not tasks:
            self._complain(
                f"{running.instance_id}: activity {running.command} is executed and was never committed"
            )
        if run is None:
            return 0
        key = (running.instance_id, run.run, *_place(running))
        self.executions[key] += 1
        return self.executions[key]


def _rewind(run: Run, history: Sequence[Event]) -> None:
    """What is open again once a run goes on in place."""
    run.children = {child: made for child, made in run.children.items() if made < run.generation}
    run.open = {}
    for command, pending in State.fold(run.instance, run.run, rewound(history)).pending.items():
        match pending:
            case PendingActivity(attempt=attempt) | PendingChild(attempt=attempt):
                run.open[command] = attempt
            case PendingTimer():
                run.open[command] = 0
            case _:
                pass


def _place(running: ActivityContext) -> tuple[int, int, int]:
    return running.generation, running.command, running.attempt


def _key(task: TaskRef) -> TaskKey:
    return task.instance, task.run, task.generation, task.command, task.attempt


def _answers(body: bytes) -> Iterable[TaskKey]:
    match _turn_message(body):
        case Results(results=results):
            return [_key(result) for result in results]
        case Returned(tasks=tasks):
            return [_key(task) for task in tasks]
        case Beat(tasks=tasks):
            return [_key(task) for task in tasks if task.held]
        case _:
            return ()


def _turn_message(body: bytes) -> object:
    try:
        return decode_turn_message(body)
    except (msgspec.DecodeError, ValueError):
        return None  # somebody's rubbish, which the engine has to bear


def _tasks(body: bytes) -> Sequence[TaskRef]:
    try:
        return decode_tasks(body).tasks
    except msgspec.DecodeError:
        return ()
