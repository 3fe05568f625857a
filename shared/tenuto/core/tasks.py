"""What workflow code awaits.

    pending ──► completed (a value)
            ├─► failed    (an exception)
            └─► cancelled (by the code itself; awaiting it raises TaskCancelledError)

A task changes once and keeps its outcome, so it can be awaited again, and by several branches. Those who wait
for a task (branches, and groups made by `when_all` or `when_any`) are told in the order in which they began.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from tenuto import payloads
from tenuto.core.events import Failure, TaskCancelled
from tenuto.core.failures import describe
from tenuto.core.retry import Retry
from tenuto.errors import OutcomeError, PayloadError, TaskCancelledError, WorkflowCodeError

if TYPE_CHECKING:
    from tenuto.core.driver import Driver

__all__ = [
    "AnswerTask",
    "BranchTask",
    "CommandTask",
    "Routine",
    "Task",
    "running_driver",
    "when_all",
    "when_any",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Routine: TypeAlias = Coroutine[Any, Any, T] | Generator[Any, Any, T]
"""A coroutine or a generator of the workflow's."""

running_driver: ContextVar[Driver | None] = ContextVar("tenuto_running_driver", default=None)
"""The driver whose code is running just now: how `when_all` knows the workflow that it is called in."""


class _Waiter(Protocol):
    def wake(self, task: Task[Any]) -> None:
        """`task` has its outcome."""


class Task(Generic[T_co]):
    """Something that a workflow waits for: `await task`, or `yield task` in a generator."""

    __slots__ = ("_complete", "_driver", "_error", "_traceback", "_value", "_waiters")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._complete = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._waiters: dict[_Waiter, None] = {}

    def __await__(self) -> Generator[Task[Any], Any, T_co]:
        alive = self._driver.check()
        if self._complete and alive:
            return self.get_result()
        result: T_co = yield self
        return result

    @property
    def is_complete(self) -> bool:
        """Whether it has its outcome, whichever."""
        return self._complete

    @property
    def is_failed(self) -> bool:
        """Whether it failed or was cancelled."""
        return self._error is not None

    @property
    def is_cancelled(self) -> bool:
        return isinstance(self._error, TaskCancelledError)

    def get_result(self) -> T_co:
        """The value, once it is complete.

        Raises:
            Exception: what the task failed with.
            ValueError: it is not complete.
        """
        if not self._complete:
            raise ValueError("the task is not complete; await it (or yield it, in a generator)")
        if self._error is not None:
            raise self.fresh_error(self._error)
        value: T_co = self._value
        return value

    def get_exception(self) -> BaseException | None:
        """What it failed with; None while it is pending or where it completed."""
        return self._error

    def cancel(self) -> bool:
        """Stop waiting for it. Awaiting it then raises `TaskCancelledError`. False if it was complete already.

        An activity's answer, a timer or a child's outcome no longer counts, and a child is terminated unless
        its call said `abandon`. A branch has the error thrown in where it stands, so it may clean up. A
        cancelled branch or group cancels with it what nobody else waits for.
        """
        if not self._driver.check() or self._complete:
            return False
        self._withdraw()
        return True

    # For the engine.

    def belongs_to(self, driver: Driver) -> bool:
        return self._driver is driver

    def resolve(self, value: Any) -> None:
        self._value = value
        self._finish()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._traceback = error.__traceback__
        self._finish()

    def fresh_error(self, error: BaseException) -> BaseException:
        """The exception as it was raised first: each raising of one object would lengthen its traceback."""
        return error.with_traceback(self._traceback)

    def add_waiter(self, waiter: _Waiter) -> None:
        self._waiters[waiter] = None

    def remove_waiter(self, waiter: _Waiter, *, cancel: bool) -> None:
        """`waiter` lost interest. With `cancel`, the task is cancelled if nobody else waits for it."""
        self._waiters.pop(waiter, None)
        if cancel and not self._waiters and not self._complete:
            self._withdraw()

    def _withdraw(self) -> None:
        self.fail(TaskCancelledError("the task was cancelled by the workflow itself"))

    def _finish(self) -> None:
        self._complete = True
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.wake(self)


class CommandTask(Task[T_co]):
    """A task that history answers: an activity, a timer, a child."""

    __slots__ = ("command",)

    def __init__(self, driver: Driver, command: int) -> None:
        super().__init__(driver)
        self.command = command
        """The id of the command that history answers."""

    def _withdraw(self) -> None:
        self._driver.forget(self.command)
        self._driver.issue(TaskCancelled(id=self._driver.next_id, command=self.command))
        super()._withdraw()


class AnswerTask(CommandTask[T_co]):
    """A call that a worker or a child answers, with a value of the type `hint`, or with a failure."""

    __slots__ = ("_error_type", "_hint", "_label", "retry")

    def __init__(
        self,
        driver: Driver,
        command: int,
        *,
        label: str,
        hint: Any,
        retry: Retry | None,
        error_type: type[OutcomeError],
    ) -> None:
        super().__init__(driver, command)
        self.retry = retry
        """The policy that governs its attempts: the call's, else the activity's, else the app's."""
        self._label = label
        self._hint = hint
        self._error_type = error_type

    def decode(self, result: msgspec.Raw) -> Any:
        """Raises PayloadError if the result does not fit the hint."""
        try:
            return payloads.decode(result, self._hint)
        except PayloadError as error:
            raise PayloadError(f"the result of {self._label}: {error}") from error

    def reject(self, failure: Failure) -> None:
        """It failed for good."""
        self.fail(self._error_type(f"{self._label} failed: {describe(failure)}", failure))


