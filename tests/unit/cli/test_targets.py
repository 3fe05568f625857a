"""Loading apps from targets: what is found, and what is said when it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenuto.app import App
from tenuto.errors import TargetError
from tenuto_gateway.targets import load_target

ONE_APP = 'from tenuto.app import App\napp = App("shop")\n'
TWO_APPS = 'from tenuto.app import App\nshop = App("shop")\nbank = App("bank")\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


@pytest.mark.parametrize(
    "target", ["shop_a.py", "shop_a.py:app", "./shop_a.py", "shop_a:app", "shop_a", "holder.py:inner.app"]
)
def test_an_app_is_found(folder: Path, target: str) -> None:
    write(folder / "shop_a.py", ONE_APP)
    write(folder / "holder.py", "import shop_a\nclass inner:\n    app = shop_a.app\n")
    app = load_target(target)
    assert isinstance(app, App)
    assert app.name == "shop"


def test_a_file_finds_what_lies_beside_it(folder: Path) -> None:
    write(folder / "deep" / "prices_b.py", "NAME = 'from the neighbour'\n")
    write(
        folder / "deep" / "shop_b.py",
        "from tenuto.app import App\nimport prices_b\napp = App(prices_b.NAME)\n",
    )
    assert load_target("deep/shop_b.py").name == "from the neighbour"


def test_a_file_is_loaded_once(folder: Path) -> None:
    write(folder / "shop_c.py", ONE_APP)
    assert load_target("shop_c.py") is load_target("shop_c:app")


def test_a_module_of_a_package_is_found(folder: Path) -> None:
    write(folder / "package_d" / "__init__.py", "")
    write(folder / "package_d" / "shop.py", ONE_APP)
    assert load_target("package_d.shop:app").name == "shop"


def test_one_app_under_two_names_is_one_app(folder: Path) -> None:
    write(folder / "shop_e.py", ONE_APP + "application = app\n")
    assert load_target("shop_e.py").name == "shop"


def test_several_apps_are_named(folder: Path) -> None:
    write(folder / "shop_f.py", TWO_APPS)
    with pytest.raises(TargetError, match="bank, shop; name one after a colon"):
        load_target("shop_f.py")
    assert load_target("shop_f.py:bank").name == "bank"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "names nothing"),
        (":app", "names nothing"),
        ("missing.py", "there is no file"),
        ("folder/missing.py:app", "there is no file"),
        ("missing_module:app", "there is no module 'missing_module'"),
        ("missing_package.module:app", "there is no module 'missing_package'"),
        ("shop_g.py:application", "has no 'application'; the apps in 'shop_g' are: app"),
        ("shop_g.py:VALUE", "is a int, not a tenuto.App"),
        ("empty_g.py", "there is no app in 'empty_g'"),
    ],
)
def test_a_wrong_target_is_explained(folder: Path, target: str, words: str) -> None:
    write(folder / "shop_g.py", ONE_APP + "VALUE = 1\n")
    write(folder / "empty_g.py", "")
    with pytest.raises(TargetError, match=words):
        load_target(target)


@pytest.mark.parametrize("target", ["broken_h.py", "broken_h:app"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import shutil\n\nimport no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1\n\nx / 0\n", "ZeroDivisionError: division by zero"),
        ("# one\n# two\ndef f(:\n", "SyntaxError"),
        ("# one\n# two\nraise SystemExit('gone')\n", "SystemExit: gone"),
    ],
)
def test_a_module_that_fails_names_its_line(folder: Path, target: str, source: str, words: str) -> None:
    write(folder / "broken_h.py", source)
    with pytest.raises(TargetError) as caught:
        load_target(target)
    assert words in str(caught.value)
    assert f"{folder / 'broken_h.py'}, line 3" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert "broken_h" not in sys.modules


def test_the_users_line_is_named_rather_than_a_librarys(folder: Path) -> None:
    write(folder / "broken_i.py", "import json\n\njson.loads('nonsense')\n")
    with pytest.raises(TargetError, match=r"broken_i\.py, line 3\)"):
        load_target("broken_i.py")


def test_a_file_that_hides_another_module_is_refused(folder: Path) -> None:
    write(folder / "json.py", ONE_APP)
    with pytest.raises(TargetError, match="rename the file"):
        load_target("json.py")
