"""The alerts: they ring when they should and only then, and somebody who is woken finds what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ALERTS = ROOT / "k8s/alerts"
RUNBOOKS = ROOT / "docs/runbooks.md"
FILES = sorted(file for file in ALERTS.glob("*.yaml") if not file.stem.endswith("_test"))


def alerts(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alerts_ring_when_they_should_and_only_then(file: Path, promtool: str) -> None:
    for command in (["check", "rules", file.name], ["test", "rules", f"{file.stem}_test.yaml"]):
        done = subprocess.run([promtool, *command], cwd=ALERTS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_alert_is_heard_to_ring_and_to_be_silent(file: Path) -> None:
    proved: dict[str, set[bool]] = {}
    for test in yaml.safe_load((ALERTS / f"{file.stem}_test.yaml").read_text())["tests"]:
        for expected in test["alert_rule_test"]:
            proved.setdefault(expected["alertname"], set()).add(bool(expected["exp_alerts"]))
    assert proved == {rule["alert"]: {False, True} for rule in alerts(file)}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    rules = [rule for file in FILES for rule in alerts(file)]
    sections = re.findall(r"^## (Tenuto\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_every_runbook_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over() -> None:
    _, *sections = re.split(r"^## ", RUNBOOKS.read_text(), flags=re.MULTILINE)
    for section in sections:
        words = re.findall(r"\*\*(Means|Look|Do|Over)\*\*", section)
        assert words == ["Means", "Look", "Do", "Over"], section.splitlines()[0]
