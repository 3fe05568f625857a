"""All the code that an app's workflows reach, and the comments that overrule what is found in it."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, cast

from tenuto.app import App
from tenuto.core.definitions import WorkflowDefinition, activity_of
from tenuto_gateway.checking.calls import Calls
from tenuto_gateway.checking.findings import Finding, Kind
from tenuto_gateway.checking.names import Names
from tenuto_gateway.checking.order import Order
from tenuto_gateway.checking.rule import Fault, Function
from tenuto_gateway.checking.scope import Scope
from tenuto_gateway.checking.waiting import Waiting

__all__ = ["check"]

_OVERRULED = re.compile(r"#\s*tenuto:\s*ok\[(?P<codes>[^\]]*)\]\s*(?P<reason>.*)")
_LIBRARIES = tuple(
    str(Path(path).resolve())
    for path in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    if path
)


def check(app: App) -> list[Finding]:
    """What would not replay in an app's workflows, and in the functions of the same project that they call.

    A line that ends in `# tenuto: ok[CODE] reason` (or several codes, with commas) is not told of for these codes; the
    reason is asked for. Code whose source is not at hand is not looked at.
    """
    found: dict[tuple[str, int, int, str], Finding] = {}
    for definition in _workflows(app):
        for finding in _check_workflow(app, definition):
            found.setdefault((finding.file, finding.line, finding.column, finding.code), finding)
    return sorted(found.values())


def _workflows(app: App) -> Iterator[WorkflowDefinition]:
    for name in app.workflows:
        for version in app.versions(name):
            definition = app.resolve(name, version)
            if definition is not None:
                yield definition


def _check_workflow(app: App, definition: WorkflowDefinition) -> Iterator[Finding]:
    entry = _plain(definition.function)
    queue: deque[FunctionType] = deque([entry])
    seen = {entry}
    while queue:
        function = queue.popleft()
        source = _source(function)
        if source is None:
            continue
        file, tree, lines = source
        faults: list[Fault] = []
        scope = Scope(function, tree)
        calls = Calls(scope, tree, faults, app.find_activity)
        for rule in (
            Names(scope, tree, faults),
            calls,
            Waiting(scope, tree, faults),
            Order(scope, tree, faults),
        ):
            rule.run()
        for fault in faults:
            if fault.kind.code in _overruled(lines, fault.node.lineno, fault.node.end_lineno):
                continue
            yield Finding(
                file=file,
                line=fault.node.lineno,
                column=fault.node.col_offset + 1,
                code=fault.kind.code,
                what=fault.what,
                why=fault.kind.why,
                remedy=fault.remedy,
                workflow=definition.name,
                via=None if function is entry else function.__qualname__,
            )
        for helper in calls.helpers:
            if helper not in seen and activity_of(helper) is None and _is_of_the_project(helper):
                seen.add(helper)
                queue.append(helper)


def _plain(function: Callable[..., Any]) -> FunctionType:
    """The function under decorators and methods."""
    unwrapped = inspect.unwrap(function.__func__ if isinstance(function, MethodType) else function)
    if isinstance(unwrapped, functools.partial):
        return _plain(unwrapped.func)
    return cast("FunctionType", unwrapped)


def _is_of_the_project(function: FunctionType) -> bool:
    file = str(Path(function.__code__.co_filename).resolve())
    return (
        Path(file).is_file()
        and not file.startswith(_LIBRARIES)
        and not function.__module__.startswith("tenuto.")
    )


def _source(function: Any) -> tuple[str, Function, Mapping[int, str]] | None:
    code = getattr(function, "__code__", None)
    if code is None or not Path(code.co_filename).is_file():
        return None
    tree, lines = _module(code.co_filename)
    for found in ast.walk(tree):
        if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
        if found.name == code.co_name and first == code.co_firstlineno:
            return _shown(code.co_filename), found, lines
    return None


@functools.lru_cache(maxsize=256)
def _module(file: str) -> tuple[ast.Module, Mapping[int, str]]:
    text = Path(file).read_text(encoding="utf-8")
    return ast.parse(text), dict(enumerate(text.splitlines(), 1))


def _shown(file: str) -> str:
    path = Path(file).resolve()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _overruled(lines: Mapping[int, str], first: int, last: int | None) -> set[str]:
    """The codes that the comments on these lines overrule, with a reason."""
    codes: set[str] = set()
    for number in {first, last or first}:
        match = _OVERRULED.search(lines.get(number, ""))
        if match is not None and match["reason"].strip():
            codes.update(code.strip() for code in match["codes"].split(","))
    return codes & {kind.code for kind in Kind}
