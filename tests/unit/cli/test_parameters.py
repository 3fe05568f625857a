"""Inputs and tags from the command line."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenuto.errors import UsageError
from tenuto_gateway.cli import parameters
from tenuto_gateway.cli.parameters import read_input, read_tags


@pytest.mark.parametrize(
    ("given", "value"),
    [(None, None), ("null", None), ("17", 17), ('"text"', "text"), ('{"a": [1.5]}', {"a": [1.5]})],
)
def test_json_is_read(given: str | None, value: object) -> None:
    assert read_input(given) == value


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"item": "lämp"}')
    assert read_input(f"@{tmp_path}/order.json") == {"item": "lämp"}


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(b"[1, 2]"))
    monkeypatch.setattr(parameters.sys, "stdin", stdin)
    assert read_input("-") == [1, 2]


@pytest.mark.parametrize("given", ["lamp", "{", "", "'a'", "1 2", "[" * 100_000])
def test_what_is_not_json_is_explained(given: str) -> None:
    with pytest.raises(UsageError, match=r"--input is not JSON: .*double quotes"):
        read_input(given)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"order\.json is not JSON"):
        read_input(f"@{path}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json cannot be read: No such file"):
        read_input(f"@{tmp_path}/nowhere.json")


def test_tags_are_read() -> None:
    assert read_tags(["team=blue", "note=a=b", "empty="]) == {"team": "blue", "note": "a=b", "empty": ""}


@pytest.mark.parametrize("tag", ["team", "=blue", ""])
def test_a_malformed_tag_is_named(tag: str) -> None:
    with pytest.raises(UsageError, match="not of the form name=value"):
        read_tags([tag])
