"""Histories of every release, replayed for ever: whatever was once written can be gone on from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tenuto.core.events import decode_events, encode_events
from tenuto.core.execution import Execution, replay
from tenuto.core.histories import read_history
from tenuto.core.status import LIVE, Status
from tests.histories.record import FOLDER, record
from tests.support.sample_app import app

RECORDED = sorted(FOLDER.glob("*/*.json"))
KINDS = {
    *("chain", "fan_out", "naps", "family", "generations", "stubborn", "gather", "relay"),
    *("gather_waiting", "gather_suspended", "gather_terminated", "naps_sleeping"),
}


def test_there_are_histories_of_every_kind_in_every_release() -> None:
    releases = {path.parent.name for path in RECORDED}
    assert "0.1.0" in releases
    for release in releases:
        assert {path.stem for path in RECORDED if path.parent.name == release} >= KINDS


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_history_replays_from_every_point(path: Path) -> None:
    document: dict[str, Any] = json.loads(path.read_text())
    rows = [row.encode() for row in document["rows"]]
    assert rows
    for turns in range(1, len(rows)):
        execution = replayed(document, rows[:turns])
        assert execution.state.status in LIVE
        execution.abandon()
    execution = replayed(document, rows)
    assert execution.state.status is Status(document["status"])
    output = execution.state.output
    assert (None if output is None else bytes(output).decode()) == document["output"]
    execution.abandon()


def replayed(document: dict[str, Any], rows: list[bytes]) -> Execution:
    execution = replay(app.resolve, document["instance"], document["run"], read_history(rows))
    assert execution.stalled is None, f"after turn {len(rows)}: {execution.stalled}"
    return execution


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_event_survives_being_written_again(path: Path) -> None:
    for row in json.loads(path.read_text())["rows"]:
        events = decode_events(row.encode())
        assert decode_events(encode_events(events)) == events


async def test_a_history_can_be_recorded_now(tmp_path: Path) -> None:
    await record(tmp_path)
    written = await asyncio.to_thread(lambda: {path.stem for path in tmp_path.glob("*.json")})
    assert written == KINDS
