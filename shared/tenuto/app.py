"""The app: a registry of workflows and activities.

    app = App("orders")

    @app.activity(pool="payments")
    async def charge(order: Order) -> Receipt: ...

    @app.workflow
    async def fulfil(ctx: WorkflowContext, order: Order) -> Receipt: ...

The decorators give back the very function, so it can be called and tested as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, Unpack, overload

from tenuto.core.definitions import (
    DEFAULT_POOL,
    ActivityDefinition,
    LogSource,
    WorkflowDefinition,
    WorkflowLogger,
    activity_of,
    mark,
    workflow_of,
)
from tenuto.core.reserved import PREFIX, is_reserved
from tenuto.core.retry import Retry
from tenuto.core.signature import read_signature
from tenuto.core.timeouts import TimeoutOptions, Timeouts
from tenuto.errors import UsageError
from tenuto.workflow_logging import WorkflowLoggerAdapter

__all__ = ["ActivityDefinition", "App", "WorkflowDefinition", "activity_of", "workflow_of"]

_F = TypeVar("_F", bound=Callable[..., Any])


class App:
    """A named set of workflows and activities.

    Args:
        name: for logs and listings.
        retry: the policy of every activity and child call that neither the call nor the activity gives one.
            Without any, a failure is final at once.
        strict_replay: a replay also compares what the code gives to its calls, what it returns and its custom status
            with what was recorded, and stalls the instance where they differ. Otherwise what was recorded has its way,
            and such code may change under live instances.
        timeouts: the limits of every activity call, each where neither the call nor the activity says it
            (`TimeoutOptions`). Without any, there is no limit.

    Raises:
        ValueError: a timeout is negative.
    """

    _is_tenutos: ClassVar[bool] = False
    """Whether it may use the reserved names."""

    def __init__(
        self,
        name: str,
        *,
        retry: Retry | None = None,
        strict_replay: bool = False,
        **timeouts: Unpack[TimeoutOptions],
    ) -> None:
        self.name = name
        self.retry = retry
        self.strict_replay = strict_replay
        self.timeouts = Timeouts.of(timeouts)
        self._activities: dict[str, ActivityDefinition] = {}
        self._workflows: dict[str, dict[str | None, WorkflowDefinition]] = {}

    def __repr__(self) -> str:
        return (
            f"App({self.name!r}, workflows={sorted(self._workflows)}, activities={sorted(self._activities)})"
        )

    @overload
    def activity(self, function: _F, /) -> _F: ...
    @overload
    def activity(
        self,
        /,
        *,
        name: str | None = ...,
        pool: str = ...,
        retry: Retry | None = ...,
        max_concurrent: int | None = ...,
        local: bool = ...,
        **timeouts: Unpack[TimeoutOptions],
    ) -> Callable[[_F], _F]: ...
    def activity(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        pool: str = DEFAULT_POOL,
        retry: Retry | None = None,
        max_concurrent: int | None = None,
        local: bool = False,
        **timeouts: Unpack[TimeoutOptions],
    ) -> Any:
        """Register an activity: `async def`, or `def`, which runs in a thread.

        It takes `(input)`, `(ctx, input)` or nothing.

        Args:
            function: the function, where the decorator is used without parentheses.
            name: what histories call it; the function's own name by default.
            pool: which workers run it.
            retry: the policy of calls that bring none of their own.
            max_concurrent: how many run at the same time in one worker process, within its `concurrency`. Others of
                the pool do not wait for those that wait for this.
            local: calls run in the orchestrator, without a message to a worker, unless they say otherwise: for
                activities that take milliseconds.
            timeouts: the limits of calls that do not say them (`TimeoutOptions`).

        Raises:
            ValueError: a timeout is negative, or `max_concurrent` is less than 1.
            UsageError: the name is taken, or the function is not of a shape that can be called.
        """
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, and is {max_concurrent}")

        def register(function: _F) -> _F:
            definition = ActivityDefinition(
                name=_name_of(function, name),
                function=function,
                signature=read_signature(function, context=None),
                pool=pool,
                retry=retry,
                max_concurrent=max_concurrent,
                local=local,
                timeouts=Timeouts.of(timeouts),
            )
            self._add_activity(definition)
            mark(definition)
            return function

        return register if function is None else register(function)

    @overload
    def workflow(self, function: _F, /) -> _F: ...
    @overload
    def workflow(self, /, *, name: str | None = ..., version: str | None = ...) -> Callable[[_F], _F]: ...
    def workflow(
        self, function: Any = None, /, *, name: str | None = None, version: str | None = None
    ) -> Any:
        """Register a workflow: `async def` with `await`, or a generator with `yield`.

        It takes `(ctx)` or `(ctx, input)`.

        Args:
            function: the function, where the decorator is used without parentheses.
            name: what histories call it; the function's own name by default.
            version: several may be registered under one name. New instances take the one registered last,
                live ones keep theirs.

        Raises:
            UsageError: name and version are taken, or the function is not of a shape that can be driven.
        """

        def register(function: _F) -> _F:
            definition = WorkflowDefinition(
                name=_name_of(function, name),
                function=function,
                signature=read_signature(function, context=True),
                version=version,
                registry=self,
            )
            self._add_workflow(definition)
            mark(definition)
            return function

        return register if function is None else register(function)

    def include(self, other: App) -> None:
        """Take over all that another app has registered so far. Its workflows keep its retry policy.

        Raises:
            UsageError: a name is taken.
        """
        for activity in other.activities.values():
            self._add_activity(activity)
        for name in other.workflows:
            for version in other.versions(name):
                definition = other.resolve(name, version)
                if definition is not None:
                    self._add_workflow(definition)

    @property
    def activities(self) -> Mapping[str, ActivityDefinition]:
        """By name."""
        return MappingProxyType(self._activities)

    @property
    def workflows(self) -> Mapping[str, WorkflowDefinition]:
        """The latest version of each, by name."""
        return MappingProxyType({name: _latest(versions) for name, versions in self._workflows.items()})

    def versions(self, name: str) -> tuple[str | None, ...]:
        """The versions of a workflow in the order of their registration; `(None,)` where it has none."""
        return tuple(self._workflows.get(name, ()))

    def latest(self, name: str) -> WorkflowDefinition | None:
        """What a new instance runs: the version registered last; None if the name is not known here."""
        versions = self._workflows.get(name)
        return _latest(versions) if versions else None

    def resolve(self, name: str, version: str | None) -> WorkflowDefinition | None:
        """What a live instance of this version runs; None if it is not known here.

        An instance without a version runs the unversioned registration or, where there is none, the latest.
        """
        found = self._workflows.get(name, {}).get(version)
        return self.latest(name) if found is None and version is None else found

    def find_activity(self, target: object) -> ActivityDefinition | None:
        """By name, or by the user's function, registered here or (failing that) in another app."""
        if isinstance(target, str):
            return self._activities.get(target)
        marked = activity_of(target)
        if marked is not None and self._activities.get(marked.name) is marked:
            return marked
        return next((found for found in self._activities.values() if found.is_for(target)), marked)

    def find_workflow(self, target: object) -> WorkflowDefinition | None:
        """By name (then the latest version), or by the user's function, registered here or in another app."""
        if isinstance(target, str):
            return self.latest(target)
        marked = workflow_of(target)
        if marked is not None and self.resolve(marked.name, marked.version) is marked:
            return marked
        definitions = (found for versions in self._workflows.values() for found in versions.values())
        return next((found for found in definitions if found.is_for(target)), marked)

    def logger(self, source: LogSource) -> WorkflowLogger:
        """A logger for one execution, silent while it replays."""
        return WorkflowLoggerAdapter(source)

    def _add_activity(self, definition: ActivityDefinition) -> None:
        taken = self._activities.setdefault(definition.name, definition)
        if taken is not definition:
            raise UsageError(
                f"app {self.name!r} has an activity {definition.name!r} already ({_place(taken.function)}); "
                f"give {_place(definition.function)} another name"
            )

    def _add_workflow(self, definition: WorkflowDefinition) -> None:
        if is_reserved(definition.name) and not self._is_tenutos:
            raise UsageError(
                f"the workflow {definition.name!r} ({_place(definition.function)}) needs another name: those that "
                f"begin with {PREFIX!r} are Tenuto's own"
            )
        taken = self._workflows.setdefault(definition.name, {}).setdefault(definition.version, definition)
        if taken is not definition:
            label = (
                definition.name if definition.version is None else f"{definition.name} {definition.version}"
            )
            raise UsageError(
                f"app {self.name!r} has a workflow {label!r} already ({_place(taken.function)}); "
                f"give {_place(definition.function)} another name or version"
            )


def _latest(versions: Mapping[str | None, WorkflowDefinition]) -> WorkflowDefinition:
    return next(reversed(versions.values()))  # type: ignore[call-overload, no-any-return]


def _name_of(function: Callable[..., Any], name: str | None) -> str:
    found = name if name is not None else getattr(function, "__name__", None)
    if not isinstance(found, str) or not found:
        raise UsageError(f"{function!r} has no name; give it one with `name=`")
    return found


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
