"""The running code of one generation: begun once, fed with what the world answers, ended at most once."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Final, cast

import msgspec

from tenuto import payloads
from tenuto.core.context import Requests, WorkflowContext
from tenuto.core.definitions import WorkflowDefinition
from tenuto.core.driver import Driver, Halt
from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    Command,
    ContinuedAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRerun,
    Failure,
    Notification,
    TimerFired,
)
from tenuto.core.failures import failure_from
from tenuto.core.isolation import Isolation
from tenuto.core.locate import raising_line
from tenuto.core.mailbox import EventTask, Mailbox
from tenuto.core.recorder import Recorder
from tenuto.core.retry import Retry
from tenuto.core.tasks import AnswerTask, CommandTask, Task, running_driver
from tenuto.errors import NonDeterminismError, PayloadError, TenutoError, UsageError

__all__ = ["UNDECODED", "Code"]


class _Undecoded:
    """No value yet: the payload is still to be decoded."""


UNDECODED: Final = _Undecoded()


class Code:
    """A workflow function at work. Nothing of it survives the process: the history does.

    Whatever of the user's runs for it (the function, the validators of its payloads) runs in one context of its own.
    """

    __slots__ = (
        "_context",
        "_definition",
        "_driver",
        "_isolation",
        "_requests",
        "end",
        "mailbox",
        "started",
        "version",
    )

    def __init__(self, definition: WorkflowDefinition, recorder: Recorder) -> None:
        self._definition = definition
        self.version = definition.version
        self._driver = Driver(definition.registry, recorder)
        self._isolation = Isolation()
        self._isolation.run(running_driver.set, self._driver)
        self.mailbox = Mailbox()
        self._requests = Requests()
        self._context = WorkflowContext(self._driver, definition.registry, self.mailbox, self._requests)
        self.started = False
        self.end: Command | None = None
        """How it ended: it has completed, failed, or continued as new, and that is recorded."""

    def __del__(self) -> None:
        """Nobody abandoned it, and Python is about to close its coroutines: in whichever workflow's context."""
        if not self._driver.abandoned:
            self.abandon()

    @property
    def error(self) -> TenutoError | None:
        """Why it cannot go on; None while it can."""
        return self._driver.error

    @property
    def custom_status(self) -> bytes | None:
        return self._requests.custom_status

    def tags(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The tags that the code has made of those that its execution was given; the very same if it left them."""
        changes = self._requests.tags
        if not changes:
            return given
        return {name: value for name, value in {**given, **changes}.items() if value is not None}

    def attach(self, recorder: Recorder) -> None:
        """From now on commands go to this recorder."""
        self._driver.recorder = recorder

    def start(self) -> None:
        """Call the function and run it until it waits."""
        self.started = True
        self._isolation.run(self._start)

    def feed(self, event: Notification, value: Any = UNDECODED) -> None:
        """Tell the code what the world answered, and run it until it waits again.

        `value` is the decoded result, where that has been done already.
        """
        self._isolation.run(self._feed, event, value)

    def awaits(self, event: Notification) -> bool:
        """Whether the code has any use for the event."""
        match event:
            case ActivityCompleted() | ActivityFailed() | TimerFired() | ChildCompleted() | ChildFailed():
                return event.command in self._driver.tasks
            case _:
                return True

    def task(self, command: int) -> AnswerTask[Any]:
        """What waits for the answer to a call.

        Raises:
            NonDeterminismError: nothing does.
        """
        task = self._driver.tasks.get(command)
        if not isinstance(task, AnswerTask):
            raise _unexpected(self._context, command, self.place())
        return task

    def decode(self, command: int, result: msgspec.Raw) -> Any:
        """A result by the type hint of its call.

        Raises:
            PayloadError: it does not fit.
        """
        return self._isolation.run(self.task(command).decode, result)

    def retry(self, command: int) -> Retry | None:
        """The policy that governs the attempts of a call."""
        return self.task(command).retry

    def place(self) -> str:
        """Where the code stands."""
        return self._driver.place()

    def abandon(self) -> None:
        """Drop the code. `finally` blocks run, but what they ask for is refused."""
        self._isolation.run(self._driver.abandon)

    def _start(self) -> None:
        state = self._driver.recorder.state
        try:
            value = self._definition.decode_input(state.input)
        except PayloadError as error:
            self._finish(ExecutionFailed(id=state.next_command, failure=failure_from(error)))
            return
        except UsageError as error:  # an annotation that cannot be resolved
            self._driver.error = error
            return
        routine = _call(self._definition, self._context, value)
        self._driver.start(cast("Generator[Any, Any, Any]", routine))
        self._run()

    def _feed(self, event: Notification, value: Any) -> None:
        try:
            self._tell(event, value)
        except NonDeterminismError as error:
            self._driver.error = error
        except Halt:
            return  # told of an event, the engine itself issued a command that the history does not have
        self._run()

    def _tell(self, event: Notification, value: Any) -> None:
        match event:
            case ActivityCompleted() | ChildCompleted():
                task = self.task(event.command)
                decoded = _decode_again(task, event.result, self.place) if value is UNDECODED else value
                self._driver.forget(event.command)
                task.resolve(decoded)
            case ActivityFailed() | ChildFailed():
                task = self.task(event.command)
                self._driver.forget(event.command)
                task.reject(event.failure)
            case TimerFired():
                self._fire(event.command)
            case EventRaised():
                self.mailbox.put(event)
            case ExecutionRerun():
                self._requests.reseed(self._driver.recorder.state)
            case _:
                pass  # nothing that the code hears of

    def _fire(self, command: int) -> None:
        task = self._driver.tasks.get(command)
        self._driver.forget(command)
        match task:
            case EventTask():
                task.expire()
            case CommandTask():
                task.resolve(None)
            case _:
                raise _unexpected(self._context, command, self.place())

    def _run(self) -> None:
        self._driver.run()
        main = self._driver.main
        if self._driver.error is None and main is not None and main.is_complete:
            limit = self._driver.recorder.max_payload_bytes
            self._finish(_outcome(self._definition.name, self._requests, self._driver.next_id, main, limit))

    def _finish(self, command: Command) -> None:
        """The code has ended; nothing it left running may go on."""
        if self._driver.conclude(command, lambda: _last_line(self._definition, self._driver.main)):
            self.end = command


def _outcome(name: str, requests: Requests, command: int, main: Task[Any], limit: int) -> Command:
    """How the code has ended, as a command. No payload in it has more than `limit` bytes."""
    error = main.get_exception()
    if error is not None:
        return ExecutionFailed(id=command, failure=failure_from(error))
    try:
        if (next_input := requests.next_input) is not None:
            payloads.check_size(next_input, limit, "the input of continue_as_new")
            return ContinuedAsNew(id=command, input=next_input, save_events=requests.save_events)
        result = payloads.encode(main.get_result())
        return ExecutionCompleted(id=command, result=payloads.check_size(result, limit, "it"))
    except PayloadError as unfit:
        failure = failure_from(unfit)
        message = f"the result of workflow {name!r}: {unfit}"
        return ExecutionFailed(
            id=command, failure=Failure(type=failure.type, message=message, retryable=False)
        )


def _decode_again(task: AnswerTask[Any], result: msgspec.Raw, place: Callable[[], str]) -> Any:
    try:
        return task.decode(result)
    except PayloadError as error:  # it did fit when it was recorded
        raise NonDeterminismError(
            f"{error}. It did fit when it came, so the type has changed since: "
            f"let the type take old values too, or give changed code a new version (at {place()})"
        ) from error


def _unexpected(context: WorkflowContext, command: int, place: str) -> NonDeterminismError:
    return NonDeterminismError(
        f"the history of instance {context.instance_id!r} answers command {command}, "
        f"for which the code of workflow {context.workflow!r} does not wait (at {place})"
    )


def _last_line(definition: WorkflowDefinition, main: Task[Any] | None) -> str:
    """Where the code ended: the line that raised, or else the function."""
    error = None if main is None else main.get_exception()
    if error is not None and (line := raising_line(error)) is not None:
        return line
    code = getattr(definition.function, "__code__", None)
    if code is None:
        return f"the end of {definition.name}"
    return f"{code.co_filename}:{code.co_firstlineno}, in {code.co_name}, which has ended"


@types.coroutine
def _call(definition: WorkflowDefinition, context: WorkflowContext, value: Any) -> Generator[Any, Any, Any]:
    """The function's call, inside the driver: a coroutine, a generator and a plain result are alike from here."""
    outcome = definition.call(context, value)
    if isinstance(outcome, Coroutine | Generator):
        return (yield from cast("Generator[Any, Any, Any]", outcome))  # types.coroutine makes it true of both
    return outcome
