"""What a name stands for in one function: looked up where Python itself would."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import inspect
import types
from collections.abc import Callable
from typing import Any, Final

from tenuto_gateway.checking.forbidden import name_by_identity

__all__ = ["UNKNOWN", "Scope", "dotted_name"]


class _Unknown:
    pass


UNKNOWN: Final = _Unknown()


class Scope:
    """The names of one function."""

    def __init__(self, function: Callable[..., Any], tree: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._globals: dict[str, Any] = getattr(function, "__globals__", {})
        self._closure: dict[str, Any] = {}
        with contextlib.suppress(TypeError, ValueError):
            self._closure = dict(inspect.getclosurevars(function).nonlocals)
        self.locals = _assigned(tree)
        self._imported = _imported(tree)
        self.context = _context(tree)
        """The name of the workflow context: the parameter that is annotated so, or the first."""
        self.types: dict[str, Any] = {}
        """Of local names, where an annotation or the call of a class tells."""
        for node in ast.walk(tree):
            self._learn(node)

    def is_global(self, name: str) -> bool:
        """Whether it is of the module (or an outer function), not of the function itself."""
        return name not in self.locals and name not in self._imported and self.look_up(name) is not UNKNOWN

    def look_up(self, name: str) -> Any:
        """The thing that a name stands for; UNKNOWN for local variables."""
        if name in self._imported:
            return self._imported[name]
        if name in self.locals:
            return UNKNOWN
        if name in self._closure:
            return self._closure[name]
        if name in self._globals:
            return self._globals[name]
        return getattr(builtins, name, UNKNOWN)

    def resolve(self, node: ast.expr) -> Any:
        """The thing that an expression of names and dots stands for; UNKNOWN where that is not to be seen."""
        if isinstance(node, ast.Name):
            return self.look_up(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if isinstance(owner, types.ModuleType | type):
                return getattr(owner, node.attr, UNKNOWN)
        return UNKNOWN

    def type_of(self, node: ast.expr) -> Any:
        """The class of an expression's value; UNKNOWN where that is not to be seen."""
        if isinstance(node, ast.Name):
            if node.id in self.locals:
                return self.types.get(node.id, UNKNOWN)
            found = self.look_up(node.id)
            return UNKNOWN if found is UNKNOWN or isinstance(found, types.ModuleType | type) else type(found)
        if isinstance(node, ast.Call):
            called = self.resolve(node.func)
            return called if isinstance(called, type) else UNKNOWN
        if isinstance(node, ast.Set | ast.SetComp):
            return set
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            left = self.type_of(node.left)
            return left if left in (set, frozenset) else UNKNOWN
        return UNKNOWN

    def full_name(self, node: ast.expr) -> str | None:
        """The full dotted name of what an expression of names and dots stands for, methods of known types included."""
        if isinstance(node, ast.Name):
            found = self.look_up(node.id)
            if found is UNKNOWN:
                return None
            return dotted_name(found) or f"{type(found).__module__}.{type(found).__qualname__}"
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.resolve(node.value)
        if isinstance(owner, types.ModuleType | type):
            found = getattr(owner, node.attr, UNKNOWN)
            # What one module imports from another goes by the name of the other.
            told = None if found is UNKNOWN else dotted_name(found)
            return told or f"{dotted_name(owner)}.{node.attr}"
        owner_type = self.type_of(node.value)
        if owner_type is not UNKNOWN:
            return _method_name(owner_type, node.attr)
        return None

    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.types.setdefault(name, self.type_of(value))
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                self.types[name] = self._annotated(annotation)
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                self.types[name] = self._annotated(annotation)
            case _:
                pass

    def _annotated(self, annotation: ast.expr) -> Any:
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            with contextlib.suppress(SyntaxError):
                return self._annotated(ast.parse(annotation.value, mode="eval").body)
        found = self.resolve(annotation)
        return found if isinstance(found, type) else UNKNOWN


def dotted_name(thing: Any) -> str | None:
    """How a module, function or class is called, from its module on; None: it does not tell."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    known = name_by_identity(thing)
    if known is not None:
        return known
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str):
        return f"{module}.{name}"
    owner = getattr(thing, "__self__", None)
    if isinstance(owner, type) and isinstance(name, str):
        return f"{owner.__module__}.{name}"
    return None


def _method_name(owner: type, attribute: str) -> str:
    for each in owner.__mro__:
        if attribute in vars(each):
            # pathlib's classes for one system stand for the one that users know.
            module = "pathlib" if each.__module__.startswith("pathlib") else each.__module__
            return f"{module}.{each.__qualname__}.{attribute}"
    return f"{owner.__module__}.{owner.__qualname__}.{attribute}"


def _context(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    parameters = [*tree.args.posonlyargs, *tree.args.args]
    for parameter in parameters:
        if parameter.annotation is not None and "WorkflowContext" in ast.unparse(parameter.annotation):
            return parameter.arg
    return parameters[0].arg if parameters else None


def _assigned(tree: ast.AST) -> set[str]:
    """Every name that is bound in the function, its inner functions included; `global` ones are not its own."""
    bound: set[str] = set()
    foreign: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if node is not tree:
                    bound.add(name)
            case ast.ExceptHandler(name=str() as name):
                bound.add(name)
            case ast.Global(names=names):
                foreign.update(names)
            case _:
                pass
    return bound - foreign


def _imported(tree: ast.AST) -> dict[str, Any]:
    """What the function imports itself."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        with contextlib.suppress(ImportError, AttributeError):
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        module = importlib.import_module(alias.name)
                        top = importlib.import_module(alias.name.partition(".")[0])
                        found[alias.asname or alias.name.partition(".")[0]] = module if alias.asname else top
                case ast.ImportFrom(module=str() as name, names=names, level=0):
                    module = importlib.import_module(name)
                    for alias in names:
                        found[alias.asname or alias.name] = getattr(module, alias.name)
                case _:
                    pass
    return found
