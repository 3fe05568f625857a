"""What workflow code calls, and what it passes to activities and children."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from tenuto import payloads
from tenuto.core.definitions import ActivityDefinition, WorkflowDefinition, activity_of, workflow_of
from tenuto.errors import PayloadError
from tenuto_gateway.checking.findings import Kind
from tenuto_gateway.checking.rule import Fault, Function, Rule
from tenuto_gateway.checking.scope import UNKNOWN, Scope

__all__ = ["Calls"]


class Calls(Rule):
    """`helpers` are the functions that are called and are neither activities nor workflows."""

    def __init__(
        self, scope: Scope, tree: Function, faults: list[Fault], find_activity: Callable[[str], Any]
    ) -> None:
        super().__init__(scope, tree, faults)
        self.helpers: list[FunctionType] = []
        self._find_activity = find_activity

    def visit_Call(self, node: ast.Call) -> None:
        called = self.scope.resolve(node.func)
        if called is not UNKNOWN and (activity_of(called) is not None or workflow_of(called) is not None):
            self.fault(node, Kind.DIRECT_CALL, f"calls {ast.unparse(node.func)} directly")
        elif isinstance(called, FunctionType):
            self.helpers.append(called)
        self._request(node)
        self.generic_visit(node)

    def _request(self, node: ast.Call) -> None:
        """What the workflow asks of its context: what it passes must be able to travel, and fit."""
        method = self.context_method(node)
        if method in ("call_activity", "call_child_workflow") and node.args:
            for passed in [*node.args[1:2], *(kw.value for kw in node.keywords if kw.arg == "input")]:
                if not self._serialisable(passed):
                    self.fault(passed, Kind.UNSERIALISABLE, f"passes {ast.unparse(passed)}")
                else:
                    self._fits(node.args[0], passed)
        elif method in ("continue_as_new", "set_custom_status", "send_event"):
            for passed in [*node.args, *(kw.value for kw in node.keywords)]:
                if not self._serialisable(passed):
                    self.fault(passed, Kind.UNSERIALISABLE, f"passes {ast.unparse(passed)}")

    def _serialisable(self, node: ast.expr) -> bool:
        match node:
            case ast.Lambda() | ast.GeneratorExp():
                return False
            case ast.Name(id=name) if name == self.scope.context:
                return False
            case ast.Name() | ast.Attribute():
                found = self.scope.resolve(node)
                return found is UNKNOWN or not (callable(found) or isinstance(found, ModuleType))
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return all(self._serialisable(element) for element in elements)
            case ast.Dict(values=values):
                return all(self._serialisable(value) for value in values)
            case _:
                return True

    def _fits(self, function: ast.expr, passed: ast.expr) -> None:
        """Whether a literal, or an object made on the spot, is what the function's type hint says."""
        target = self.scope.resolve(function)
        definition = None if target is UNKNOWN else activity_of(target) or workflow_of(target)
        if definition is None and isinstance(function, ast.Constant) and isinstance(function.value, str):
            definition = self._find_activity(function.value)
        if definition is None:
            return
        made = self.scope.type_of(passed)
        if made is not UNKNOWN and made not in (set, frozenset):
            hint = definition.input_hint
            if isinstance(hint, type) and not _may_be(made, hint):
                what = f"passes a {made.__name__} to {definition.name}, which takes {hint.__name__}"
                self.fault(passed, Kind.WRONG_TYPE, what)
            return
        with contextlib.suppress(ValueError, TypeError, SyntaxError):  # no literal
            self._decode(definition, passed, ast.literal_eval(passed))

    def _decode(
        self, definition: ActivityDefinition | WorkflowDefinition, passed: ast.expr, value: Any
    ) -> None:
        try:
            definition.decode_input(payloads.encode(value))
        except PayloadError as error:
            self.fault(passed, Kind.WRONG_TYPE, f"passes {ast.unparse(passed)}: {error}")


def _may_be(made: type, hint: type) -> bool:
    """Whether an object of one class can be given where the other is asked for."""
    try:
        return issubclass(made, hint) or (made is int and hint is float)
    except TypeError:  # a TypedDict, or a protocol
        return True
