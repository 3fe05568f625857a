"""Executing one task: from the JSON of its input to the JSON of its result, or to a failure.

Whatever an activity does, short of killing the process, ends in one of the two. That holds for `SystemExit`
as well: an activity that calls `sys.exit` has failed, and its worker goes on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from tenuto import activity
from tenuto.activity import ActivityContext
from tenuto.attempts.job import Job
from tenuto.attempts.threads import Threads
from tenuto.clock import Clock
from tenuto.core import durations
from tenuto.core.definitions import ActivityDefinition
from tenuto.core.events import Failure
from tenuto.core.failures import failure_from
from tenuto.errors import PayloadSealedError, StoreUnavailableError
from tenuto.messages import ActivityTask
from tenuto.payloads import check_size
from tenuto.sealing import Sealer, references
from tenuto.shelf import Shelf
from tenuto.tracing import NO_TRACING, Tracing

__all__ = ["Executor"]

T = TypeVar("T")
_NOWHERE: Mapping[str, str] = MappingProxyType({})


class Executor:
    """Executes jobs: `async def` activities on the event loop, `def` ones in threads."""

    def __init__(
        self,
        activities: Mapping[str, ActivityDefinition],
        threads: Threads,
        clock: Clock,
        *,
        max_payload_bytes: int = sys.maxsize,
        sealer: Sealer | None = None,
        shelf: Shelf | None = None,
        tracing: Tracing = NO_TRACING,
        origin: Mapping[str, str] = _NOWHERE,
    ) -> None:
        """`origin`: where its tasks come from, as attributes of their spans."""
        self._activities = activities
        self._max_payload_bytes = max_payload_bytes
        self._sealer = sealer or Sealer()
        self._shelf = shelf or Shelf()
        self._threads = threads
        self._clock = clock
        self._tracing = tracing
        self._origin = origin

    async def execute(self, job: Job) -> msgspec.Raw | Failure:
        """The result as JSON, or how the attempt failed.

        Raises only `asyncio.CancelledError`, when the asyncio task that executes the job is cancelled, and
        `KeyboardInterrupt`.
        """
        if self._tracing.on:
            return await self._traced(job)
        return await self._execute(job)

    async def _traced(self, job: Job) -> msgspec.Raw | Failure:
        task = job.task
        attributes = {**_span_attributes(task), **self._origin}
        with self._tracing.running(f"activity||{task.name}", task.trace, attributes) as span:
            outcome = await self._execute(job)
            if isinstance(outcome, Failure):
                span.set_status(Status(StatusCode.ERROR, f"{outcome.type}: {outcome.message}"))
            return outcome

    async def _execute(self, job: Job) -> msgspec.Raw | Failure:
        definition = job.definition
        if definition is None:
            return self._unknown(job.task.name)
        try:
            task = await self._open(job.task)
            context = self._context(job, task)
        except PayloadSealedError as error:
            return Failure(type=type(error).__name__, message=str(error), retryable=False)
        except Exception as error:  # noqa: BLE001 - what one task cannot have must not end the process
            return failure_from(error)
        with activity.provide(context):
            try:
                value = _converted(definition.decode_input, task.input)
                result = await self._call(definition, context, value)
                payload = _converted(partial(self._encode, definition), result)
                return await self._store(task, payload)
            except StoreUnavailableError as error:
                return failure_from(error)
            except _FailedError as failed:
                return failed.failure

    async def _call(self, definition: ActivityDefinition, context: ActivityContext, value: Any) -> Any:
        if definition.is_async:
            return await _call_here(definition, context, value)
        ended = await self._threads.call(partial(definition.call, context, value))
        if ended.error is not None:
            raise _FailedError(failure_from(ended.error))
        return ended.value

    async def _open(self, task: ActivityTask) -> ActivityTask:
        return self._sealer.open(task, task.instance, await self._shelf.get(task.instance, references(task)))

    async def _store(self, task: ActivityTask, result: msgspec.Raw) -> msgspec.Raw:
        """The result, or what refers to it where it is large and was stored apart."""
        section = self._shelf.section(task.instance, task.run, task.generation)
        if section is None or len(result) <= section.threshold:
            return result
        stored = self._sealer.seal_payload(result, task.instance, section)
        await self._shelf.put(section)
        return stored

    def _encode(self, definition: ActivityDefinition, result: Any) -> msgspec.Raw:
        what = f"the result of activity {definition.name!r}"
        return check_size(definition.encode_result(result), self._max_payload_bytes, what)

    def _context(self, job: Job, task: ActivityTask) -> ActivityContext:
        now = self._clock.now()
        limit = task.start_to_close
        return ActivityContext(
            instance_id=task.instance,
            workflow=task.workflow,
            activity=task.name,
            attempt=task.attempt,
            idempotency_key=task.key,
            generation=task.generation,
            command=task.command,
            started_at=now,
            deadline=None if limit is None else durations.after(now, limit),
            last_details=task.details,
            pulse=job.pulse,
        )

    def _unknown(self, name: str) -> Failure:
        known = ", ".join(sorted(self._activities)) or "none"
        # Retryable: during a rolling deployment another worker of the pool may know the activity already.
        return Failure(
            type="UnknownActivityError",
            message=f"This worker knows no activity {name!r}; it knows: {known}. Deploy the code that "
            "defines it to every worker of the pool.",
        )


def _span_attributes(task: ActivityTask) -> dict[str, AttributeValue]:
    return {
        "durabletask.type": "activity",
        "durabletask.task.name": task.name,
        "durabletask.task.instance_id": task.instance,
        "durabletask.task.task_id": task.command,
        "tenuto.workflow": task.workflow,
        "tenuto.attempt": task.attempt,
    }


class _FailedError(Exception):
    """The attempt has failed, in a way that has been put into words."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def _call_here(definition: ActivityDefinition, context: ActivityContext, value: Any) -> Any:
    try:
        return await definition.call(context, value)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        runner = asyncio.current_task()
        if runner is not None and runner.cancelling():
            raise
        # Nobody cancelled the activity: something that it awaited was.
        raise _FailedError(failure_from(error)) from error
    except BaseException as error:
        # SystemExit too fails the activity, not the worker.
        raise _FailedError(failure_from(error)) from error


def _converted(convert: Callable[[Any], T], value: Any) -> T:
    """Between JSON and the activity's types. What does not fit is a `PayloadError`, hence not retryable."""
    try:
        return convert(value)
    except Exception as error:
        # Not only `PayloadError`: a user's own validator or serializer may raise anything.
        raise _FailedError(failure_from(error)) from error
