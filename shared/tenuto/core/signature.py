"""What a user's function takes and gives, read from its signature and type hints."""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_origin, get_type_hints

from tenuto.errors import UsageError

__all__ = ["Signature", "read_signature"]

_COMMON = {name: getattr(module, name) for module in (collections.abc, typing) for name in module.__all__}
"""Names that many import for type checkers only, and that are the same to everybody."""
_CONTEXT_TYPES = frozenset(
    {"ActivityContext", "WorkflowActivityContext", "WorkflowContext", "DaprWorkflowContext"}
)
_CONTEXT_NAMES = frozenset({"ctx", "context"})


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The shape of a workflow or activity function: `()`, `(input)`, `(ctx)` or `(ctx, input)`."""

    function: Callable[..., Any]
    takes_context: bool
    input_parameter: inspect.Parameter | None
    """The parameter that takes the payload, if there is one."""

    @property
    def input_is_optional(self) -> bool:
        """Whether the payload's parameter has a default, so that a call without an input (`null`) leaves it out."""
        parameter = self.input_parameter
        return parameter is not None and parameter.default is not inspect.Parameter.empty

    @cached_property
    def input_hint(self) -> Any:
        """The payload's type; Any where there is no hint or no parameter.

        Raises:
            UsageError: the annotation names something that cannot be found.
        """
        if self.input_parameter is None:
            return Any
        return self._resolve(self.input_parameter.name, self.input_parameter.annotation)

    @cached_property
    def output_hint(self) -> Any:
        """The type of what the function finally returns; Any where there is no hint.

        Raises:
            UsageError: the annotation names something that cannot be found.
        """
        hint = self._resolve(
            "return", _target(self.function).__annotations__.get("return", inspect.Parameter.empty)
        )
        origin = get_origin(hint)
        arguments = get_args(hint)
        if origin is Generator:
            return arguments[2] if len(arguments) > 2 else None  # noqa: PLR2004 - Generator[yield, send, return]
        if origin is Coroutine:
            return arguments[2]
        return arguments[0] if origin is Awaitable else hint

    def _resolve(self, name: str, annotation: Any) -> Any:
        """One annotation alone: a context type that is imported for type checkers only is not in the way."""
        if annotation is inspect.Parameter.empty:
            return Any
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        target = _target(self.function)
        try:
            hints = get_type_hints(
                holder, {**_COMMON, **target.__globals__}, _closure(target), include_extras=True
            )
        except NameError as error:
            raise UsageError(
                f"the annotation {annotation!r} of {target.__qualname__} ({name}) cannot be resolved: "
                f"{error}; "
                "define or import the type at module level, not only for type checkers"
            ) from error
        return hints[name]


def read_signature(function: Callable[..., Any], *, context: bool | None) -> Signature:
    """The signature of a workflow (`context` True) or an activity (None: a context may come first).

    Raises:
        UsageError: it is no function, asks for more than a context and one input, or is an async generator.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not hasattr(_target(function), "__code__"):
        raise UsageError(f"{name} is no function")
    if inspect.isasyncgenfunction(function):
        raise UsageError(
            f"{name} is an async generator; use `await` in an `async def`, or `yield` in a plain `def`"
        )
    positional: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            positional.append(parameter)
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise UsageError(f"{name}: nobody gives a value to the keyword-only parameter {parameter.name!r}")
    takes_context = _takes_context(name, positional) if context is None else context
    if takes_context and not positional:
        raise UsageError(f"{name}: a workflow takes the context as its first parameter")
    inputs = positional[1:] if takes_context else positional
    if any(extra.default is extra.empty for extra in inputs[1:]):
        raise UsageError(
            f"{name} takes more than one input; put them together into one (a dataclass, a dict)"
        )
    return Signature(
        function=function, takes_context=takes_context, input_parameter=inputs[0] if inputs else None
    )


def _takes_context(name: str, positional: list[inspect.Parameter]) -> bool:
    """Dapr's activities take `(ctx, input)`; a sole parameter is a context if its annotation says so."""
    if not positional:
        return False
    first = positional[0]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    if first.name in _CONTEXT_NAMES and len(positional) > 1:
        return True
    if len(required) > 1:
        if not _may_be_context(first.annotation):
            raise UsageError(
                f"{name} takes more than one input ({first.name!r} is no ActivityContext); put them together into "
                "one (a dataclass, a dict)"
            )
        return True
    return bool(_words(first.annotation) & _CONTEXT_TYPES)


def _may_be_context(annotation: Any) -> bool:
    if any(annotation is anything for anything in (inspect.Parameter.empty, Any, object)):
        return True
    return bool(_words(annotation) & _CONTEXT_TYPES) or annotation in {"Any", "typing.Any", "object"}


def _words(annotation: Any) -> set[str]:
    """The names that an annotation is made of."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return set(re.findall(r"\w+", text))


def _target(function: Callable[..., Any]) -> Any:
    """The plain function behind decorators and partials, which has the annotations, globals and closure."""
    target = inspect.unwrap(function)
    while hasattr(target, "func"):
        target = inspect.unwrap(target.func)
    return target


def _closure(target: Any) -> dict[str, Any]:
    closure = inspect.getclosurevars(target)
    return dict(closure.nonlocals)
