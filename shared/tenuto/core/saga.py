"""Sagas: steps that are undone, last first, when a later one fails."""
# ruff: noqa: SLF001 - a saga is a part of its context that has a name of its own

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, Unpack

from tenuto.core.calls import ActivityOptions
from tenuto.core.context import WorkflowContext
from tenuto.core.events import CompensationAdded, TaskCancelled
from tenuto.core.retry import RetryPolicy
from tenuto.core.tasks import Task
from tenuto.core.timeouts import TimeoutOptions
from tenuto.errors import ActivityError, PayloadError, SagaError

__all__ = ["Saga"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    activity: Any
    input: Any
    options: ActivityOptions
    command: int | None
    """The command by which the engine knows of it."""


class Saga:
    """Remembers how to undo what a workflow has done, and does it when the block is left by an exception.

        async with Saga(ctx) as saga:
            booking = await ctx.call_activity(book_flight, trip)
            saga.add(cancel_flight, booking)
            await ctx.call_activity(book_hotel, trip)        # if this fails, cancel_flight runs

    Compensations are activities. They run one after the other, the last added first, each with its own retry policy;
    one that fails for good does not keep the others from running. If all succeed, the exception goes on as it was;
    if any fails, `SagaError` is raised from it, with the error of each.
    """

    def __init__(self, ctx: WorkflowContext, *, compensate_on_terminate: bool = False) -> None:
        """Begin with nothing to undo.

        Args:
            ctx: the workflow's context.
            compensate_on_terminate: also where no code of the workflow's can do it: if the instance is terminated or
                purged by force, or fails while a branch is within the block. Then an instance of the built-in workflow
                `tenuto.saga` runs the compensations, started in the very commit that ends this one. Retry policies
                must then be `RetryPolicy` objects, since they are recorded.
        """
        self._ctx = ctx
        self._recorded = compensate_on_terminate
        self._steps: list[_Step] = []

    def add(
        self,
        compensation: Callable[..., Any] | str,
        input: Any = None,  # noqa: A002 - as in `call_activity`
        **options: Unpack[ActivityOptions],
    ) -> None:
        """Have this activity run if the saga fails from here on.

        Args:
            compensation: the activity, or its name. It may run more than once, as any activity may.
            input: its one input.
            **options: as of `ctx.call_activity`.

        Raises:
            PayloadError: the input cannot become JSON, or is too large; nothing is added.
        """
        command = self._record(compensation, input, options) if self._recorded else None
        self._steps.append(_Step(activity=compensation, input=input, options=options, command=command))

    def compensate(self) -> Task[list[ActivityError]]:
        """Undo now what has been added, and forget it. Awaiting the task gives the errors of those that failed.

        `async with` does it by itself; this is for generators, and for undoing without an exception.
        """
        return self._ctx.spawn(self._compensate())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            while self._steps:
                self._done(self._steps.pop())
        elif isinstance(error, Exception):
            errors = await self._compensate()
            if errors:
                raise SagaError(errors) from error

    async def _compensate(self) -> list[ActivityError]:
        errors: list[ActivityError] = []
        while self._steps:
            step = self._steps[-1]
            try:
                await self._ctx.call_activity(step.activity, step.input, **step.options)
            except ActivityError as error:
                errors.append(error)
            self._done(self._steps.pop())
        return errors

    def _record(
        self, compensation: Callable[..., Any] | str, value: Any, options: ActivityOptions
    ) -> int | None:
        """Have the engine know of it. Gives its command."""
        ctx, driver = self._ctx, self._ctx._driver
        if not driver.check():
            return None
        definition = ctx._activity(compensation)
        policy = options.get("retry") or (definition and definition.retry) or ctx._registry.retry
        if policy is not None and not isinstance(policy, RetryPolicy):
            driver.misuse(
                "a compensation that may run without its workflow needs a RetryPolicy, not a function"
            )
        timeouts: Any = {name: options[name] for name in TimeoutOptions.__annotations__ if name in options}  # type: ignore[literal-required]
        call = ctx._scheduled(compensation, definition, value, pool=options.get("pool"), timeouts=timeouts)
        added = driver.issue(
            CompensationAdded(
                id=driver.next_id,
                call=call,
                retry=None if policy is None else policy.record(),
            )
        )
        if added.call.refused is not None:
            raise PayloadError(added.call.refused.message)
        return added.id

    def _done(self, step: _Step) -> None:
        """It is no longer owed."""
        driver = self._ctx._driver
        if step.command is not None and driver.check():
            driver.issue(TaskCancelled(id=driver.next_id, command=step.command))
