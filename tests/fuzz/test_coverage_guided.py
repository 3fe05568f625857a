"""A short run of the coverage-guided fuzzer, where it is installed. For a long one: `python -m tests.fuzz.coverage_guided`."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5


def test_no_history_breaks_replay_or_doctor(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(
            "needs atheris, which has no wheel for this platform (pip install atheris builds it, with clang)"
        )
    path = os.pathsep.join(
        [*(str(ROOT / name) for name in ("shared", "orchestrator", "worker", "gateway")), str(ROOT)]
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.coverage_guided", str(SECONDS)],
        cwd=tmp_path,  # what it finds, it writes where it runs
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None
    assert int(runs[1]) > 100
