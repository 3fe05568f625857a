"""The messages that Tenuto puts on the broker: JSON, documented for workers and publishers in any language.

    queue                                   messages
    tenuto.start                            `StartMessage` (the public door)
    tenuto.<layout>.turns.<partition>       `Results`, `Returned`, `Beat`, `Bell`, `Watch` (to a partition's owner)
    tenuto.<layout>.activities.<pool>       `Tasks` (to a worker pool)
    a client process's notification queue   `Notice`
    tenuto.workers.<worker>                 `Dropped` (to a worker process)

All but `StartMessage` carry their kind in `type`. An activity task names the queue that its answer goes to, so a worker
needs to know no other name than its pool's queue.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

from tenuto.core.documents import read_document
from tenuto.core.events import Failure, OptionalRaw
from tenuto.core.letters import FirstEvent
from tenuto.core.status import ReusePolicy

__all__ = [
    "ActivityResult",
    "ActivityTask",
    "Beat",
    "Bell",
    "Dropped",
    "Held",
    "Notice",
    "NoticeEntry",
    "Reply",
    "Results",
    "Returned",
    "StartMessage",
    "TaskRef",
    "Tasks",
    "TurnMessage",
    "Watch",
    "decode_dropped",
    "decode_notice",
    "decode_start",
    "decode_tasks",
    "decode_turn_message",
    "encode",
    "task_ref",
]


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
"""What a column of the database can hold, whoever made the message up."""
_Attempt: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class TaskRef(_Struct, frozen=True, kw_only=True):
    """Exactly one attempt of one command (rule N1)."""

    instance: str
    run: str
    generation: _Count
    command: _Count
    attempt: _Attempt


def task_ref(task: TaskRef) -> TaskRef:
    """What tells attempts apart, without the rest of the task."""
    if type(task) is TaskRef:
        return task
    return TaskRef(
        instance=task.instance,
        run=task.run,
        generation=task.generation,
        command=task.command,
        attempt=task.attempt,
    )


class ActivityTask(TaskRef, frozen=True, kw_only=True):
    """One activity attempt to execute."""

    name: str
    input: msgspec.Raw
    workflow: str
    key: str
    """The idempotency key: the same for every attempt."""
    reply_to: str
    """The queue that takes the `ActivityResult`."""
    start_to_close: float | None = None
    """Seconds the attempt may run."""
    schedule_to_start: float | None = None
    """Seconds within which its owner must hear that it was begun: a beat says so at once."""
    heartbeat_timeout: float | None = None
    """Seconds that the attempt may go without a heartbeat."""
    details: OptionalRaw = None
    """What an earlier attempt gave to its last heartbeat."""
    alone: bool = False
    """Sent alone after it had been lost: if it is redelivered again, it may be what kills its worker."""
    sending: int | None = None
    """How often the attempt was sent before, and lost."""
    sent: datetime | None = None
    """The time of the turn that sent it."""
    trace: dict[str, str] = {}


class Tasks(_Struct, frozen=True, kw_only=True, tag_field="type", tag="tasks"):
    """Tasks of one pool, folded into a message. The worker acknowledges it when every one of them is answered."""

    tasks: list[ActivityTask]


class ActivityResult(TaskRef, frozen=True, kw_only=True):
    """The outcome of an attempt. Exactly one of `result` and `failure` is set."""

    name: str
    result: OptionalRaw = None
    failure: Failure | None = None
    seconds: float = 0.0
    """How long the attempt ran, for folding and metrics."""
    details: OptionalRaw = None
    """With a failure: what the attempt gave to its last heartbeat."""


class Results(_Struct, frozen=True, kw_only=True, tag_field="type", tag="results"):
    results: list[ActivityResult]


class Held(TaskRef, frozen=True, kw_only=True):
    """A task in the hands of a worker."""

    seconds: float | None = None
    """How long it has been running; None: it waits for a slot."""
    details: OptionalRaw = None
    """What the activity gave to its last heartbeat."""
    start_to_close: float | None = None
    """As in the task. Its owner ends the attempt if the worker does not (rule W4)."""
    heartbeat_timeout: float | None = None
    """As in the task. Its owner ends the attempt if there are no more beats about it."""
    held: bool = False
    """Its delivery is acknowledged as soon as this beat is confirmed (and may have been before): from now on the beats
    stand for it, and its owner sends it again when they stop (rule W2)."""
    sending: int | None = None
    """As in the task. Its owner passes over the loss of an earlier sending."""


class Returned(_Struct, frozen=True, kw_only=True, tag_field="type", tag="returned"):
    """Tasks that a worker got a second time, or gives back when it stops. Their owner sends them again (rule W1)."""

    tasks: list[Held]
    counted: bool = False
    """The task had been sent alone and came back by the broker's redelivery: its worker died with it."""


