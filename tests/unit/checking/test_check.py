"""`tenuto check`: every violation of the corpus is found, and nothing in code that is right."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tenuto import App
from tenuto_gateway.checking import Finding, Kind, check
from tenuto_gateway.cli.entry import build

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.py"))
VIOLATIONS = sorted((CORPUS / "violations").glob("*.py"))
EXPECTED = re.compile(r"# expect(?P<below>-below)? (?P<code>T\d+)")


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """What is imported in a test is forgotten after it."""
    modules, path = set(sys.modules), sys.path[:]
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and "corpus" in str(sys.modules[name].__file__):
            del sys.modules[name]


def apps(file: Path) -> list[App]:
    name = f"corpus_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return list({id(value): value for value in vars(module).values() if isinstance(value, App)}.values())


def findings(file: Path) -> list[Finding]:
    return [finding for app in apps(file) for finding in check(app)]


def test_the_corpus_is_large_and_has_every_kind() -> None:
    assert len(VIOLATIONS) >= 60
    codes = {EXPECTED.search(file.read_text())["code"] for file in VIOLATIONS}  # type: ignore[index]
    assert codes == {kind.code for kind in Kind}
    assert len({kind.code for kind in Kind}) == len(Kind)


@pytest.mark.parametrize("file", VIOLATIONS, ids=lambda file: file.stem)
def test_a_violation_is_found_on_its_line_and_nothing_else(file: Path) -> None:
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if (match := EXPECTED.search(line)) is not None:
            expected = (number + (1 if match["below"] else 0), match["code"])
    found = findings(file)
    assert [(finding.line, finding.code) for finding in found] == [expected], found
    assert found[0].why
    assert found[0].remedy


@pytest.mark.parametrize("file", sorted((CORPUS / "correct").glob("*.py")), ids=lambda file: file.stem)
def test_nothing_is_found_in_code_that_is_right(file: Path) -> None:
    assert findings(file) == []


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_nothing_is_found_in_the_examples(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    assert findings(file) == []


def test_the_documentation_lists_every_kind() -> None:
    page = (CORPUS.parents[3] / "docs" / "determinism.md").read_text()
    assert re.findall(r"^\| (T\d+) \|", page, flags=re.MULTILINE) == [kind.code for kind in Kind]


def test_a_finding_in_a_helper_says_who_calls_it() -> None:
    (found,) = findings(CORPUS / "violations" / "t101_in_helper_of_helper.py")
    assert (found.workflow, found.via) == ("wf", "inner")


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout + result.stderr


def test_the_command_tells_where_what_why_and_what_to_do_instead() -> None:
    code, told = invoke("check", CORPUS / "violations" / "t109_gather.py")
    assert code == 1
    assert re.search(r"t109_gather\.py:\d+:\d+: T109 uses asyncio\.gather: .*; await when_all", told)
    code, told = invoke("check", CORPUS / "violations" / "t109_gather.py", "-o", "json")
    assert code == 1
    assert json.loads(told)[0]["code"] == "T109"
    code, told = invoke("check", CORPUS / "correct" / "fan_out.py")
    assert code == 0
    assert "nothing" in told
