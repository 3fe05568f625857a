"""Calls of activities and child workflows: the typed half of the workflow context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol, TypedDict, TypeVar, Unpack, overload

import msgspec

from tenuto import payloads
from tenuto.core import ids
from tenuto.core.definitions import DEFAULT_POOL, ActivityDefinition, Registry, WorkflowDefinition
from tenuto.core.driver import Driver
from tenuto.core.events import ActivityScheduled, ChildScheduled, Failure, WorkflowStarted
from tenuto.core.retry import Retry
from tenuto.core.tasks import AnswerTask, Task
from tenuto.core.timeouts import TimeoutOptions, Timeouts
from tenuto.errors import ActivityError, ChildWorkflowError, PayloadError, UsageError

__all__ = ["ActivityOptions", "Calls", "ChildOptions"]


class _AboutTheAttempt(Protocol):
    """An `ActivityContext`, as far as a type checker must tell it from an input."""

    @property
    def instance_id(self) -> str: ...
    @property
    def activity(self) -> str: ...
    @property
    def idempotency_key(self) -> str: ...


Context = TypeVar("Context", bound=_AboutTheAttempt)
In = TypeVar("In")
T = TypeVar("T")


class ActivityOptions(TimeoutOptions, total=False):
    """What a call may say about its activity."""

    retry: Retry | None
    pool: str | None
    local: bool | None


class ChildOptions(TypedDict, total=False):
    """What a call may say about its child."""

    instance_id: str | None
    retry: Retry | None
    version: str | None
    tags: dict[str, str] | None
    abandon: bool


class Calls:
    """The part of `WorkflowContext` that asks other functions for results."""

    def __init__(self, driver: Driver, registry: Registry) -> None:
        self._driver = driver
        self._registry = registry

    @overload
    def call_activity(
        self, activity: Callable[[In], Awaitable[T]], input: In, **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[Any, In], Awaitable[T]], input: In, **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[], Awaitable[T]], **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[Context], Awaitable[T]], **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[In], T], input: In, **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[Any, In], T], input: In, **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(self, activity: Callable[[], T], **options: Unpack[ActivityOptions]) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: Callable[[Context], T], **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: str, input: Any = ..., *, type: type[T], **options: Unpack[ActivityOptions]
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self, activity: str, input: Any = ..., *, type: Any = ..., **options: Unpack[ActivityOptions]
    ) -> Task[Any]: ...
    def call_activity(
        self,
        activity: Any,
        input: Any = None,  # noqa: A002 - Dapr's word
        *,
        type: Any = None,  # noqa: A002 - Dapr's habit of naming things plainly
        retry: Retry | None = None,
        pool: str | None = None,
        local: bool | None = None,
        **timeouts: Unpack[TimeoutOptions],
    ) -> Task[Any]:
        """Have a worker run an activity, named by its function or by a string.

        Args:
            activity: the function that was registered, or a name that some worker serves.
            input: its one input, converted to JSON.
            type: what the result is converted to; by default what the function's hint says.
            retry: goes before the activity's own policy, which goes before the app's.
            pool: which workers run it, instead of the activity's own.
            local: run it in the orchestrator, without a message to a worker; only for activities of the same app that
                take milliseconds. By default what the activity says.
            timeouts: `schedule_to_start`, `start_to_close`, `schedule_to_close` and `heartbeat_timeout`, each of which
                goes before the activity's own, which goes before the app's.

        Returns:
            A task. Awaiting it gives the result, or raises `ActivityError` once no attempt is left, or where the
            input is larger than `TENUTO_MAX_PAYLOAD_BYTES`.

        Raises:
            PayloadError: the input cannot become JSON.
            ValueError: a timeout is negative.
        """
        if not self._driver.check():
            return Task(self._driver)
        definition = self._activity(activity)
        call = self._scheduled(activity, definition, input, pool=pool, local=local, timeouts=timeouts)
        policy = retry or (definition.retry if definition is not None else None)
        return self._perform(call, hint=self._hint(type, definition), retry=policy)

    @overload
    def call_child_workflow(
        self,
        workflow: Callable[[Any, In], Coroutine[Any, Any, T]],
        input: In,
        **options: Unpack[ChildOptions],
    ) -> Task[T]: ...
    @overload
    def call_child_workflow(
        self,
        workflow: Callable[[Any, In], Generator[Any, Any, T]],
        input: In,
        **options: Unpack[ChildOptions],
    ) -> Task[T]: ...
    @overload
    def call_child_workflow(
        self, workflow: Callable[[Any], Coroutine[Any, Any, T]], **options: Unpack[ChildOptions]
    ) -> Task[T]: ...
    @overload
    def call_child_workflow(
        self, workflow: Callable[[Any], Generator[Any, Any, T]], **options: Unpack[ChildOptions]
    ) -> Task[T]: ...
    @overload
    def call_child_workflow(
        self, workflow: str, input: Any = ..., *, type: type[T], **options: Unpack[ChildOptions]
    ) -> Task[T]: ...
    @overload
    def call_child_workflow(
        self, workflow: str, input: Any = ..., *, type: Any = ..., **options: Unpack[ChildOptions]
    ) -> Task[Any]: ...
    def call_child_workflow(
        self,
        workflow: Any,
        input: Any = None,  # noqa: A002 - Dapr's word
        *,
        type: Any = None,  # noqa: A002 - Dapr's habit of naming things plainly
        instance_id: str | None = None,
        retry: Retry | None = None,
        version: str | None = None,
        tags: dict[str, str] | None = None,
        abandon: bool = False,
    ) -> Task[Any]:
        """Start another workflow, named by its function or by a string, and wait for its outcome.

        Args:
            workflow: the function that was registered, or a name that some orchestrator serves.
            input: its one input, converted to JSON.
            type: what the result is converted to; by default what the function's hint says.
            instance_id: by default `{this id}:{first 8 of this run}:{n}`. A retry's child is `{first id}:{attempt}`.
            retry: goes before the app's policy. Each attempt is a child of its own.
            version: by default the latest.
            tags: of the child.
            abandon: let it live on when this instance ends, instead of terminating it.

        Returns:
            A task. Awaiting it gives the result, or raises `ChildWorkflowError` once no attempt is left, or where the
            input is larger than `TENUTO_MAX_PAYLOAD_BYTES`.

        Raises:
            PayloadError: the input cannot become JSON.
            ValueError: `instance_id` is no valid id.
        """
        driver = self._driver
        if not driver.check():
            return Task(driver)
        definition = self._workflow(workflow, "call_child_workflow")
        name = definition.name if definition is not None else workflow
        payload, refused = self._payload(input, f"the input of child workflow {name!r}")
        command = driver.issue(
            ChildScheduled(
                id=driver.next_id,
                workflow=name,
                version=version,
                instance=ids.valid_instance(self._next_child() if instance_id is None else instance_id),
                input=payload,
                tags=tags or {},
                abandon=abandon,
                refused=refused,
            )
        )
        return self._task(
            command,
            label=f"child workflow {command.workflow!r} ({command.instance})",
            hint=self._hint(type, definition),
            retry=retry,
            error_type=ChildWorkflowError,
        )

    def start_workflow(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any] | Generator[Any, Any, Any]] | str,
        input: Any = None,  # noqa: A002 - Dapr's word
        *,
        instance_id: str | None = None,
        version: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> str:
        """Start another workflow that does not belong to this one: its end is not waited for, this one's end does not
        concern it, and it has no parent. It begins once this turn is committed.

        Args:
            workflow: the function that was registered, or a name that some orchestrator serves.
            input: its one input, converted to JSON.
            instance_id: by default as for a child: `{this id}:{first 8 of this run}:{n}`. Where a live instance has it,
                nothing is started, and the engine logs a warning; one that has ended is replaced.
            version: by default the latest.
            tags: of the new instance.

        Returns:
            Its instance id.

        Raises:
            PayloadError: the input cannot become JSON, or is larger than `TENUTO_MAX_PAYLOAD_BYTES`.
            ValueError: `instance_id` is no valid id.
        """
        driver = self._driver
        if not driver.check():
            return instance_id or ""
        definition = self._workflow(workflow, "start_workflow")
        name = definition.name if definition is not None else str(workflow)
        payload, refused = self._payload(input, f"the input of workflow {name!r}")
        command = driver.issue(
            WorkflowStarted(
                id=driver.next_id,
                workflow=name,
                version=version,
                instance=ids.valid_instance(self._next_child() if instance_id is None else instance_id),
                input=payload,
                tags=tags or {},
                refused=refused,
            )
        )
        if command.refused is not None:
            raise PayloadError(command.refused.message)
        return command.instance

    def _scheduled(
        self,
        activity: Any,
        definition: ActivityDefinition | None,
        value: Any,
        *,
        pool: str | None,
        local: bool | None = None,
        timeouts: TimeoutOptions,
    ) -> ActivityScheduled:
        """The command of a call that is not issued yet. Its retry policy is no part of it."""
        name = definition.name if definition is not None else activity
        payload, refused = self._payload(value, f"the input of activity {name!r}")
        limits = self._limits(Timeouts.of(timeouts), definition)
        is_local = self._is_local(local, definition, activity)
        return ActivityScheduled(
            id=self._driver.next_id,
            name=name,
            input=payload,
            pool=pool or (definition.pool if definition is not None else DEFAULT_POOL),
            start_to_close=limits.start_to_close,
            schedule_to_start=None if is_local else limits.schedule_to_start,  # there is no queue
            schedule_to_close=limits.schedule_to_close,
            heartbeat_timeout=limits.heartbeat_timeout,
            refused=refused,
            local=is_local,
        )

    def _payload(self, value: Any, what: str) -> tuple[msgspec.Raw, Failure | None]:
        """A value for a command, and why the call is refused: then `null` takes its place."""
        payload = payloads.encode(value)
        refused = self._driver.refusal(payload, what)
        return (payload if refused is None else payloads.NULL), refused

    def _perform(self, call: ActivityScheduled, *, hint: Any, retry: Retry | None) -> Task[Any]:
        """Issue a call. Without a policy, the app's governs it."""
        command = self._driver.issue(call)
        return self._task(
            command,
            label=f"activity {command.name!r}",
            hint=hint,
            retry=retry,
            error_type=ActivityError,
        )

    def _next_child(self) -> str:
        """The default id of the next child (rule N3)."""
        state = self._driver.recorder.state
        return ids.child_instance(state.instance, state.run, state.children + 1)

    def _activity(self, target: object) -> ActivityDefinition | None:
        found = self._registry.find_activity(target)
        if found is None and not isinstance(target, str):
            self._driver.misuse(
                f"call_activity was given {target!r}, which is no registered activity; "
                "pass the function that @app.activity decorates (not a call of it), or a name"
            )
        return found

    def _limits(self, given: Timeouts, definition: ActivityDefinition | None) -> Timeouts:
        """The call's limits go before the activity's, which go before the app's."""
        if definition is not None:
            given = given.over(definition.timeouts)
        return given.over(self._registry.timeouts)

    def _is_local(self, given: bool | None, definition: ActivityDefinition | None, target: object) -> bool:  # noqa: FBT001
        local = definition is not None and definition.local if given is None else given
        if local and definition is None:
            self._driver.misuse(
                f"the local activity {target!r} is unknown; register what is to run in the orchestrator "
                "in the app of the workflow"
            )
        return local

    def _workflow(self, target: object, caller: str) -> WorkflowDefinition | None:
        found = self._registry.find_workflow(target)
        if found is None and not isinstance(target, str):
            self._driver.misuse(
                f"{caller} was given {target!r}, which is no registered workflow; "
                "pass the function that @app.workflow decorates (not a call of it), or a name"
            )
        return found

    def _hint(self, given: Any, definition: ActivityDefinition | WorkflowDefinition | None) -> Any:
        if given is not None:
            return given
        try:
            return definition.output_hint if definition is not None else Any
        except UsageError as error:
            self._driver.misuse(str(error))

    def _task(
        self,
        command: ActivityScheduled | ChildScheduled,
        *,
        label: str,
        hint: Any,
        retry: Retry | None,
        error_type: type[ActivityError | ChildWorkflowError],
    ) -> Task[Any]:
        task: AnswerTask[Any] = AnswerTask(
            self._driver,
            command.id,
            label=label,
            hint=hint,
            retry=retry or self._registry.retry,
            error_type=error_type,
        )
        if command.refused is None:
            self._driver.tasks[command.id] = task
        else:
            task.reject(command.refused)
        return task
