"""What becomes of the wish that a new instance begin with a part of the history of one that has ended."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import structs

from tenuto.core.histories import read_history
from tenuto.core.letters import Rerun
from tenuto.core.rerunning import Run, own_events
from tenuto.core.reserved import is_reserved
from tenuto.core.status import Status
from tenuto.errors import NotFoundError, RequestError, StalledError
from tenuto.store.protocol import StoredInstance
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change, Envelope
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.executor import Executor
from tenuto_orchestrator.existence import Existence
from tenuto_orchestrator.limits import check_turn
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.seals import Seals
from tenuto_orchestrator.work import Item

__all__ = ["Reruns"]


class Reruns:
    """Decides about reruns; what it decides is in the `Change`. The copied history and the first turn: one commit."""

    def __init__(self, env: Environment, executor: Executor, seals: Seals, envelope: Envelope) -> None:
        self._env = env
        self._executor = executor
        self._seals = seals
        self._envelope = envelope

    async def rerun(
        self, change: Change, item: Item, letter: Rerun, source: StoredInstance | None, now: datetime
    ) -> None:
        """Make the instance; or use the letter up and say why there is none."""
        record = change.resident.record if change.resident is not None else None
        if record is not None and record.run == letter.run:  # a repetition (rule C2)
            change.take(item)
            change.answer(letter.request)
            return
        if (
            record is not None and not record.status.is_terminal
        ):  # one that has ended is replaced, as by a start
            self.refuse_taken(change, item, letter, record.status)
            return
        try:
            await self._make(change, item, letter, source, now)
        except NotFoundError as error:
            _refuse(change, item, letter, f"NotFoundError: {error}")
        except (RequestError, StalledError, msgspec.DecodeError) as error:
            message = f"instance {letter.source!r} cannot be rerun from event {letter.command}: {error}"
            _refuse(change, item, letter, f"RequestError: {message}")

    @staticmethod
    def refuse_taken(change: Change, item: Item, letter: Rerun, status: Status) -> None:
        """Use the letter up: its id has an instance, which is to stay."""
        message = f"instance {change.instance!r} exists and is {status}; choose another id"
        _refuse(change, item, letter, f"AlreadyExistsError: {message}")

    async def _make(
        self, change: Change, item: Item, letter: Rerun, source: StoredInstance | None, now: datetime
    ) -> None:
        if source is None:
            raise NotFoundError(f"there is no instance {letter.source!r}")
        record = source.record
        if letter.source == change.instance:
            raise RequestError(
                "the new instance needs an id of its own; rewind this one, or restart it in place"
            )
        if is_reserved(record.workflow):
            raise RequestError(f"its workflow {record.workflow!r} is one of Tenuto's own")
        if not record.status.is_terminal:
            raise RequestError(
                f"it is {record.status}, and only what has ended can be rerun; terminate it first"
            )
        spans = self._env.spans
        trace = spans.admit(
            letter.trace,
            instance=change.instance,
            run=letter.run,
            workflow=record.workflow,
            version=record.version,
        )
        letter = structs.replace(letter, trace=trace)
        started, execution, turn = await self._executor.rerun(
            change.instance, letter, Run(record.id, record.run), read_history(source.turns), now
        )
        try:
            check_turn(self._env, execution.state, turn)
            sealed = structs.replace(
                started, input=self._env.sealer.seal_payload(started.input, change.instance)
            )
            stored = await self._seals.store_start(change.instance, letter.run, sealed)
        except Exception:
            execution.abandon()
            raise
        Existence.make(change, item, letter, stored, now)
        assert change.insert is not None  # noqa: S101 - just made
        kept = [stored, *turn.events] if self._env.keeps_history else None
        resident = Resident(record=change.insert, execution=execution, history=kept)
        change.resident = resident
        outcome.record_turn(
            change,
            resident,
            turn,
            started=stored,
            arrived={},
            names=self._env.names,
            spans=spans,
            envelope=self._envelope,
            now=now,
        )
        view = spans.view(resident.record, execution.state, (), now)
        if view is not None:
            change.traced = view.after(structs.replace(turn, events=own_events(turn)), change.record)


def _refuse(change: Change, item: Item, letter: Rerun, error: str) -> None:
    change.take(item)
    change.answer(letter.request, error)
