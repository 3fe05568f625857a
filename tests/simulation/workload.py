"""The app that runs the random programs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from tenuto import (
    ActivityError,
    App,
    ChildWorkflowError,
    RetryPolicy,
    WorkflowContext,
    activity,
    when_all,
    when_any,
)
from tenuto.core.tasks import Task
from tests.simulation.audit import Audit
from tests.simulation.loop import CURRENT, SimLoop
from tests.simulation.program import (
    LOCKED_OUT,
    LOST,
    POISON,
    WORKFLOW,
    Branches,
    Call,
    Cancelled,
    Child,
    Children,
    Deadly,
    Echo,
    Expect,
    Fail,
    FanOut,
    Fragile,
    Job,
    Locked,
    Overdue,
    Poison,
    Race,
    Renew,
    Send,
    Sleep,
    Step,
    broken,
    doubled,
)
from tests.simulation.threads import block

__all__ = ["POOLS", "RELEASES", "make_app"]

POOLS = ("default", "other", "deadly")
_FOREVER = 1_000_000.0


_Leaf: TypeAlias = Call | FanOut | Deadly | Sleep | Expect | Race | Cancelled | Overdue | Poison | Echo


class _FailedOnPurposeError(Exception):
    pass


RELEASES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "": ("plain", "plain"),
        "workflow": ("plain", "empty"),
        "version": ("1, 2", "1"),
        "patch": ("patched", "plain"),
        "events": ("plain", "plain"),
    }
)
"""The new app and the old one, by what the old release lacks: the workflow (rule O5), its newer version, its patch, or (of
the engine) the newer kinds of events (rule U1)."""


def make_app(audit: Audit, release: str) -> App:
    """The app of one simulation, in one of `RELEASES`. Its activities tell the audit what they do."""
    app = App("simulation")

    @app.activity
    async def work(call: Call) -> int:
        return await _perform(audit, call)

    @app.activity(pool=POOLS[1])
    def work_elsewhere(call: Call) -> int:
        """In a thread."""
        audit.executed(activity.context())
        block(call.seconds)
        return _ended(call)

    @app.activity(pool=POOLS[2])
    async def kill(call: Call) -> int:
        return await _perform(audit, call)

    @app.activity
    async def poison() -> str:
        audit.executed(activity.context())
        return POISON

    @app.activity
    async def echo(value: str) -> str:
        audit.executed(activity.context())
        return value

    @app.activity
    async def fragile(name: str) -> str:
        audit.executed(activity.context())
        if name not in audit.mended:
            raise _FailedOnPurposeError(broken(name))
        return "mended"

    _add_workflow(app, release)
    return app


def _add_workflow(app: App, release: str) -> None:
    async def interpret(ctx: WorkflowContext, job: Job) -> list[Any]:
        return await _interpret(ctx, job)

    async def patched(ctx: WorkflowContext, job: Job) -> list[Any]:
        if ctx.is_patched("a word first"):
            await _Machine(ctx).take(Echo())
        return await _interpret(ctx, job)

    async def first(ctx: WorkflowContext, job: Job) -> list[Any]:
        return await _interpret(ctx, job) if ctx.version == "1" else [f"{ctx.version} runs as 1"]

    async def second(ctx: WorkflowContext, job: Job) -> list[Any]:
        await _Machine(ctx).take(Echo())
        return await _interpret(ctx, job) if ctx.version == "2" else [f"{ctx.version} runs as 2"]

    match release:
        case "empty":
            pass
        case "patched":
            app.workflow(name=WORKFLOW)(patched)
        case "1" | "1, 2":
            app.workflow(name=WORKFLOW, version="1")(first)
            if release == "1, 2":
                app.workflow(name=WORKFLOW, version="2")(second)
        case _:
            app.workflow(name=WORKFLOW)(interpret)


async def _interpret(ctx: WorkflowContext, job: Job) -> list[Any]:
    machine = _Machine(ctx)
    results = list(job.so_far)
    for number, step in enumerate(job.steps):
        if isinstance(step, Renew):
            ctx.continue_as_new(Job(steps=job.steps[number + 1 :], so_far=results))
            return []
        results += await machine.take(step)
    return results


async def _perform(audit: Audit, call: Call) -> int:
    executions = audit.executed(activity.context())
    if call.seconds:
        await asyncio.sleep(call.seconds)
    if executions <= call.kills:
        await _die()
    return _ended(call)


def _ended(call: Call) -> int:
    attempt = activity.context().attempt
    if attempt <= call.fails:
        raise _FailedOnPurposeError(f"attempt {attempt}")
    return doubled(call.value)


async def _die() -> None:
    """End the process that this runs in."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    loop.crash(CURRENT.get())
    await loop.create_future()


