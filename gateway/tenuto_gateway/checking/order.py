"""Orders that differ from process to process, and exceptions that are not the code's to keep."""

from __future__ import annotations

import ast

from tenuto_gateway.checking.findings import Kind
from tenuto_gateway.checking.rule import Fault, Function, Rule
from tenuto_gateway.checking.scope import Scope

__all__ = ["Order"]

_ORDERED_BY = frozenset({"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset"})
"""Functions that make a set's order of no account."""
_UNORDERED_READERS = frozenset({"list", "tuple", "enumerate", "iter", "next", "zip", "map", "filter"})


class Order(Rule):
    """Walks through sets, and handlers that catch everything."""

    def __init__(self, scope: Scope, tree: Function, faults: list[Fault]) -> None:
        super().__init__(scope, tree, faults)
        self._ordered: set[ast.expr] = set()

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name in _ORDERED_BY:
            self._ordered.update(node.args)
            for argument in node.args:
                if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                    self._ordered.update(generator.iter for generator in argument.generators)
        elif name in _UNORDERED_READERS:
            for argument in node.args:
                self._iterate(argument)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and self._is_set(node.func.value):
            self.fault(node, Kind.SET_ORDER, "takes whatever element a set gives")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._iterate(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._iterate(node.iter)
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._ordered.update(generator.iter for generator in node.generators)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._iterate(node.value)
        self.generic_visit(node)

    def _iterate(self, node: ast.expr) -> None:
        if node not in self._ordered and self._is_set(node):
            self._ordered.add(node)
            self.fault(node, Kind.SET_ORDER, "goes through a set")

    def _is_set(self, node: ast.expr) -> bool:
        return self.scope.type_of(node) in (set, frozenset)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        caught = None if node.type is None else self.scope.resolve(node.type)
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if (node.type is None or caught is BaseException) and not raises:
            self.fault(node, Kind.SWALLOWED, "catches everything")
        self.generic_visit(node)
