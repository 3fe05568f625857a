"""The types that users see: results of calls follow from the functions that are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_mypy_knows_the_types_of_calls_and_refuses_wrong_ones(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy comes with the `lint` group")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--warn-unused-ignores",
        "--cache-dir",
        str(tmp_path),
        "tests/typing/calls.py",
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
