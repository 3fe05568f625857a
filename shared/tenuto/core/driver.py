"""Drives a workflow's coroutines and generators by `send()`: no event loop, no threads.

A workflow is one main branch and those that it spawned. A branch runs until it waits for a task that is not
complete; the task, once complete, puts the branch into the queue of those that are ready, first in, first
out. So the order in which branches run, and the ids of their commands, follow from the history alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from tenuto import payloads
from tenuto.core.definitions import Registry, activity_of
from tenuto.core.events import Command, Failure
from tenuto.core.failures import payload_failure
from tenuto.core.locate import awaited_codes, calling_line, is_running, suspended_line
from tenuto.core.recorder import Recorder
from tenuto.core.tasks import BranchTask, Routine, Task, running_driver
from tenuto.errors import NonDeterminismError, TaskCancelledError, TenutoError, WorkflowCodeError

__all__ = ["Driver", "Halt"]

T = TypeVar("T")
C = TypeVar("C", bound=Command)
_MAX_CLOSES = 100
_MAX_HALTS = 100
"""How often code is told to stop before it is taken for code that catches everything, in a loop."""


class Halt(GeneratorExit):
    """Unwinds workflow code that must not go on.

    Not an Exception, so that `except Exception` lets it through; and a GeneratorExit, so that closing a coroutine
    (also when the garbage collector does) ends quietly with it.
    """


class Driver:
    """Runs the code of one generation of one instance."""

    __slots__ = (
        "_branches",
        "_halts",
        "_ready",
        "_registry",
        "_running",
        "_thread",
        "abandoned",
        "current",
        "error",
        "main",
        "recorder",
        "tasks",
    )

    def __init__(self, registry: Registry, recorder: Recorder) -> None:
        self.recorder = recorder
        """Where commands go just now."""
        self.main: BranchTask[Any] | None = None
        self.current: BranchTask[Any] | None = None
        """The branch whose code is running."""
        self.tasks: dict[int, Task[Any]] = {}
        """What the history will answer, by command."""
        self.error: TenutoError | None = None
        """Why the code cannot go on: a mismatch, or a thing that no workflow may do."""
        self.abandoned = False
        self._registry = registry
        self._ready: deque[BranchTask[Any]] = deque()
        self._branches: dict[BranchTask[Any], None] = {}
        self._halts = 0
        self._running = False
        self._thread = 0

    @property
    def next_id(self) -> int:
        return self.recorder.state.next_command

    @property
    def is_halted(self) -> bool:
        """Whether the code must not go on: it has been dropped, or it does not fit, or has done what it may not."""
        return self.abandoned or self.error is not None

    def check(self) -> bool:
        """Every entry from workflow code into the core begins here.

        Returns:
            Whether to do what it asks for. False: it catches `Halt` and asks again, in a loop that would never end
            (`while True: try: … except: pass`). Give it a task that never completes and record nothing: its next
            await brings it to rest.

        Raises:
            Halt: the code must not go on.
            WorkflowCodeError: it is not the workflow's own code, in its own turn, that calls.
        """
        if self.abandoned:
            return self._halt()
        if not self._running:
            if any(is_running(branch.routine) for branch in self._branches):
                return self._halt()  # the garbage collector closes an execution that nobody abandoned
            error = WorkflowCodeError(
                f"a workflow's context was used outside its code's turn, at {calling_line()}; "
                "use it only in the workflow function, and give activities plain values"
            )
            if (culprit := running_driver.get()) is not None:  # the code of another instance
                culprit.error = error
            raise error
        if get_ident() != self._thread:
            self.error = WorkflowCodeError(
                f"the workflow's context was used from another thread, at {calling_line()}; "
                "workflow code runs in one thread: move the work into an activity"
            )
            raise self.error
        return True if self.error is None else self._halt()

    def misuse(self, message: str) -> NoReturn:
        """The code did what no workflow may do, in the line that called: the turn fails, not the workflow."""
        if self.error is None:
            self.error = WorkflowCodeError(f"{message} (at {calling_line()})")
        raise Halt

    def issue(self, command: C) -> C:
        """A command of the code's; gives it as history has it.

        Raises:
            Halt: the history has something else; `error` says what.
        """
        try:
            return self.recorder.issue(command, self.place)
        except NonDeterminismError as error:
            self.error = error
            raise Halt from None

    def refusal(self, payload: msgspec.Raw, what: str) -> Failure | None:
        """Why a call with this payload is refused: it is too large. On replay nothing is: history tells which were."""
        recorder = self.recorder
        if recorder.replaying or len(payload) <= recorder.max_payload_bytes:
            return None
        return payload_failure(payloads.too_large(what, len(payload), recorder.max_payload_bytes))

    def forget(self, command: int) -> None:
        """The code no longer waits for this command's answer."""
        self.tasks.pop(command, None)

    def start(self, routine: Routine[Any]) -> None:
        """Begin with the main branch."""
        self.main = self._add(routine)

    def spawn(self, routine: Routine[T]) -> BranchTask[T]:
        """A branch beside the others. It begins to run when the one that spawned it waits."""
        if not isinstance(routine, Coroutine | Generator):
            self.misuse(
                f"spawn was given {routine!r}; call an `async def` or generator function and pass what it gives"
            )
        return self._add(routine)

    def enqueue(self, branch: BranchTask[Any]) -> None:
        if not branch.queued:
            branch.queued = True
            self._ready.append(branch)

    def run(self) -> None:
        """Run whatever is ready, until all wait, or the main branch is done, or `error` is set."""
        if not self._ready:
            return
        self._thread = get_ident()
        self._running = True
        try:
            while self._ready and self.error is None and not (self.main and self.main.is_complete):
                self.current = self._ready.popleft()
                self._step(self.current)
        finally:
            self.current = None
            self._running = False

    def conclude(self, command: Command, place: Callable[[], str]) -> bool:
        """The main branch has ended with this command. False: the history has something else; see `error`."""
        try:
            self.recorder.issue(command, place)
        except NonDeterminismError as error:
            self.error = error
            return False
        self.abandon()
        return True

    def abandon(self) -> None:
        """Drop the code. `finally` blocks run, but what they ask for is refused by `Halt`."""
        self.abandoned = True
        self._ready.clear()
        for branch in self._branches:
            _close(branch.routine)
        self._branches.clear()

    def _halt(self) -> Literal[False]:
        """Raises Halt, unless the code has shown that it takes no notice."""
        if self._halts >= _MAX_HALTS:
            return False
        self._halts += 1
        raise Halt

    def _add(self, routine: Routine[T]) -> BranchTask[T]:
        branch: BranchTask[T] = BranchTask(self, routine)
        self._branches[branch] = None
        self.enqueue(branch)
        return branch

    def _step(self, branch: BranchTask[Any]) -> None:
        """Run one branch until it waits or ends."""
        branch.queued = False
        awaited, branch.awaited = branch.awaited, None
        while True:
            try:
                yielded = _resume(branch, awaited)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the code lets out is how the branch ended
                self._end(branch, error)
                return
            if self.error is not None:
                return
            if not isinstance(yielded, Task) or not yielded.belongs_to(self):
                self.error = self._foreign(branch, yielded)
                return
            awaited = yielded
            if branch.cancelling:  # it cancelled itself and waited
                awaited.remove_waiter(branch, cancel=True)
            elif not awaited.is_complete:
                branch.awaited = awaited
                awaited.add_waiter(branch)
                return

    def _end(self, branch: BranchTask[Any], error: BaseException) -> None:
        """A branch has ended: by its result (`StopIteration`), by being halted, or by an exception."""
        self._branches.pop(branch, None)
        if isinstance(error, Halt):
            if self.error is None:
                self.error = WorkflowCodeError("workflow code used the context of another execution")
        elif isinstance(error, StopIteration):
            branch.resolve(error.value)
        else:
            branch.fail(error)

    def place(self) -> str:
        """Where the code stands, for messages."""
        if self._running:
            return calling_line()
        return suspended_line(self.main.routine) if self.main else "an unknown line"

    def _foreign(self, branch: BranchTask[Any], yielded: Any) -> WorkflowCodeError:
        codes = set(awaited_codes(branch.routine))
        if isinstance(yielded, Coroutine):
            codes.update(awaited_codes(yielded))
            yielded.close()  # else Python warns that nobody awaited it
        for name, activity in self._registry.activities.items():
            code = getattr(activity.function, "__code__", None)
            if code in codes:
                return WorkflowCodeError(
                    f"workflow code ran the activity {name!r} itself, at {suspended_line(branch.routine, code)}; "
                    f"write ctx.call_activity({name}, …) instead"
                )
        place = suspended_line(branch.routine)
        return WorkflowCodeError(f"workflow code waited for {_what(yielded)}, at {place}; {_remedy(yielded)}")