class BranchTask(Task[T]):
    """A coroutine or generator that runs beside the others. Its outcome is the task's."""

    __slots__ = ("awaited", "cancelling", "queued", "routine")

    def __init__(self, driver: Driver, routine: Routine[T]) -> None:
        super().__init__(driver)
        self.routine = routine
        self.awaited: Task[Any] | None = None
        """What it waits for, or, once it is queued, what it waited for."""
        self.cancelling = False
        self.queued = False

    def wake(self, task: Task[Any]) -> None:
        del task  # it is self.awaited
        self._driver.enqueue(self)

    def _withdraw(self) -> None:
        self.cancelling = True
        if self.awaited is not None and not self.queued:
            awaited, self.awaited = self.awaited, None
            awaited.remove_waiter(self, cancel=True)
        if self is not self._driver.current:
            self._driver.enqueue(self)


class _Group(Task[T_co]):
    """Waits for members. Cancelling it cancels those members for which nobody else waits."""

    __slots__ = ("_members",)

    def __init__(self, driver: Driver, members: list[Task[Any]]) -> None:
        super().__init__(driver)
        self._members = members

    def _detach(self, *, cancel: bool) -> None:
        for member in dict.fromkeys(self._members):
            if not member.is_complete:
                member.remove_waiter(self, cancel=cancel)

    def wake(self, task: Task[Any]) -> None:
        raise NotImplementedError

    def _withdraw(self) -> None:
        self._detach(cancel=True)
        super()._withdraw()


class _All(_Group[list[Any]]):
    __slots__ = ("_left",)

    def __init__(self, driver: Driver, members: list[Task[Any]]) -> None:
        super().__init__(driver, members)
        waiting = {member: None for member in members if not member.is_complete}
        self._left = len(waiting)
        for member in waiting:
            member.add_waiter(self)
        if not waiting:
            self._conclude()

    def wake(self, task: Task[Any]) -> None:
        del task  # only the count matters until the last one
        self._left -= 1
        if self._left == 0:
            self._conclude()

    def _conclude(self) -> None:
        for member in self._members:
            error = member.get_exception()
            if error is not None:
                self.fail(error)
                return
        self.resolve([member.get_result() for member in self._members])


class _Any(_Group[Task[Any]]):
    __slots__ = ()

    def __init__(self, driver: Driver, members: list[Task[Any]]) -> None:
        super().__init__(driver, members)
        for member in members:
            if member.is_complete:
                self.resolve(member)
                return
        for member in members:
            member.add_waiter(self)

    def wake(self, task: Task[Any]) -> None:
        if self._complete:  # two members got their outcome before the group was detached
            return
        self._detach(cancel=False)  # else a task that outlives many groups would collect them all
        self.resolve(task)


def when_all(tasks: Iterable[Task[T] | Routine[T]]) -> Task[list[T]]:
    """Wait for all of them, then give their results in input order.

    If any failed, the first failure in input order is raised, but only once all are complete. Coroutines and
    generators become branches (as by `ctx.spawn`). The same task may be given twice; nothing gives `[]` at once.

    Raises:
        WorkflowCodeError: called outside workflow code, or given something that is no task of this workflow.
    """
    driver = _driver("when_all")
    if not driver.check():
        return Task(driver)
    return _All(driver, _members(driver, tasks, "when_all"))


def when_any(tasks: Iterable[Task[T] | Routine[T]]) -> Task[Task[T]]:
    """Wait for the first to complete (or fail, or be cancelled) and give that task; the others go on.

    Ask the winner for its result with `await winner`. To tell coroutines apart, make tasks of them with
    `ctx.spawn` first.

    Raises:
        WorkflowCodeError: called outside workflow code, or given something that is no task of this workflow.
        ValueError: given nothing, which would never end.
    """
    driver = _driver("when_any")
    if not driver.check():
        return Task(driver)
    members = _members(driver, tasks, "when_any")
    if not members:
        raise ValueError("when_any of nothing would never end; give it one task at least")
    return _Any(driver, members)


def _driver(caller: str) -> Driver:
    driver = running_driver.get()
    if driver is None:
        raise WorkflowCodeError(f"{caller} was called outside workflow code")
    return driver


def _members(driver: Driver, tasks: Iterable[Any], caller: str) -> list[Task[Any]]:
    if isinstance(tasks, Task | Coroutine):
        driver.misuse(f"{caller} takes a list of tasks; write {caller}([…])")
    branches: dict[int, BranchTask[Any]] = {}
    members: list[Task[Any]] = []
    for item in tasks:
        if isinstance(item, Task):
            member: Task[Any] = item
        elif isinstance(item, Coroutine | Generator):
            if id(item) not in branches:  # the same coroutine given twice is one branch
                branches[id(item)] = driver.spawn(item)
            member = branches[id(item)]
        else:
            driver.misuse(
                f"{caller} was given {item!r}, which is no task, coroutine or generator of this workflow"
            )
        if not member.belongs_to(driver):
            driver.misuse(f"{caller} was given a task of another workflow execution")
        members.append(member)
    return members
