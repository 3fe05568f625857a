"""Who decides: the pipeline asks an executor for a turn and awaits the answer.

The default runs the workflow code in this process. Another may ask a process of another language over a wire.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast

from msgspec.structs import replace

from tenuto.core import rerunning
from tenuto.core.events import Event, ExecutionStarted, Notification, rewound
from tenuto.core.execution import Execution, Resolver, advance, replay
from tenuto.core.letters import Rerun
from tenuto.core.rerunning import Run
from tenuto.core.rewinding import plan, rewind
from tenuto.core.status import Status
from tenuto.core.turn import Arrival, Turn
from tenuto.errors import NonDeterminismError, PayloadSealedError, RequestError, StalledError
from tenuto.sealing import Sealer
from tenuto.shelf import Shelf
from tenuto.store.protocol import InstanceRecord
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.seals import Seals
from tenuto_orchestrator.watchdog import Watchdog

__all__ = ["Executor", "InProcessExecutor"]

_log = logging.getLogger("tenuto.orchestrator")


class Executor(Protocol):
    async def replay(self, instance: str, run: str, history: Sequence[Event]) -> Execution:
        """An execution from nothing. It does not raise for what is wrong with one instance: see `Execution.stalled`."""
        ...

    async def advance(self, resident: Resident, arrived: Sequence[Arrival], now: datetime) -> Turn:
        """The next turn of a resident that is alive.

        Raises:
            StalledError: no code that fits is at hand; the resident is spoiled and must be thrown away.

        """
        ...

    async def rewind(
        self, record: InstanceRecord, history: Sequence[Event], now: datetime, *, reason: str | None
    ) -> tuple[Execution, Turn]:
        """Let an instance that has failed, or was terminated, go on in place.

        Raises:
            RequestError: it cannot be rewound.
            StalledError: no code that fits is at hand.

        """
        ...

    async def rerun(
        self, instance: str, letter: Rerun, source: Run, history: Sequence[Event], now: datetime
    ) -> tuple[ExecutionStarted, Execution, Turn]:
        """Begin an instance with a part of another's history: its start (not sealed), and its first turn.

        Raises:
            RequestError: the other one cannot be rerun from there.
            StalledError: no code that fits is at hand, or what is kept cannot be opened.

        """
        ...


class InProcessExecutor:
    """Runs workflow code here. With `check_replay`, replays each instance from nothing after every turn, so that
    nondeterminism shows at once rather than at the first failover; this costs the whole history per turn."""

    def __init__(
        self,
        resolve: Resolver,
        *,
        max_losses: int,
        max_payload_bytes: int = sys.maxsize,
        seals: Seals | None = None,
        check_replay: bool = False,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._resolve = resolve
        self._watchdog = watchdog if watchdog is not None else Watchdog(limit=0)
        self._max_losses = max_losses
        self._max_payload_bytes = max_payload_bytes
        self._seals = seals or Seals(Sealer(), Shelf())
        self._check = check_replay

    @property
    def keeps_history(self) -> bool:
        return self._check

    async def replay(self, instance: str, run: str, history: Sequence[Event]) -> Execution:
        try:
            opened = await self._seals.open_history(instance, history)
        except PayloadSealedError as error:  # the history makes sense all the same, so that it can be ended
            execution = replay(_nobody, instance, run, history)
            execution.stall(error)
            return execution
        self._watchdog.begin(instance, _workflow_of(history), f"the replay of its {len(history)} events")
        try:
            execution = self._replay(instance, run, opened)
        finally:
            self._watchdog.end()
        self._seals.keep_sealed(execution.state, history, opened)
        if isinstance(execution.stalled, StalledError):
            _log.error("%s", execution.stalled, exc_info=execution.stalled)
        return execution

    async def advance(self, resident: Resident, arrived: Sequence[Arrival], now: datetime) -> Turn:
        execution = resident.execution
        assert execution is not None  # noqa: S101 - an ended instance is never advanced
        generation = execution.state.generation
        opened = await self._seals.open_arrivals(execution.instance, arrived)
        if self._check and resident.history is not None and execution.stalled is None:
            resident.history = await self._seals.open_history(execution.instance, resident.history)
        self._watchdog.begin(execution.instance, execution.state.workflow, "a turn")
        try:
            turn = advance(
                execution,
                opened,
                now,
                max_losses=self._max_losses,
                max_payload_bytes=self._max_payload_bytes,
            )
            if self._check and resident.history is not None and execution.stalled is None:
                self._replay_again(resident, execution, turn)
        finally:
            self._watchdog.end()
        if turn.ignored:
            given = {id(one): arrival for one, arrival in zip(opened, arrived, strict=True)}
            turn = replace(turn, ignored=tuple((given[id(one)], reason) for one, reason in turn.ignored))
        return await self._seals.seal_turn(execution, generation, turn, zip(arrived, opened, strict=True))

    async def rewind(
        self, record: InstanceRecord, history: Sequence[Event], now: datetime, *, reason: str | None
    ) -> tuple[Execution, Turn]:
        counting = rewound(history)
        try:
            opened = await self._seals.open_history(record.id, counting)
        except PayloadSealedError as error:
            raise StalledError(f"instance {record.id!r} cannot go on: {error}") from error
        found = plan(opened)
        execution = self._replay(record.id, record.run, opened[: found.kept])
        self._seals.keep_sealed(execution.state, counting[: found.kept], opened[: found.kept])
        self._watchdog.begin(record.id, record.workflow, "its rewinding")
        try:
            turn = rewind(execution, found, now, reason=reason, max_payload_bytes=self._max_payload_bytes)
        except StalledError:
            execution.abandon()
            raise
        finally:
            self._watchdog.end()
        return execution, await self._seals.seal_turn(execution, record.generation, turn, ())

    async def rerun(
        self, instance: str, letter: Rerun, source: Run, history: Sequence[Event], now: datetime
    ) -> tuple[ExecutionStarted, Execution, Turn]:
        found = rerunning.plan(
            rewound(history), letter.command, source=source, target=Run(instance, letter.run)
        )
        try:
            found = await self._opened(found)
            given = None if letter.input is None else self._seals.open_given(instance, letter.input)
        except PayloadSealedError as error:
            raise StalledError(str(error)) from error
        started = replace(found.started, trace=letter.trace)
        execution = self._replay(instance, letter.run, [started, *found.kept])
        self._watchdog.begin(instance, started.workflow, "its first turn, by a rerun")
        try:
            turn = rerunning.rerun(
                execution,
                found,
                now,
                seed=letter.seed,
                given=given,
                max_payload_bytes=self._max_payload_bytes,
            )
        except (RequestError, StalledError):
            execution.abandon()
            raise
        finally:
            self._watchdog.end()
        return started, execution, await self._seals.seal_turn(execution, started.generation, turn, ())

    async def _opened(self, found: rerunning.Rerunning) -> rerunning.Rerunning:
        """With all that is kept in plain, since it is to be another instance's."""
        sealed = [found.started, *found.kept, found.cause]
        started, *kept, cause = await self._seals.open_history(found.source.instance, sealed, whole=True)
        return dataclasses.replace(
            found,
            started=cast("ExecutionStarted", started),
            kept=kept,
            cause=cast("Notification", cause),
        )

    def _replay(self, instance: str, run: str, history: Sequence[Event]) -> Execution:
        return replay(self._resolve, instance, run, history, max_payload_bytes=self._max_payload_bytes)

    def _replay_again(self, resident: Resident, execution: Execution, turn: Turn) -> None:
        if turn.next_generation:
            resident.history = list(turn.next_generation)
        else:
            assert resident.history is not None  # noqa: S101 - checked by the caller
            resident.history.extend(turn.events)
        again = self._replay(execution.instance, execution.run, resident.history)
        try:
            if again.stalled is not None:
                raise StalledError(f"the replay check failed: {again.stalled}") from again.stalled
            self._compare(again, execution)
        finally:
            again.abandon()

    @staticmethod
    def _compare(again: Execution, execution: Execution) -> None:
        """Raises StalledError if the replay came to another end."""
        status = execution.custom_status
        # One that this generation has not set is an earlier one's, which its replay cannot know. And the code of an
        # instance that is terminated is not run to where it was.
        if again.custom_status is None or execution.state.status is Status.TERMINATED:
            status = again.custom_status
        found, expected = (again.state.status, again.custom_status), (execution.state.status, status)
        if found != expected:
            error = NonDeterminismError(
                f"instance {execution.instance!r}: after a replay from nothing its status and custom status are "
                f"{found}, and they were {expected}"
            )
            raise StalledError(f"the replay check failed: {error}") from error


def _nobody(_name: str, _version: str | None) -> None:
    """A resolver that knows no code."""


def _workflow_of(history: Sequence[Event]) -> str:
    first = history[0] if history else None
    return first.workflow if isinstance(first, ExecutionStarted) else "unknown"
