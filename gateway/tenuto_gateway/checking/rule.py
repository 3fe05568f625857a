"""What all rules share: one walk over one function, and what it comes to."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TypeAlias

from tenuto_gateway.checking.findings import Kind
from tenuto_gateway.checking.scope import Scope

__all__ = ["TASK_MAKERS", "Fault", "Function", "Place", "Rule"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Place: TypeAlias = ast.expr | ast.stmt | ast.ExceptHandler

TASK_MAKERS = frozenset(
    {"call_activity", "call_child_workflow", "wait_for_external_event", "when_all", "when_any"}
)
"""What gives a task that somebody must wait for. A timer may be left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong, where it is."""

    node: Place
    kind: Kind
    what: str
    remedy: str


class Rule(ast.NodeVisitor):
    """Walks over a function's body and adds to `faults`."""

    def __init__(self, scope: Scope, tree: Function, faults: list[Fault]) -> None:
        self.scope = scope
        self.tree = tree
        self._faults = faults

    def run(self) -> None:
        for statement in self.tree.body:
            self.visit(statement)

    def fault(self, node: Place, kind: Kind, what: str, remedy: str | None = None) -> None:
        self._faults.append(Fault(node=node, kind=kind, what=what, remedy=remedy or kind.remedy))

    def context_method(self, node: ast.Call) -> str | None:
        """The method, if it is one of the workflow's context that is called."""
        match node.func:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if name == self.scope.context:
                return method
            case _:
                return None

    def task_maker(self, node: ast.Call) -> str | None:
        """What is called, if it is the context's or one of Tenuto's functions."""
        method = self.context_method(node)
        if method is not None:
            return method
        name = self.scope.full_name(node.func) or ""
        return name.rpartition(".")[2] if name.startswith("tenuto.") else None
