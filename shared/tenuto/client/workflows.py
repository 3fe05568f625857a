"""What a client must know of a workflow: its name, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenuto.app import App
from tenuto.core.definitions import workflow_of
from tenuto.errors import UsageError

__all__ = ["Described", "describe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    name: str
    result_type: Any
    """A type hint; Any where nothing is known."""


def describe(workflow: Callable[..., Any] | str, version: str | None, app: App | None) -> Described:
    """A workflow that is given as a function or by name; by name, `app` may know more of it.

    Raises:
        UsageError: the function was not registered as a workflow.
    """
    if isinstance(workflow, str):
        definition = app.resolve(workflow, version) if app is not None else None
        if definition is None:
            return Described(name=workflow, result_type=Any)
    else:
        definition = workflow_of(workflow)
        if definition is None:
            name = getattr(workflow, "__qualname__", repr(workflow))
            raise UsageError(
                f"{name} is no workflow: decorate it with @app.workflow, or give the workflow's name."
            )
    return Described(name=definition.name, result_type=definition.output_hint)
