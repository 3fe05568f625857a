"""Workflows under test: the real code on the real core, without processes, and with a clock that jumps.

    async def test_an_order_that_nobody_approves_is_refunded() -> None:
        env = WorkflowEnvironment(app)
        env.mock(charge, returns=Receipt(number=1))
        with pytest.raises(WorkflowFailedError, match="TimeoutError"):
            await env.run(fulfil, order)                    # waits three days in no time
        assert env.inputs(refund) == [Receipt(number=1)]

Activities are real unless they are mocked. Every turn is replayed from nothing, so what does not replay fails the
test. Nothing is bound to an event loop: in a test that is not `async`, `asyncio.run(env.run(…))` does it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from tenuto import payloads
from tenuto.app import App
from tenuto.client.options import WorkflowFunction, WorkflowOfInput, WorkflowWithoutInput
from tenuto.client.workflows import describe
from tenuto.core.definitions import activity_of, workflow_of
from tenuto.core.events import Event, Failure
from tenuto.core.failures import describe as failure_in_words
from tenuto.core.histories import HistoryDocument
from tenuto.core.letters import Letter, Raise, Resume, Start, Suspend, Terminate
from tenuto.core.retry import Duration, seconds
from tenuto.core.status import Status
from tenuto.core.turn import LetterOut
from tenuto.errors import NotFoundError, TenutoError, UsageError, WorkflowFailedError, WorkflowTerminatedError
from tenuto.testing.mocks import NOTHING, Call, Mock, Mocks
from tenuto.testing.world import Life, World

__all__ = ["WorkflowEnvironment", "WorkflowRun", "WorkflowStuckError"]

In = TypeVar("In")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
_STEPS = 100_000
"""After so many turns and activities a workflow that is waited for is taken to go on for ever."""


class RunOptions(TypedDict, total=False):
    """The keyword arguments of `WorkflowEnvironment.start`."""

    instance_id: str | None
    """By default the workflow's name and a number."""
    version: str | None
    tags: Mapping[str, str] | None


class WorkflowStuckError(TenutoError):
    """A workflow that a test waits for waits for something that will not come by itself."""