class Beat(_Struct, frozen=True, kw_only=True, tag_field="type", tag="beat"):
    """What a worker has held for longer than a few seconds (rule W2)."""

    worker: str
    """Its name. It hears on the queue `tenuto.workers.<worker>`, if it has made that, what nobody waits for."""
    pool: str = ""
    """The pool that it serves, for metrics."""
    tasks: list[Held]


class Unwanted(TaskRef, frozen=True, kw_only=True):
    """A task that nobody waits for."""

    as_of: datetime | None = None
    """When nobody did. What was sent later is wanted: an instance that was rewound sends its tasks again."""


class Dropped(_Struct, frozen=True, kw_only=True, tag_field="type", tag="dropped"):
    """To a worker that said that it holds these: nobody waits for them any more."""

    tasks: list[Unwanted]


class Bell(_Struct, frozen=True, kw_only=True, tag_field="type", tag="bell"):
    """There is something in the partition's inbox (rule I1)."""


class Watch(_Struct, frozen=True, kw_only=True, tag_field="type", tag="watch"):
    """Tell this notification queue when the instance starts and when it ends. Kept in memory only."""

    instance: str
    queue: str


TurnMessage: TypeAlias = Results | Returned | Beat | Bell | Watch


class NoticeEntry(_Struct, frozen=True, kw_only=True):
    """Something about `instance` changed: look at the database. With `request`, that request has been dealt with,
    and `error` says why it was refused (the name of an exception in `tenuto.errors`, a colon and the message)."""

    instance: str
    request: str | None = None
    error: str | None = None


class Notice(_Struct, frozen=True, kw_only=True, tag_field="type", tag="notice"):
    entries: list[NoticeEntry]


class Reply(_Struct, frozen=True, kw_only=True):
    """The outcome of an instance, to the `reply_to` of the message that started it."""

    instance_id: str
    workflow: str
    status: str
    """COMPLETED, FAILED or TERMINATED; REFUSED where the start was refused."""
    output: OptionalRaw = None
    failure: Failure | None = None


class StartMessage(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public door: a plain JSON document from any language. AMQP properties add to it: `message_id` makes it
    idempotent, `reply_to` and `correlation_id` return the outcome, `traceparent` headers join the trace."""

    workflow: str
    input: OptionalRaw = None
    instance_id: str | None = None
    version: str | None = None
    tags: dict[str, str] = {}
    reuse: ReusePolicy = ReusePolicy()
    start_at: datetime | None = None
    """Not before then; with a time zone."""
    event: FirstEvent | None = None
    """An external event that reaches the instance with its start."""


_encoder = msgspec.json.Encoder()
_turn: msgspec.json.Decoder[TurnMessage] = msgspec.json.Decoder(TurnMessage)
_tasks: msgspec.json.Decoder[Tasks] = msgspec.json.Decoder(Tasks)
_dropped: msgspec.json.Decoder[Dropped] = msgspec.json.Decoder(Dropped)
_notice: msgspec.json.Decoder[Notice] = msgspec.json.Decoder(Notice)
_start: msgspec.json.Decoder[StartMessage] = msgspec.json.Decoder(StartMessage)


def encode(message: TurnMessage | Tasks | Dropped | Notice | StartMessage | Reply) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


def decode_turn_message(body: bytes) -> TurnMessage:
    """Raises msgspec.DecodeError (of which ValidationError is one) on anything else."""
    return read_document(_turn, body, from_outside=True)


def decode_tasks(body: bytes) -> Tasks:
    """Raises msgspec.DecodeError on anything else."""
    return read_document(_tasks, body, from_outside=True)


def decode_dropped(body: bytes) -> Dropped:
    """Raises msgspec.DecodeError on anything else."""
    return read_document(_dropped, body, from_outside=True)


def decode_notice(body: bytes) -> Notice:
    """Raises msgspec.DecodeError on anything else."""
    return read_document(_notice, body, from_outside=True)


def decode_start(body: bytes) -> StartMessage:
    """Raises msgspec.DecodeError on anything else."""
    return read_document(_start, body, from_outside=True)
