"""Workflows and activities as an app has registered them.

The core knows an app only through the `Registry` protocol, so that it depends on nothing above it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Protocol, TypeAlias

import msgspec

from tenuto import payloads
from tenuto.core.retry import Retry
from tenuto.core.signature import Signature
from tenuto.core.timeouts import NO_TIMEOUTS, Timeouts
from tenuto.errors import PayloadError

__all__ = [
    "ActivityDefinition",
    "LogSource",
    "Registry",
    "Resolver",
    "WorkflowDefinition",
    "WorkflowLogger",
    "activity_of",
    "workflow_of",
]

DEFAULT_POOL = "default"
_ACTIVITY_MARK = "__tenuto_activity__"
_WORKFLOW_MARK = "__tenuto_workflow__"


class WorkflowLogger(Protocol):
    """What workflow code may ask of `ctx.logger`: the methods of `logging.Logger` that log."""

    def debug(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def info(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def warning(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def error(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def exception(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def critical(self, msg: object, *args: object, **kwargs: Any) -> None: ...
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None: ...


class LogSource(Protocol):
    """What a logger must know of the workflow that it logs for."""

    @property
    def instance_id(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def is_replaying(self) -> bool: ...


class Registry(Protocol):
    """What the core asks of an app."""

    @property
    def retry(self) -> Retry | None:
        """The retry policy of calls and activities that have none of their own."""
        ...

    @property
    def timeouts(self) -> Timeouts:
        """The limits of calls and activities that have none of their own."""
        ...

    @property
    def strict_replay(self) -> bool:
        """Whether a replay compares inputs, outputs and custom status too."""
        ...

    @property
    def activities(self) -> Mapping[str, ActivityDefinition]:
        """By name."""
        ...

    def find_activity(self, target: object) -> ActivityDefinition | None:
        """By name, or by the user's function."""
        ...

    def find_workflow(self, target: object) -> WorkflowDefinition | None:
        """By name (then the latest version), or by the user's function."""
        ...

    def logger(self, source: LogSource) -> WorkflowLogger:
        """A logger for one execution, silent while `source.is_replaying`."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Definition:
    name: str
    function: Callable[..., Any]
    signature: Signature = field(repr=False, compare=False)

    @property
    def input_hint(self) -> Any:
        return self.signature.input_hint

    @property
    def output_hint(self) -> Any:
        return self.signature.output_hint

    def is_for(self, function: object) -> bool:
        """Whether this very function, or method of this very object, was registered."""
        same_method = isinstance(function, MethodType) and self.function == function
        return same_method or self.function is function

    def decode_input(self, raw: bytes | msgspec.Raw) -> Any:
        """The payload as the function's type hint says; None where the function takes no input.

        Raises:
            PayloadError: it does not fit the hint.
        """
        parameter = self.signature.input_parameter
        if parameter is None:
            return None
        if self.signature.input_is_optional and bytes(raw) == b"null":
            return parameter.default
        try:
            return payloads.decode(raw, self.input_hint)
        except PayloadError as error:
            raise PayloadError(f"the input of {self.name!r} does not fit: {error}") from error

    def _arguments(self, context: Any, value: Any) -> tuple[Any, ...]:
        given = (context,) if self.signature.takes_context else ()
        return given if self.signature.input_parameter is None else (*given, value)


@dataclass(frozen=True, kw_only=True)
class ActivityDefinition(_Definition):
    """An activity: a function that workers run."""

    pool: str = DEFAULT_POOL
    retry: Retry | None = None
    timeouts: Timeouts = NO_TIMEOUTS
    max_concurrent: int | None = None
    """How many run at the same time in one worker process; None: as many as there are slots."""
    local: bool = False
    """Calls run in the orchestrator, unless they say otherwise."""

    @property
    def is_async(self) -> bool:
        """Whether `call` gives an awaitable; otherwise it blocks and belongs into a thread."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def takes_context(self) -> bool:
        """Whether the function takes an `ActivityContext` first (Dapr's `(ctx, input)`)."""
        return self.signature.takes_context

    def call(self, context: Any, value: Any) -> Any:
        """Call the function with what it takes of the context and the decoded input."""
        return self.function(*self._arguments(context, value))

    def encode_result(self, value: Any) -> msgspec.Raw:
        """Raises PayloadError if the result cannot become JSON."""
        return payloads.encode(value)


@dataclass(frozen=True, kw_only=True)
class WorkflowDefinition(_Definition):
    """A workflow: a function that the orchestrator drives and replays."""

    version: str | None = None
    registry: Registry = field(repr=False, compare=False)

    @property
    def is_generator(self) -> bool:
        """Whether it is written with `yield` rather than `async def`."""
        return inspect.isgeneratorfunction(self.function)

    def call(self, context: Any, value: Any) -> Any:
        """Make the coroutine or generator. None of its code has run (unless it is a plain function)."""
        return self.function(*self._arguments(context, value))


Resolver: TypeAlias = Callable[[str, str | None], WorkflowDefinition | None]
"""From a workflow's name and version to its definition, or None if it is not known here: `App.resolve`."""


def mark(definition: ActivityDefinition | WorkflowDefinition) -> None:
    """Leave the definition on the user's function, so that whoever has the function finds it."""
    name = _ACTIVITY_MARK if isinstance(definition, ActivityDefinition) else _WORKFLOW_MARK
    function = definition.function
    setattr(function.__func__ if isinstance(function, MethodType) else function, name, definition)


def activity_of(function: object) -> ActivityDefinition | None:
    """The activity that a function was (last) registered as, in whatever app."""
    found = getattr(function, _ACTIVITY_MARK, None)
    return found if isinstance(found, ActivityDefinition) and _fits(found, function) else None


def workflow_of(function: object) -> WorkflowDefinition | None:
    """The workflow that a function was (last) registered as, in whatever app."""
    found = getattr(function, _WORKFLOW_MARK, None)
    return found if isinstance(found, WorkflowDefinition) and _fits(found, function) else None


def _fits(found: _Definition, function: object) -> bool:
    """Methods of two objects share the function that is marked."""
    return not isinstance(function, MethodType) or found.is_for(function)