class WorkflowEnvironment:
    """Where workflows are tested. One for each test.

    Args:
        app: has the workflows and activities.
        others: more apps, whose workflows and activities are called.
        now: where the virtual clock begins, aware; by default always at the same moment.
    """

    def __init__(self, app: App, *others: App, now: datetime = _EPOCH) -> None:
        merged = app
        if others:
            merged = App(app.name, retry=app.retry)
            for each in (app, *others):
                merged.include(each)
        self._mocks = Mocks()
        self._world = World(merged, now, self._mocks)
        self._numbers = itertools.count(1)

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._world.now

    def mock(
        self,
        target: Callable[..., Any] | str,
        *,
        returns: Any = NOTHING,
        raises: BaseException | type[BaseException] | None = None,
        calls: Callable[..., Any] | None = None,
        takes: Duration | None = None,
        on: int | Collection[int] | None = None,
    ) -> None:
        """Let something else happen instead of an activity or a child workflow.

            env.mock(charge, raises=ConnectionError("down"), on=(1, 2))       # the third attempt is real again
            env.mock("check_stock", calls=lambda item: item in STOCK)
            env.mock(ship, takes=timedelta(days=2))                           # the real one, late

        Args:
            target: the function, or its name, which nobody needs to have registered.
            returns: the result.
            raises: what the call fails with.
            calls: a function, `def` or `async def`, of the input (or of nothing), in its place. It may call the real
                one, and ask for `activity.context()`.
            takes: virtual time until the outcome is there; longer than its start-to-close, it times out.
            on: which of the calls of this name, 1 being the first and retries counting; by default all. Mocks that
                are added later go before earlier ones.

        Raises:
            UsageError: more than one of `returns`, `raises` and `calls` is given, or nothing at all.
        """
        outcomes = (returns is not NOTHING) + (raises is not None) + (calls is not None)
        if outcomes > 1 or (outcomes == 0 and takes is None):
            raise UsageError(
                "A mock has one of `returns`, `raises` and `calls`, or `takes`, or `takes` and one of them."
            )
        self._mocks.add(
            _name_of(target),
            Mock(
                returns=returns,
                raises=raises,
                calls=calls,
                takes=None if takes is None else timedelta(seconds=seconds(takes)),
                on=(on,) if isinstance(on, int) else on,
            ),
        )

    @overload
    def start(
        self, workflow: WorkflowOfInput[In, T], input: In, **options: Unpack[RunOptions]
    ) -> WorkflowRun[T]: ...
    @overload
    def start(
        self, workflow: WorkflowWithoutInput[T], input: None = ..., **options: Unpack[RunOptions]
    ) -> WorkflowRun[T]: ...
    @overload
    def start(self, workflow: str, input: Any = ..., **options: Unpack[RunOptions]) -> WorkflowRun[Any]: ...
    def start(
        self,
        workflow: Any,
        input: Any = None,  # noqa: A002 - as in `Client.start`
        *,
        instance_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a workflow. It runs while the test waits: in `result`, `sleep` and `run`.

        Raises:
            UsageError: the app has no such workflow, or the id has a live instance.
            PayloadError: the input cannot become JSON.
        """
        described = describe(workflow, version, self._world.app)
        if not isinstance(workflow, str) and version is None:
            found = workflow_of(workflow)
            version = None if found is None else found.version
        number = next(self._numbers)
        start = Start(
            workflow=described.name,
            version=version,
            input=payloads.encode(input),
            run=f"{number:032x}",
            seed=f"seed-{number}",
            tags=dict(tags or {}),
        )
        life = self._world.begin(instance_id or f"{described.name}-{number}", start)
        return WorkflowRun(self._world, life.id, described.result_type)

    @overload
    async def run(self, workflow: WorkflowOfInput[In, T], input: In) -> T: ...
    @overload
    async def run(self, workflow: WorkflowWithoutInput[T], input: None = ...) -> T: ...
    @overload
    async def run(self, workflow: str, input: Any = ...) -> Any: ...
    async def run(self, workflow: Any, input: Any = None) -> Any:  # noqa: A002 - as in `start`
        """Start a workflow and give its result. Raises as `start` and `WorkflowRun.result`."""
        return await self.start(workflow, input).result()

    async def sleep(self, duration: Duration) -> None:
        """Let virtual time pass, and do all that falls due; with 0, what is due now."""
        until = self.now + timedelta(seconds=seconds(duration))
        for _ in range(_STEPS):
            at = self._world.next_at
            if at is None or at > until:
                self._world.now = until
                return
            await self._world.step()
        raise WorkflowStuckError(f"Something keeps happening: {_STEPS} steps, and it is only {self.now}.")

    def get(self, instance_id: str, workflow: WorkflowFunction[Any] | str | None = None) -> WorkflowRun[Any]:
        """An instance by its id: a child, for instance.

        Raises:
            NotFoundError: there is none.
        """
        if instance_id not in self._world.lives:
            there = ", ".join(sorted(self._world.lives)) or "none"
            raise NotFoundError(f"There is no instance {instance_id!r}; there are: {there}.")
        hint = Any if workflow is None else describe(workflow, None, self._world.app).result_type
        return WorkflowRun(self._world, instance_id, hint)

    def close(self) -> None:
        """Drop the code of workflows that have not ended; their `finally` blocks run. Tolerates repeats."""
        for life in self._world.lives.values():
            life.execution.abandon()

    def calls(self, target: Callable[..., Any] | str | None = None) -> list[Call]:
        """The calls of an activity or child workflow, mocked or real, every attempt; or all there were. In order."""
        name = None if target is None else _name_of(target)
        return [call for call in self._world.calls if name in (None, call.name)]

    def inputs(self, target: Callable[..., Any] | str) -> list[Any]:
        """The inputs of those calls."""
        return [call.input for call in self.calls(target)]


class WorkflowRun(Generic[T_co]):
    """A workflow instance under test. Made by `WorkflowEnvironment.start` and `get`.

    What it is told (`raise_event`, `suspend` …) reaches it `after` the given virtual time from now, while the test
    waits; by default as the next thing.
    """

    def __init__(self, world: World, instance_id: str, result_type: Any) -> None:
        self.instance_id = instance_id
        self._world = world
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"WorkflowRun({self.instance_id!r}, {self.status})"

    @property
    def status(self) -> Status:
        return self._life.status

    @property
    def custom_status(self) -> Any:
        """What the workflow has set last; None: nothing."""
        status = self._life.custom_status
        return None if status is None else payloads.decode(status)

    @property
    def failure(self) -> Failure | None:
        """How it failed, if it did."""
        return self._life.execution.state.failure

    @property
    def history(self) -> list[Event]:
        """The events of the present generation."""
        return list(self._life.history)

    def export(self) -> HistoryDocument:
        """The history as a document, for `assert_replays`."""
        life = self._life
        state = life.execution.state
        return HistoryDocument(
            instance=life.id,
            run=life.run,
            workflow=state.workflow,
            version=state.version,
            status=life.status,
            events=self.history,
        )

    async def result(self) -> T_co:
        """Run until the instance ends, and give what it returns. The clock jumps over waits.

        Raises:
            WorkflowFailedError: it failed.
            WorkflowTerminatedError: it was terminated.
            WorkflowStuckError: it waits for what will never come by itself, or goes on for ever.
            StalledError: the code did what no workflow may do.
            NonDeterminismError: it does not replay.
        """
        for _ in range(_STEPS):
            if self.status.is_terminal:
                return self._outcome()
            if self._world.next_at is None:
                raise WorkflowStuckError(self._stuck())
            await self._world.step()
        raise WorkflowStuckError(
            f"Instance {self.instance_id!r} has not ended after {_STEPS} steps. For a workflow that is meant to go on "
            "for ever, let a time pass with `await env.sleep(…)` and look at what it has done."
        )

    def raise_event(self, name: str, payload: Any = None, *, after: Duration = 0) -> None:
        self._tell(Raise(name=name, payload=payloads.encode(payload)), after)

    def suspend(self, reason: str | None = None, *, after: Duration = 0) -> None:
        self._tell(Suspend(reason=reason), after)

    def resume(self, reason: str | None = None, *, after: Duration = 0) -> None:
        self._tell(Resume(reason=reason), after)

    def terminate(self, output: Any = None, reason: str | None = None, *, after: Duration = 0) -> None:
        self._tell(Terminate(output=payloads.encode(output), reason=reason), after)

    @property
    def _life(self) -> Life:
        return self._world.lives[self.instance_id]

    def _tell(self, letter: Letter, after: Duration) -> None:
        out = LetterOut(instance=self.instance_id, letter=letter)
        self._world.after(timedelta(seconds=seconds(after)), partial(self._world.deliver, out))

    def _outcome(self) -> T_co:
        state = self._life.execution.state
        if state.status is Status.COMPLETED:
            result: T_co = payloads.decode(state.output or payloads.NULL, self._result_type)
            return result
        if state.status is Status.TERMINATED:
            why = f": {state.reason}" if state.reason else ""
            raise WorkflowTerminatedError(f"Instance {self.instance_id!r} was terminated{why}", state.failure)
        how = "" if state.failure is None else f": {failure_in_words(state.failure)}"
        raise WorkflowFailedError(f"Instance {self.instance_id!r} failed{how}", state.failure)

    def _stuck(self) -> str:
        execution = self._life.execution
        if self.status is Status.SUSPENDED:
            return f"Instance {self.instance_id!r} is suspended, and nothing will resume it: use `resume(after=…)`."
        names = [] if execution.code is None else execution.code.mailbox.awaited()
        events = " and ".join(repr(name) for name in names)
        waits = f"waits for the event {events}" if events else "waits for something that nobody will do"
        return (
            f"Instance {self.instance_id!r} {waits}, and nothing else will happen. Its code is at {execution.place()}. "
            "Send it: `run.raise_event(name, payload, after=…)` before `await run.result()`."
        )


def _name_of(target: Callable[..., Any] | str) -> str:
    if isinstance(target, str):
        return target
    found = activity_of(target) or workflow_of(target)
    if found is None:
        name = getattr(target, "__qualname__", repr(target))
        raise UsageError(f"{name} is neither an activity nor a workflow: decorate it, or give a name.")
    return found.name
