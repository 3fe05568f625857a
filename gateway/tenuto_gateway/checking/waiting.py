"""What workflow code waits for, and what it does not."""

from __future__ import annotations

import ast
import inspect
from types import FunctionType

from tenuto.core.definitions import activity_of
from tenuto_gateway.checking.findings import Kind
from tenuto_gateway.checking.rule import TASK_MAKERS, Rule

__all__ = ["Waiting"]

_IMMEDIATE = frozenset(
    {"set_custom_status", "continue_as_new", "send_event", "new_uuid", "is_patched", "deprecate_patch"}
)
"""Methods of the context that do something at once."""


class Waiting(Rule):
    """Tasks that nobody awaits, and awaits of what is no task."""

    def run(self) -> None:
        super().run()
        self._unused_tasks()

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and self.task_maker(node.value) in TASK_MAKERS:
            self.fault(node, Kind.UNAWAITED, f"does not wait for {ast.unparse(node.value.func)}")
        elif isinstance(node.value, ast.Call):
            called = self.scope.resolve(node.value.func)
            if (
                isinstance(called, FunctionType)
                and inspect.iscoroutinefunction(called)
                and not activity_of(called)
            ):
                self.fault(node, Kind.UNAWAITED, f"does not wait for {ast.unparse(node.value.func)}")
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self._wait(node.value)
        self.generic_visit(node)

    def visit_Yield(self, node: ast.Yield) -> None:
        if node.value is not None:
            self._wait(node.value)
        self.generic_visit(node)

    def _wait(self, awaited: ast.expr) -> None:
        if isinstance(awaited, ast.Call) and (method := self.context_method(awaited)) in _IMMEDIATE:
            self.fault(awaited, Kind.AWAITED, f"waits for {self.scope.context}.{method}")
        elif isinstance(awaited, ast.Constant | ast.List | ast.Tuple | ast.Dict):
            remedy = (
                "await when_all([…])" if isinstance(awaited, ast.List | ast.Tuple) else Kind.AWAITED.remedy
            )
            self.fault(awaited, Kind.AWAITED, f"waits for {ast.unparse(awaited)}", remedy)

    def _unused_tasks(self) -> None:
        """Tasks that are kept under a name that nobody reads."""
        read = {
            node.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        for node in ast.walk(self.tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if name not in read:
                    if self.task_maker(call) in TASK_MAKERS:
                        self.fault(node, Kind.UNAWAITED, f"never waits for {name}")
                case _:
                    pass
