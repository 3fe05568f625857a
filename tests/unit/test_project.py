"""What must hold for the project as a whole: the façade, the purity of the core, limits of size, the changelog,
a test for each statement of how Tenuto behaves."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tenuto

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    ROOT / "shared/tenuto",
    ROOT / "orchestrator/tenuto_orchestrator",
    ROOT / "worker/tenuto_worker",
    ROOT / "gateway/tenuto_gateway",
)
CORE = ROOT / "shared/tenuto/core"

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 400
MAX_CLASS_METHODS = 20

FORBIDDEN_IN_CORE = {
    "asyncio",
    "time",
    "logging",
    "secrets",
    "os",
    "socket",
    "sqlalchemy",
    "aio_pika",
}
ALLOWED_FROM = {"random": {"Random"}, "uuid": {"UUID", "uuid5"}, "threading": {"get_ident"}}
"""All that the core may use of these: a seeded `Random`, uuids that are functions of their input, and which thread
calls (a workflow's context used from another one is an error)."""
READS_A_CLOCK = {"now", "utcnow", "today"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def impurities(tree: ast.Module) -> Iterator[str]:
    """What a module of the core may not import or use, in words."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules |= {alias.asname or alias.name for alias in names if alias.name in ALLOWED_FROM}
                yield from (f"imports {each.name}" for each in names if top(each.name) in FORBIDDEN_IN_CORE)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                if top(module) in FORBIDDEN_IN_CORE:
                    yield f"imports from {module}"
                allowed = ALLOWED_FROM.get(module, {each.name for each in names})
                yield from (
                    f"imports {each.name} from {module}" for each in names if each.name not in allowed
                )
            case _:
                pass
    yield from impure_uses(tree, modules)


def impure_uses(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    allowed = set().union(*ALLOWED_FROM.values())
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                if owner in modules and attribute not in allowed:
                    yield f"line {node.lineno}: uses {owner}.{attribute}"
                if owner in {"datetime", "date"} and attribute in READS_A_CLOCK:
                    yield f"line {node.lineno}: reads the clock with {owner}.{attribute}"
            case _:
                pass


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=relative)
def test_the_core_is_pure(path: Path) -> None:
    assert list(impurities(parse(path))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio",
        "from time import monotonic",
        "from logging import handlers",
        "from threading import Thread",
        "from random import random",
        "import random\nrandom.choice([1])",
        "import random as r\nr.seed(1)",
        "from uuid import uuid4",
        "import uuid\nuuid.uuid4()",
        "from datetime import datetime\ndatetime.now()",
    ],
)
def test_an_impure_core_would_be_noticed(code: str) -> None:
    assert list(impurities(ast.parse(code))) != []


def test_a_pure_core_is_not_complained_about() -> None:
    code = "import random\nfrom uuid import UUID, uuid5\nrandom.Random(1)\nfrom datetime import datetime"
    assert list(impurities(ast.parse(code))) == []


EXPORTED = [name for name in sorted(getattr(tenuto, "__all__", ())) if not name.startswith("__")]


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_names_exist_and_are_documented(name: str) -> None:
    exported = getattr(tenuto, name)
    own = exported.__dict__.get("__doc__") if inspect.isclass(exported) else inspect.getdoc(exported)
    assert own, f"tenuto.{name} has no docstring of its own"
    assert not own.startswith(f"{name}("), f"the docstring of tenuto.{name} was made by dataclass"


def test_the_facade_has_what_users_import() -> None:
    expected = {
        "App",
        "Client",
        "Publisher",
        "RetryPolicy",
        "SyncClient",
        "WorkflowContext",
        "activity",
        "when_all",
        "when_any",
    }
    assert expected <= set(EXPORTED)


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_every_module_says_what_it_is_for_and_imports(path: Path) -> None:
    if path.read_text().strip() and "migrations" not in path.parts:
        assert ast.get_docstring(parse(path)), f"{relative(path)} has no docstring"
    package = next(package for package in PACKAGES if path.is_relative_to(package))
    module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
    if "migrations" not in path.parts and path.name != "__main__.py":
        importlib.import_module(module.removesuffix(".__init__"))


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_limits_of_size(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(parse(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= MAX_FUNCTION_LINES, f"{name} has {lines} lines"
            case ast.ClassDef(name=name, body=body) if not is_protocol(node):
                methods = sum(counts_as_method(member) for member in body)
                assert methods <= MAX_CLASS_METHODS, f"{name} has {methods} methods"
            case _:
                pass


def is_protocol(node: ast.ClassDef) -> bool:
    """A protocol is a list of verbs, and has no code to split."""
    return any(ast.unparse(base) == "Protocol" for base in node.bases)


def counts_as_method(member: ast.stmt) -> bool:
    """Overloads are one method with its implementation."""
    if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return not any("overload" in ast.unparse(decorator) for decorator in member.decorator_list)


def test_packages_are_typed_and_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(wheel) == sorted(relative(package) for package in PACKAGES)
    for package in PACKAGES:
        assert (package / "py.typed").exists()
        assert not (package.parent / "__init__.py").exists(), "source roots are folders, not packages"


def test_changelog_is_in_keep_a_changelog_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert versions
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version)
    kinds = set(re.findall(r"^### (.*)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def statements(page: str) -> Iterator[tuple[str, str]]:
    """Name (the first words in bold) and text of each item and each row of a table's body."""
    for text in re.findall(r"^[-*|] (?:.+\n?)(?:^ +.+\n?)*", page, flags=re.MULTILINE):
        name = re.search(r"\*\*(.+?)\*\*", text, flags=re.DOTALL)
        yield " ".join(name[1].replace("`", "").rstrip(".").split()) if name else "", text


def marked(folder: Path) -> Iterator[tuple[str, str]]:
    """What tests below a folder are marked with as showing it, and where."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(parse(path)):
            match node:
                case (
                    ast.FunctionDef(decorator_list=decorators)
                    | ast.AsyncFunctionDef(decorator_list=decorators)
                ):
                    yield from ((name, f"{relative(path)}::{node.name}") for name in shown(decorators))
                case _:
                    pass


def shown(decorators: list[ast.expr]) -> Iterator[str]:
    for decorator in decorators:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="semantics"), args=names):
                yield from (ast.literal_eval(name) for name in names)
            case _:
                pass


TABLE_HEADS = re.compile(r"^\|.*\n\|[-|]+\n", flags=re.MULTILINE)


def test_every_statement_of_how_it_behaves_has_a_test_that_names_it() -> None:
    page = TABLE_HEADS.sub("", (ROOT / "docs/semantics.md").read_text())
    names = [name for name, _ in statements(page)]
    assert "" not in names, "each statement of docs/semantics.md begins with, or has, words in bold: its name"
    assert sorted(names) == sorted(set(names)), "no two statements of docs/semantics.md have one name"
    tests = dict(marked(ROOT / "tests"))
    untested = sorted(set(names) - tests.keys())
    assert not untested, f"mark a test of each with @pytest.mark.semantics(…), or write it: {untested}"
    unknown = {name: test for name, test in tests.items() if name not in names}
    assert not unknown, f"docs/semantics.md has no such statement: {unknown}"


def test_a_statement_is_read_with_its_name() -> None:
    page = "- A **wide\n  fan-out**: **that**.\n  More.\n- **`f(x)`.** So.\n| **a**: b | c |\n\nNone.\n* No name.\n"
    assert [name for name, _ in statements(page)] == ["wide fan-out", "f(x)", "a", ""]
