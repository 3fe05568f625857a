"""What becomes of the wish that an instance go on in place, from where it failed or was terminated."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tenuto.core.events import Failure
from tenuto.core.histories import read_history
from tenuto.core.letters import ChildEnded, Rerun, Rewind, Start
from tenuto.core.status import Status
from tenuto.errors import PayloadSealedError, RequestError, StalledError
from tenuto.sealing import reference
from tenuto.store.protocol import InstanceRecord, StoredInstance
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change, Envelope
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.executor import Executor
from tenuto_orchestrator.limits import check_turn
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.work import Item

__all__ = ["is_a_turn", "rewind"]

_NULL = msgspec.Raw(b"null")


def is_a_turn(change: Change, item: Item) -> bool:
    """Whether a letter comes to a turn by itself: a request that a history be gone on with or, for `rewind`, the start
    of a child that is there, whose parent was rewound."""
    match item.work:
        case Rewind() | Rerun():
            return True
        case Start(rewind=True, run=run):
            return change.resident is not None and change.resident.record.run == run
        case _:
            return False


async def rewind(
    change: Change,
    item: Item,
    letter: Rewind | Start,
    *,
    stored: StoredInstance | None,
    executor: Executor,
    env: Environment,
    envelope: Envelope,
    now: datetime,
) -> None:
    """Take the turn by which the instance goes on; or use the letter up and say why it does not.

    One that is alive goes on anyhow. Whatever cannot be, a parent hears of it: it waits for its child.
    """
    record = change.resident.record if change.resident is not None else None
    change.take(item)
    if record is None or (item.row is not None and item.row.run not in (None, record.run)):
        change.answer(letter.request, f"NotFoundError: there is no instance {change.instance!r}")
        return
    if not record.status.is_terminal:
        change.answer(letter.request)
        return
    if record.status is Status.COMPLETED and isinstance(letter, Start):
        await _tell_result(change, letter, record, env, envelope)
        return
    try:
        await _go_on(change, record, stored, letter, executor=executor, env=env, envelope=envelope, now=now)
    except (RequestError, StalledError, msgspec.DecodeError) as error:
        message = f"instance {record.id!r} ({record.status}) cannot be rewound: {error}"
        change.answer(letter.request, f"RequestError: {message}")
        if isinstance(letter, Start):
            failure = Failure(type="RequestError", message=message, retryable=False)
            _tell_parent(change, letter, envelope, failure=failure)
    else:
        change.answer(letter.request)


async def _go_on(
    change: Change,
    record: InstanceRecord,
    stored: StoredInstance | None,
    letter: Rewind | Start,
    *,
    executor: Executor,
    env: Environment,
    envelope: Envelope,
    now: datetime,
) -> None:
    if stored is None or (stored.record.run, stored.record.turn) != (record.run, record.turn):
        raise RequestError("its history could not be read; try again")
    history = read_history(stored.turns)
    reason = letter.reason if isinstance(letter, Rewind) else "its parent was rewound"
    execution, turn = await executor.rewind(record, history, now, reason=reason)
    try:
        check_turn(env, execution.state, turn)
    except StalledError:
        execution.abandon()
        raise
    kept = None
    if env.keeps_history:
        kept = list(turn.next_generation) if turn.next_generation else [*history, *turn.events]
    resident = Resident(record=record, execution=execution, history=kept)
    change.resident = resident
    outcome.record_turn(
        change,
        resident,
        turn,
        started=None,
        arrived={},
        names=env.names,
        spans=env.spans,
        envelope=envelope,
        now=now,
    )
    view = env.spans.view(record, None, (), now)
    if view is not None:
        change.traced = view.after(turn, change.record)


async def _tell_result(
    change: Change, letter: Start, record: InstanceRecord, env: Environment, envelope: Envelope
) -> None:
    """It had completed before its parent was rewound."""
    key = None if record.output is None else reference(record.output)
    objects = await env.shelf.get(record.id, [] if key is None else [key])
    try:
        result = env.sealer.open_bytes(record.output, record.id, objects)
    except PayloadSealedError as error:
        message = f"child {record.id!r} has completed, and its result cannot be handed over again: {error}"
        failure = Failure(type="PayloadError", message=message, retryable=False)
        _tell_parent(change, letter, envelope, failure=failure)
    else:
        _tell_parent(change, letter, envelope, result=_NULL if result is None else msgspec.Raw(result))


def _tell_parent(
    change: Change,
    letter: Start,
    envelope: Envelope,
    *,
    result: msgspec.Raw | None = None,
    failure: Failure | None = None,
) -> None:
    parent = letter.parent
    if parent is not None:
        ended = ChildEnded(
            generation=parent.generation,
            command=parent.command,
            attempt=parent.attempt,
            result=result,
            failure=failure,
        )
        change.letters.append(envelope(parent.instance, ended, parent.run))
