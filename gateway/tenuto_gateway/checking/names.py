"""Names that workflow code must not use, and names that are not its own to change."""

from __future__ import annotations

import ast
from types import ModuleType

from tenuto_gateway.checking.findings import Kind
from tenuto_gateway.checking.forbidden import kind_of, remedy_of
from tenuto_gateway.checking.rule import Rule
from tenuto_gateway.checking.scope import UNKNOWN

__all__ = ["Names"]

_MUTATORS = frozenset(
    {
        *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add"),
        *("discard", "appendleft", "extendleft", "popleft", "sort", "reverse", "__setitem__", "__delitem__"),
    }
)


class Names(Rule):
    """What the code uses, and what it changes outside of itself."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self._use(node):
            self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.fault(node, Kind.GLOBAL, f"assigns to the global {', '.join(node.names)}")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._assign(node.target)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:  # annotations are not run
            self._assign(node.target)
            self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._assign(target)

    def visit_arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *node.kw_defaults):
            if default is not None:
                self.visit(default)

    def visit_Call(self, node: ast.Call) -> None:
        if not (node.args or node.keywords) and self.scope.full_name(node.func) == "random.Random":
            self.fault(node, Kind.RANDOM, "uses random.Random without a seed")
        if isinstance(node.func, ast.Attribute) and self._mutates_global(node.func):
            self.fault(node, Kind.GLOBAL, f"changes the global {ast.unparse(node.func.value)}")
        self.generic_visit(node)

    def _use(self, node: ast.Name | ast.Attribute) -> bool:
        name = self.scope.full_name(node)
        kind = None if name is None else kind_of(name)
        if name is None or kind is None:
            return False
        found = self.scope.resolve(node)
        if isinstance(found, ModuleType) or (isinstance(found, type) and issubclass(found, BaseException)):
            return False  # what is taken from the module counts; to catch its errors is no harm
        written, last = ast.unparse(node), name.rpartition(".")[2]
        what = written if written.endswith(last) else f"{written}, which is {name}"
        self.fault(node, kind, f"uses {what}", remedy_of(name, kind))
        return True

    def _assign(self, target: ast.expr) -> None:
        root: ast.expr = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if root is not target and isinstance(root, ast.Name) and self.scope.is_global(root.id):
            self.fault(target, Kind.GLOBAL, f"changes the global {root.id}")

    def _mutates_global(self, function: ast.expr) -> bool:
        match function:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in _MUTATORS:
                found = self.scope.look_up(name) if self.scope.is_global(name) else UNKNOWN
                return isinstance(found, list | dict | set | bytearray) or hasattr(found, "appendleft")
            case _:
                return False
