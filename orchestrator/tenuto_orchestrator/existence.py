"""What exists: starts make instances, purges remove them, and some events wait for one to be made (rule C7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from tenuto.core.events import ExecutionStarted, ReplyTo
from tenuto.core.letters import Purge, Raise, Repeat, Rerun, Start, Terminate
from tenuto.core.reserved import LOCK
from tenuto.core.status import ReuseAction
from tenuto.core.turn import Arrival
from tenuto.store.protocol import InstanceDelete, InstanceRecord
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change, Envelope
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.refusal import refuse
from tenuto_orchestrator.work import Expire, Item, Retire, first_event

__all__ = ["Existence"]

_NULL = msgspec.Raw(b"null")


class Existence:
    """Decides about the letters that make or remove instances; what it decides is in the `Change`."""

    def __init__(self, env: Environment, envelope: Envelope) -> None:
        self._env = env
        self._envelope = envelope

    def start(
        self, change: Change, item: Item, letter: Start, arrivals: list[Item], now: datetime
    ) -> ExecutionStarted | None:
        """Make the instance, or do what the reuse policy says about the one that is there.

        Returns the new instance's first event; None: there is no new one. What is to reach the instance in its turn is
        added to `arrivals`.
        """
        record = change.resident.record if change.resident is not None else None
        once_more = record is not None and record.run == letter.run
        if once_more and letter.workflow != LOCK:  # a rewound instance asks once more, and means it
            change.take(item)
            change.answer(letter.request)
            return None
        action = letter.reuse.decide(record.status) if record is not None else None
        if record is not None and action is ReuseAction.ERROR:
            refuse(change, item, letter, record.status, envelope=self._envelope)
            return None
        if record is not None and action is ReuseAction.IGNORE:
            self._ignore(change, item, letter, record, arrivals)
            return None
        if action is ReuseAction.TERMINATE and record is not None and not record.status.is_terminal:
            reason = "its id was started again with the reuse policy TERMINATE"
            arrivals.append(self._terminating(change, reason))
            change.deferred.append(item)
            return None
        started = ExecutionStarted(
            workflow=letter.workflow,
            version=self._env.version_of(letter.workflow, letter.version),
            input=self._env.sealer.seal_payload(letter.input, change.instance),
            seed=letter.seed,
            at=now,
            parent=letter.parent,
            tags=letter.tags,
            reply=letter.reply,
            trace=self._env.spans.admit(
                letter.trace,
                instance=change.instance,
                run=letter.run,
                workflow=letter.workflow,
                version=letter.version,
            ),
            start_at=letter.start_at,
        )
        self.make(change, item, letter, started, now)
        arrivals += first_event(item, letter)
        return started

    @staticmethod
    def make(
        change: Change, item: Item, letter: Start | Rerun, started: ExecutionStarted, now: datetime
    ) -> None:
        """Make the instance, in the place of one that may be there; its turn is still to be taken."""
        record = change.resident.record if change.resident is not None else None
        if record is not None:
            change.delete = InstanceDelete(id=record.id, run=record.run, expected_turn=record.turn)
        else:  # events may have come before it
            change.released += change.partition.held.get(change.instance, ())
        change.take(item)
        change.answer(letter.request)
        if letter.request is not None:
            change.watchers.append(letter.request.queue)
        change.insert = outcome.new_record(change, letter.run, started, now)
        change.resident = None

    def _ignore(
        self, change: Change, item: Item, letter: Start, record: InstanceRecord, arrivals: list[Item]
    ) -> None:
        """The instance that is there stays; an event that came with the start is for it, if it lives."""
        change.take(item)
        if letter.event is not None and record.status.is_terminal:
            change.answer(
                letter.request,
                f"InstanceOverError: instance {record.id!r} has ended as {record.status}, so it takes no event",
            )
        else:
            arrivals += first_event(item, letter)
            change.answer(letter.request)
        if letter.reply is not None:
            self.repeat(change, letter.reply)

    def repeat(self, change: Change, to: ReplyTo, item: Item | None = None) -> None:
        """Tell once more how the instance ended or, while it lives, remember that it is to be told (rule I3)."""
        record = change.resident.record if change.resident is not None else change.insert
        if record is None or record.status.is_terminal:
            outcome.repeat(change, to)
            if item is not None:
                change.take(item)
            return
        change.partition.replies.setdefault(change.instance, []).append(to)
        if item is not None and item.row is not None:
            change.hold(item.row)
        else:
            row = self._envelope(change.instance, Repeat(reply=to), None)
            change.letters.append(replace(row, held=True))

    def purge(
        self, change: Change, item: Item, letter: Purge, children: Sequence[str], arrivals: list[Item]
    ) -> None:
        """Remove the instance, if it is over or can be ended."""
        record = change.resident.record if change.resident is not None else None
        if record is None or (item.row is not None and item.row.run not in (None, record.run)):
            change.take(item)
            change.answer(letter.request, f"NotFoundError: there is no instance {change.instance!r}")
            return
        broken = change.resident is not None and change.resident.unreadable is not None
        if not record.status.is_terminal and not (letter.force and broken):
            if letter.force:
                arrivals.append(self._terminating(change, "purged"))
                change.deferred.append(item)
                return
            change.take(item)
            change.answer(
                letter.request,
                f"RequestError: instance {change.instance!r} is {record.status}; terminate it first, or use force",
            )
            return
        change.take(item)
        change.answer(letter.request)
        change.delete = InstanceDelete(id=record.id, run=record.run, expected_turn=record.turn)
        change.gone = True
        if letter.recursive:
            purge = Purge(force=letter.force)
            change.letters += [self._envelope(child, purge, None) for child in children]

    # Events for what does not exist yet -----------------------------------------------------------------------

    def keep(self, change: Change, item: Item, now: datetime) -> bool:
        """Keep an event in the inbox that was sent with `create`, until somebody starts the instance; False: it is no
        such event, or too old."""
        match item.work:
            case Arrival(what=Raise(create=datetime() as sent_at) as letter):
                window = timedelta(seconds=self._env.settings.event_window)
                if change.resident is not None or item.row is None or sent_at + window <= now:
                    return False
                change.hold(item.row)
                change.kept.append((item.row, sent_at + window))
                change.answer(letter.request)
                return True
            case _:
                return False

    @staticmethod
    def clean_up(change: Change, duty: Expire | Retire) -> None:
        """Let go of kept events whose time is over, unless they have been released meanwhile; or of a run that ended
        long enough ago, unless another has taken its place. A run's children have times of their own."""
        record = change.resident.record if change.resident is not None else None
        match duty:
            case Expire(rows=rows):
                if record is None and change.insert is None:
                    held = change.partition.held.get(change.instance, {})
                    change.expired += [row for row in held if row in rows]
            case Retire(run=run):
                if record is not None and record.run == run and record.status.is_terminal:
                    change.delete = InstanceDelete(id=record.id, run=run, expected_turn=record.turn)
                    change.gone = True

    def _terminating(self, change: Change, reason: str) -> Item:
        what = Terminate(output=_NULL, reason=reason)
        return Item(partition=change.partition, instance=change.instance, work=Arrival(what=what))