class _Machine:
    """Takes the steps of a program."""

    def __init__(self, ctx: WorkflowContext) -> None:
        self._ctx = ctx

    async def take(self, step: Step) -> list[Any]:
        """What the step adds to the results."""
        match step:
            case Send(to=to, name=name):
                self._ctx.send_event(to, name, name)
                return []
            case Renew():
                return []
            case Fail(message=message):
                raise _FailedOnPurposeError(message)
            case Child() | Children() | Branches() | Locked():
                return [await self._nested(step)]
            case Fragile():
                return [await self._fragile(step)]
            case _:
                return [await self._leaf(step)]

    async def _leaf(self, step: _Leaf) -> Any:
        match step:
            case Sleep(seconds=seconds):
                found: Any = await self._slept(seconds)
            case Expect(name=name, timeout=timeout):
                found = await self._event(name, timeout)
            case Race(value=value):
                found = await self._raced(value)
            case Cancelled():
                found = await self._cancelled(step)
            case _:
                found = await self._activities(step)
        return found

    async def _activities(self, step: Call | FanOut | Deadly | Overdue | Poison | Echo) -> Any:
        match step:
            case Call():
                return await self._answer(self._call(step))
            case FanOut(values=values):
                return await self._total(values)
            case Deadly(calls=calls):
                tasks = [self._call(call, "kill") for call in calls]
                return [await self._answer(task) for task in tasks]
            case Overdue(limit=limit, value=value):
                call = Call(value=value, seconds=40.0, attempts=1)
                return await self._answer(self._call(call, **{limit: 0.5}))
            case Poison():
                return await self._ctx.call_activity("poison")
            case Echo():
                return await self._echoed()

    async def _nested(self, step: Child | Children | Branches | Locked) -> Any:
        match step:
            case Locked():
                return await self._locked(step)
            case Child(steps=steps):
                return await self._child(steps)
            case Children(programs=programs):
                return await when_all([self._child(steps) for steps in programs])
            case Branches(parts=parts):
                return await when_all([self._ctx.spawn(self._branch(part)) for part in parts])

    def _call(self, call: Call, name: str | None = None, **limits: Any) -> Task[int]:
        name = name or ("work_elsewhere" if call.value % 3 == 0 else "work")
        policy = RetryPolicy(max_attempts=call.attempts, first_interval=call.wait)
        local = not limits and name.startswith("work") and call.value % 5 == 2
        return self._ctx.call_activity(name, call, type=int, retry=policy, local=local, **limits)

    async def _answer(self, task: Task[Any]) -> Any:
        """What an activity comes to, which may be that it was given up."""
        try:
            return await task
        except ActivityError as error:
            kind = "" if error.failure is None else error.failure.type
            if kind.endswith("TimeoutError"):
                return "timed out"
            return LOST if kind == "WorkerLostError" else "failed"

    async def _total(self, values: list[int]) -> int | str:
        tasks = [self._call(Call(value=value)) for value in values]
        try:
            return sum(await when_all(tasks))
        except ActivityError:
            answers = [await self._answer(task) for task in tasks]
            return LOST if LOST in answers else f"failed oddly: {answers}"

    async def _slept(self, seconds: float) -> str:
        before = self._ctx.current_utc_datetime
        await self._ctx.create_timer(seconds)
        elapsed = (self._ctx.current_utc_datetime - before).total_seconds()
        return "slept" if elapsed >= seconds else f"slept {elapsed} instead of {seconds}"

    async def _event(self, name: str, timeout: float | None) -> Any:
        try:
            return await self._ctx.wait_for_external_event(name, timeout=timeout)
        except TimeoutError:
            return "timeout"

    async def _child(self, steps: list[Step]) -> Any:
        try:
            return await self._ctx.call_child_workflow(WORKFLOW, Job(steps=steps))
        except ChildWorkflowError as error:
            reason = "" if error.failure is None else f"{error.failure.message} {error.failure.cause}"
            return "child failed" if "has failed" in reason else f"child failed oddly: {error}"

    async def _branch(self, steps: list[Step]) -> list[Any]:
        results: list[Any] = []
        for step in steps:
            results += await self.take(step)
        return results

    async def _locked(self, step: Locked) -> Any:
        lock = self._ctx.lock(step.key, timeout=step.timeout)
        try:
            await lock.acquire()
        except TimeoutError:
            return LOCKED_OUT
        try:
            return await self._branch(step.steps)
        finally:
            lock.release()

    async def _fragile(self, step: Fragile) -> Any:
        if step.nested:
            inner: list[Step] = [Fragile(name=step.name, nested=False)]
            [value] = await self._ctx.call_child_workflow(WORKFLOW, Job(steps=inner))
            return value
        try:
            return await self._ctx.call_activity("fragile", step.name, retry=RetryPolicy(max_attempts=1))
        except ActivityError as error:
            if error.failure is not None and error.failure.type == "WorkerLostError":
                return LOST
            raise

    async def _raced(self, value: int) -> Any:
        timer = self._ctx.create_timer(_FOREVER)
        call = self._call(Call(value=value))
        winner: Task[Any] = await when_any([timer, call])
        timer.cancel()
        return await self._answer(winner)

    async def _cancelled(self, step: Cancelled) -> str:
        task: Task[Any]
        match step.what:
            case "activity":
                task = self._call(Call(value=1, seconds=1.0))
            case "timer":
                task = self._ctx.create_timer(_FOREVER)
            case _:
                endless: list[Step] = [Sleep(seconds=_FOREVER)]
                task = self._ctx.call_child_workflow(WORKFLOW, Job(steps=endless))
        if step.later:
            await self._ctx.create_timer(0.2)
        task.cancel()
        return "cancelled"

    async def _echoed(self) -> str:
        sent = f"{self._ctx.new_uuid()} {self._ctx.random.random()}"
        received = await self._answer(self._ctx.call_activity("echo", sent))
        if received == LOST:
            return LOST
        return "same" if sent == received else f"sent {sent}, received {received}"
