"""What a workflow's code can call, as far as it can be seen without running it, as a Mermaid flowchart.

The code is read, not run: calls of the context's methods whose subject is a name that can be looked up, in the workflow
and in the functions that it passes its context to. What is chosen at run time cannot be seen, and is drawn as such.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from tenuto.app import App
from tenuto.core.definitions import activity_of, workflow_of

__all__ = ["flowchart"]

_SUBJECTS: Final = {
    "call_activity": "activity",
    "call_local_activity": "activity",
    "call_child_workflow": "workflow",
    "start_workflow": "workflow",
    "wait_for_external_event": "event",
    "create_timer": "timer",
    "lock": "lock",
    "send_event": "message",
    "continue_as_new": "again",
}
_SHAPES: Final = {
    "activity": '{}["{}"]',
    "workflow": '{}[["{}"]]',
    "event": '{}>"{}"]',
    "timer": '{}(("{}"))',
    "lock": '{}{{{{"{}"}}}}',
    "message": '{}>"{}"]',
}
_UNSEEN: Final = "chosen at run time"


def flowchart(app: App, workflow: str) -> str:
    """The workflow and everything below it: activities, children and theirs, events, timers.

    Raises:
        OSError: the source of a workflow is not at hand.
    """
    nodes: dict[tuple[str, str], str] = {}
    edges: dict[str, None] = {}
    waiting, drawn = [workflow], {workflow}

    def node(kind: str, name: str) -> str:
        return nodes.setdefault((kind, name), f"n{len(nodes)}")

    node("workflow", workflow)
    while waiting:
        name = waiting.pop()
        definition = app.resolve(name, None)
        if definition is None:
            continue
        for kind, subject in _calls(definition.function, set()):
            here = node("workflow", name)
            if kind == "again":
                edges[f"{here} -->|continues as new| {here}"] = None
                continue
            edges[f"{here} --> {node(kind, subject)}"] = None
            if kind == "workflow" and subject not in drawn:
                drawn.add(subject)
                waiting.append(subject)
    shapes = [_SHAPES[kind].format(short, name.replace('"', "'")) for (kind, name), short in nodes.items()]
    return "\n".join(["flowchart TD", *(f"    {line}" for line in (*shapes, *edges))])


def _calls(function: Callable[..., Any], seen: set[int]) -> Iterator[tuple[str, str]]:
    """What a function asks of its context: the kind, and the name of the subject."""
    if id(function) in seen:
        return
    seen.add(id(function))
    known = inspect.getclosurevars(inspect.unwrap(function))
    names = {**known.builtins, **known.globals, **known.nonlocals}
    for call in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        match call:
            case ast.Call(func=ast.Attribute(attr=attribute), args=arguments) if attribute in _SUBJECTS:
                kind = _SUBJECTS[attribute]
                yield kind, _subject(kind, arguments, names)
            case ast.Call(func=ast.Name(id=name)) if inspect.isfunction(names.get(name)):
                helper = names[name]
                if activity_of(helper) is None and helper.__module__ == function.__module__:
                    yield from _calls(helper, seen)
            case _:
                pass


def _subject(kind: str, arguments: list[ast.expr], names: dict[str, Any]) -> str:
    if kind == "timer":
        return "timer"
    place = 1 if kind == "message" else 0
    found: Any = None
    match arguments[place : place + 1]:
        case [ast.Constant(value=str(name))]:
            return name
        case [ast.Name(id=name)]:
            found = names.get(name)
        case [ast.Attribute(value=ast.Name(id=owner), attr=attribute)]:
            found = getattr(names.get(owner), attribute, None)
        case _:
            pass
    if isinstance(found, str):
        return found
    definition = None
    if callable(found):
        definition = activity_of(found) if kind == "activity" else workflow_of(found)
    return _UNSEEN if definition is None else definition.name
