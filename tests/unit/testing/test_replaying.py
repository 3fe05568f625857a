"""Histories that were written down, replayed against today's code: `assert_replays` and `tenuto replay`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tenuto import App, WorkflowContext
from tenuto.core.histories import HistoryDocument, decode_document, encode_document
from tenuto.testing import WorkflowEnvironment, assert_replays
from tenuto_gateway.cli.entry import build

OLD = """
from tenuto import App, WorkflowContext

app = App("old")

@app.activity
async def step(number: int) -> int:
    return number + 1

@app.workflow
async def two_steps(ctx: WorkflowContext, number: int) -> int:
    number = await ctx.call_activity(step, number)
    return await ctx.call_activity(step, number)
"""
NEW = OLD.replace("    number = await", "    await ctx.create_timer(1)\n    number = await")

app = App("here")


@app.activity
async def step(number: int) -> int:
    return number + 1


@app.workflow
async def two_steps(ctx: WorkflowContext, number: int) -> int:
    number = await ctx.call_activity(step, number)
    return await ctx.call_activity(step, number)


@pytest.fixture
async def document() -> HistoryDocument:
    run = WorkflowEnvironment(app).start(two_steps, 1)
    assert await run.result() == 3
    return run.export()


def changed() -> App:
    changed = App("changed")

    @changed.workflow(name="two_steps")
    async def two_steps(ctx: WorkflowContext, number: int) -> int:
        await ctx.create_timer(1)
        return number

    return changed


def test_a_document_survives_being_written(document: HistoryDocument) -> None:
    assert decode_document(encode_document(document)) == document
    with pytest.raises(msgspec.DecodeError, match="begin"):
        decode_document(encode_document(msgspec.structs.replace(document, events=document.events[1:])))
    with pytest.raises(msgspec.DecodeError):
        decode_document(b"[" * 100_000)


def test_code_that_fits_replays_and_code_that_does_not_fails(
    document: HistoryDocument, tmp_path: Path
) -> None:
    file = tmp_path / "one.json"
    file.write_bytes(encode_document(document))
    assert_replays(app, document, file, str(tmp_path))
    with pytest.raises(AssertionError, match="ActivityScheduled"):
        assert_replays(changed(), tmp_path)
    with pytest.raises(AssertionError, match="no workflow"):
        assert_replays(App("empty"), document)
    with pytest.raises(AssertionError, match="no histories"):
        assert_replays(app)


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_shows_each_misfit_with_code_and_history_side_by_side(
    document: HistoryDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replayed_old.py").write_text(OLD)
    (tmp_path / "replayed_new.py").write_text(NEW)
    histories = tmp_path / "histories"
    histories.mkdir()
    (histories / "a.json").write_bytes(encode_document(document))
    (histories / "b.json").write_bytes(b"{}")
    assert invoke("replay", "replayed_old.py", histories / "a.json")[:2] == (0, "1 of 1 histories fit\n")
    code, told, _ = invoke("replay", "replayed_new.py", histories)
    assert code == 1
    assert "0 of 2 histories fit" in told
    assert "TimerCreated" in told
    assert "ActivityScheduled" in told
    assert "b.json" in told
    code, told, _ = invoke("replay", "replayed_new.py", histories, "-o", "json")
    assert code == 1
    assert [verdict["fits"] for verdict in json.loads(told)] == [False, False]
    code, _, told = invoke("replay", "replayed_old.py", tmp_path / "nothing")
    assert code == 2
    assert "There is no file" in told