def _resume(branch: BranchTask[Any], awaited: Task[Any] | None) -> Any:
    """Let a branch go on with the outcome of what it waited for."""
    if branch.cancelling:
        branch.cancelling = False
        return branch.routine.throw(TaskCancelledError("the branch was cancelled by the workflow itself"))
    if awaited is None:
        return branch.routine.send(None)
    error = awaited.get_exception()
    if error is not None:
        return branch.routine.throw(awaited.fresh_error(error))
    return branch.routine.send(awaited.get_result())


def _close(routine: Routine[Any]) -> None:
    """End a suspended routine. One that answers its closing by waiting again is closed again."""
    for _ in range(_MAX_CLOSES):
        try:
            routine.close()
        except RuntimeError:  # "ignored GeneratorExit": it waited in a `finally`, where it now stands
            continue
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - what dying code still raises concerns nobody
            return
        else:
            return


def _what(yielded: Any) -> str:
    if isinstance(yielded, Task):
        return "a task of another workflow execution"
    if yielded is None:
        return "something that is not Tenuto's (a bare `yield`, as asyncio.sleep(0) does)"
    return f"something that is not Tenuto's ({type(yielded).__module__}.{type(yielded).__qualname__})"


def _remedy(yielded: Any) -> str:
    if isinstance(yielded, list | tuple):
        return "wait for several tasks with when_all([…])"
    if activity_of(yielded) is not None:
        return "call activities with ctx.call_activity(…)"
    if isinstance(yielded, Coroutine | Generator):
        return "run coroutines and generators as branches with ctx.spawn(…), or as activities"
    return "wait with ctx.create_timer instead of sleeping, and do input and output in activities"
