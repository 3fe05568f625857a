"""The documentation: its code runs, it builds strictly, and every page is in it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.acceptance.command_line import ROOT
from tests.support.docs_preludes import PRELUDES, Stage

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"\n\n {4,}[^\n]*")
LANGUAGES = {"python", "sh", "console", "json", "dockerfile"}
WITH_CODE = [page for page in PAGES if "```python" in page.read_text() and page.name != "tutorial.md"]
"""The tutorial's blocks are files: it is followed command by command in a test of its own."""


def blocks(page: Path) -> Iterator[CodeType]:
    text = page.read_text()
    for block in BLOCK.finditer(text):
        if block["info"].startswith("python"):
            code = "\n" * text.count("\n", 0, block.start("code")) + textwrap.dedent(block["code"])
            yield compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_all_code_is_fenced_and_says_its_language(page: Path) -> None:
    text = page.read_text()
    assert {block["info"].partition(" ")[0] for block in BLOCK.finditer(text)} <= LANGUAGES
    assert INDENTED.findall(BLOCK.sub("", text)) == []


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
async def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All blocks of a page in order, in one namespace; a test that a block defines runs after the block."""
    module = ModuleType(f"docs_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    prelude = PRELUDES.get(page.name, nullcontext)
    async with prelude(Stage(page=module, patch=monkeypatch, folder=tmp_path)):
        for code in blocks(page):
            before = set(vars(module))
            await finish(eval(code, module.__dict__))  # noqa: S307 - our own documentation
            for name in [name for name in vars(module) if name.startswith("test_") and name not in before]:
                await finish(vars(module)[name]())


async def finish(result: object) -> None:
    if inspect.isawaitable(result):
        await result


def test_every_prelude_has_its_page() -> None:
    assert set(PRELUDES) <= {page.name for page in WITH_CODE}


async def test_the_site_builds_strictly_and_has_every_page(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    configuration = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(
        configuration.replace("build/site", "site").replace("[shared]", f"[{ROOT / 'shared'}]")
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zensical", "build", "--strict"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    for page in DOCS.glob("*.md"):
        assert f": {page.name}\n" in configuration, f"{page.name} is not in the navigation of mkdocs.yml"
        assert (tmp_path / "site" / f"{page.stem}.html").is_file()
