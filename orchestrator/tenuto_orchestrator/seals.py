"""Where payloads are opened for workflow code, and what it hands over is sealed (`tenuto.sealing`).

The core knows nothing of it: it gets plain payloads and gives plain ones. What waits in memory to be sent once more
(the inputs of pending calls) is kept as it was sealed, so that a retry or a second sending costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityLost,
    ActivityScheduled,
    ChildScheduled,
    CompensationAdded,
    Event,
    EventSent,
    ExecutionStarted,
    WorkflowStarted,
)
from tenuto.core.execution import Execution
from tenuto.core.pending import PendingActivity, PendingChild
from tenuto.core.state import State
from tenuto.core.turn import Arrival, LetterOut, TaskOut, Turn
from tenuto.errors import PayloadSealedError, StalledError
from tenuto.messages import ActivityTask
from tenuto.sealing import Sealer, reference, references
from tenuto.shelf import Section, Shelf

__all__ = ["Seals"]


class Seals:
    """The sealing of one process's turns."""

    def __init__(self, sealer: Sealer, shelf: Shelf | None = None) -> None:
        self._sealer = sealer
        self._shelf = shelf or Shelf()

    async def open_history(
        self, instance: str, history: Sequence[Event], *, whole: bool = False
    ) -> list[Event]:
        """The history as the code is to see it. The inputs of activities that are stored apart stay there, since only
        their workers read them; unless it is wanted whole, for another instance.

        Raises:
            PayloadSealedError: something in it cannot be opened.
            StoreUnavailableError: the payload store is away.
        """
        objects = await self._objects(
            instance, (event for event in history if whole or not isinstance(event, ActivityScheduled))
        )
        return [
            event
            if not whole and isinstance(event, ActivityScheduled) and reference(event.input) is not None
            else self._sealer.open(event, instance, objects)
            for event in history
        ]

    def open_given(self, instance: str, payload: msgspec.Raw) -> msgspec.Raw:
        """What a letter gave to the instance. Raises `PayloadSealedError`."""
        return self._sealer.open_payload(payload, instance)

    async def open_arrivals(self, instance: str, arrived: Sequence[Arrival]) -> list[Arrival]:
        """What has arrived, as the code is to see it; what was plain is the same object.

        Raises:
            StalledError: something of it cannot be opened.
            StoreUnavailableError: the payload store is away.
        """
        objects = await self._objects(
            instance, (one.what for one in arrived if isinstance(one.what, msgspec.Struct))
        )
        try:
            return [self._open_arrival(instance, arrival, objects) for arrival in arrived]
        except PayloadSealedError as error:
            raise StalledError(f"instance {instance!r} cannot go on: {error}") from error

    def keep_sealed(self, state: State, sealed: Sequence[Event], plain: Sequence[Event]) -> None:
        """Of these events, each sealed and plain: pending calls keep the sealed ones, and sealed heartbeat details."""
        for stored, issued in zip(sealed, plain, strict=True):
            if stored is not issued and isinstance(stored, ActivityFailed | ActivityLost):
                failed = state.pending.get(stored.command)
                if isinstance(failed, PendingActivity) and stored.details is not None:
                    failed.details = stored.details
            if stored is issued or not isinstance(stored, ActivityScheduled | ChildScheduled):
                continue
            match state.pending.get(stored.id), stored:
                case PendingActivity(command=command) as pending, ActivityScheduled() if command is issued:
                    pending.command = stored
                case PendingChild(command=command) as pending, ChildScheduled() if command is issued:
                    pending.command = stored
                case _:
                    pass  # it has been answered in the same breath, or is another generation's

    async def store_start(self, instance: str, run: str, started: ExecutionStarted) -> ExecutionStarted:
        """The start as it is to be stored. Its input belongs to the instance's row, as long as that lives.

        Raises:
            StoreUnavailableError: the payload store is away.
        """
        section = self._shelf.section(instance, run, None)
        if section is None or len(started.input) <= section.threshold:
            return started
        try:
            stored = self._sealer.seal(self._sealer.open(started, instance), instance, section)
        except PayloadSealedError:  # it stays as it is, and the instance will stall for it
            return started
        await self._shelf.put(section)
        return stored

    async def seal_turn(
        self, execution: Execution, generation: int, turn: Turn, arrived: Iterable[tuple[Arrival, Arrival]]
    ) -> Turn:
        """The turn of that generation as it is to be stored and sent. What is to be stored apart is stored.

        `arrived` are the arrivals as they came, each with itself as it was opened: what a worker has stored apart need
        not be stored once more.

        Raises:
            StoreUnavailableError: the payload store is away.
        """
        instance, sealer, shelf = execution.instance, self._sealer, self._shelf
        section = shelf.section(instance, execution.run, generation)
        if sealer.is_plain and section is None:
            return turn
        if section is not None:
            _remember(section, arrived)
        events = tuple(sealer.seal(event, instance, _apart(event, section)) for event in turn.events)
        next_section = (
            shelf.section(instance, execution.run, generation + 1) if turn.next_generation else None
        )
        following = tuple(sealer.seal(event, instance, next_section) for event in turn.next_generation)
        output = turn.output
        if output is not None:
            output = sealer.seal_payload(output, instance, section)
        await shelf.put(section, next_section)
        stored: dict[int, Event] = {
            id(plain): event for plain, event in zip(turn.events, events, strict=True) if plain is not event
        }
        self.keep_sealed(execution.state, events, turn.events)
        failure, status = turn.failure, turn.custom_status
        return replace(
            turn,
            events=events,
            next_generation=following,
            tasks=tuple(self._seal_task(task, stored, instance) for task in turn.tasks),
            dead=tuple(self._seal_task(task, stored, instance) for task in turn.dead),
            letters=tuple(self._seal_letter(out, instance) for out in turn.letters),
            output=output,
            failure=None if failure is None else sealer.seal_failure(failure, instance),
            custom_status=None
            if status is None
            else bytes(sealer.seal_payload(msgspec.Raw(status), instance)),
        )

    async def for_workers(
        self, instance: str, tasks: Sequence[tuple[str, ActivityTask]]
    ) -> list[tuple[str, ActivityTask]]:
        """The tasks, each with its pool, as workers can read them: by value, where they do not reach the store to which
        those of earlier turns refer.

        Raises:
            StoreUnavailableError: the payload store is away.
        """
        if self._shelf.for_workers:
            return [*tasks]
        objects = await self._objects(instance, (task for _, task in tasks))
        return [
            (pool, self._sealer.seal(self._sealer.open(task, instance, objects), instance))
            if reference(task.input) in objects
            else (pool, task)
            for pool, task in tasks
        ]

    async def _objects(self, instance: str, structs: Iterable[msgspec.Struct]) -> Mapping[str, bytes]:
        return await self._shelf.get(instance, [key for struct in structs for key in references(struct)])

    def _open_arrival(self, instance: str, arrival: Arrival, objects: Mapping[str, bytes]) -> Arrival:
        what = arrival.what
        if not isinstance(what, msgspec.Struct):
            return arrival
        opened = self._sealer.open(what, instance, objects)
        return arrival if opened is what else replace(arrival, what=opened)

    def _seal_task(self, task: TaskOut, stored: dict[int, Event], instance: str) -> TaskOut:
        scheduled = stored.get(id(task.scheduled)) if self._shelf.for_workers else None
        if not isinstance(scheduled, ActivityScheduled):  # of an earlier turn, or to be sent by value
            scheduled = self._sealer.seal(task.scheduled, instance)
        details = None if task.details is None else self._sealer.seal_payload(task.details, instance)
        return replace(task, scheduled=scheduled, details=details)

    def _seal_letter(self, out: LetterOut, instance: str) -> LetterOut:
        """For whom it is sent to. A child that is started once more has its input from a call that is sealed."""
        letter = self._sealer.seal(self._sealer.open(out.letter, instance), out.instance)
        return out if letter is out.letter else replace(out, letter=letter)


def _apart(event: Event, section: Section | None) -> Section | None:
    """What goes to another instance goes by value, and is stored apart there; so does what waits to be undone."""
    by_value = isinstance(event, ChildScheduled | WorkflowStarted | EventSent | CompensationAdded)
    return None if by_value else section


def _remember(section: Section, arrived: Iterable[tuple[Arrival, Arrival]]) -> None:
    for came, opened in arrived:
        if isinstance(came.what, ActivityCompleted) and isinstance(opened.what, ActivityCompleted):
            key = reference(came.what.result)
            if key is not None and key.startswith(section.prefix):
                section.known[bytes(opened.what.result)] = came.what.result
