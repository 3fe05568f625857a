"""`tenuto run`, as far as it can be told without a process."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenuto import App, WorkflowContext, payloads
from tenuto.core.status import Status
from tenuto.errors import OutcomeError, PayloadError, UsageError, WorkflowFailedError
from tenuto.settings import OrchestratorSettings
from tenuto_gateway.cli import running
from tenuto_gateway.dev import DevServer


def repairable(*, fixed: bool) -> App:
    app = App("repairable")

    @app.activity
    async def one() -> int:
        return 1

    @app.workflow
    async def wobbles(ctx: WorkflowContext) -> int:
        number = await ctx.call_activity(one)
        if not fixed:
            await asyncio.sleep(0)
        return number + 6

    assert wobbles is not None
    return app


async def run(app: App, folder: Path, **settings: float) -> Status:
    place = OrchestratorSettings(database_url=f"sqlite+aiosqlite:///{folder}/t.db", partitions=1, **settings)
    server = DevServer(app, place)
    try:
        record = await running._drive(server, "wobbles", None, "X")
        return record.status
    finally:
        await server.stop()


async def test_a_stalled_instance_goes_on_with_repaired_code(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="bare `yield`"):
        await run(repairable(fixed=False), tmp_path)
    assert await run(repairable(fixed=True), tmp_path, stall_grace=60) is Status.COMPLETED


async def test_a_stalled_instance_that_is_not_repaired_is_told_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(OutcomeError, match="bare `yield`"):
            await run(repairable(fixed=False), tmp_path, stall_grace=0.5)


def confidential(*, fixed: bool) -> App:
    app = App("confidential")

    @app.workflow
    async def wobbles(_: WorkflowContext, text: str) -> str:
        if not fixed:
            await asyncio.sleep(0)
        if not text:
            raise ValueError("card 4711")
        return text + text

    assert wobbles is not None
    return app


async def test_what_is_sealed_or_stored_apart_is_told_in_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Input, steps, result and failure are read with the codecs and from the payload store of the settings."""
    monkeypatch.setenv("TENUTO_PAYLOAD_CODEC", "aes-gcm")
    monkeypatch.setenv("TENUTO_PAYLOAD_KEYS", f"k1:{base64.b64encode(b'k' * 32).decode()}")
    monkeypatch.setenv("TENUTO_PAYLOAD_STORE", f"file://{tmp_path}/payloads")
    monkeypatch.setenv("TENUTO_PAYLOAD_THRESHOLD", "1000")

    async def given(text: str, name: str, *, fixed: bool) -> str:
        place = OrchestratorSettings(database_url=f"sqlite+aiosqlite:///{tmp_path}/t.db", partitions=1)
        server = DevServer(confidential(fixed=fixed), place)
        try:
            return running._result(await running._drive(server, "wobbles", payloads.encode(text), name))
        finally:
            await server.stop()

    assert await given("4711", "small", fixed=True) == '"47114711"'
    assert '"47114711"' in capsys.readouterr().err
    with pytest.raises(WorkflowFailedError, match="card 4711"):
        await given("", "fails", fixed=True)
    large = "large" * 1000
    with pytest.raises(OutcomeError, match="is stalled"):
        await given(large, "large", fixed=False)
    assert await given(large, "large", fixed=True) == f'"{large}{large}"'


@dataclass
class Fussy:
    number: int

    def __post_init__(self) -> None:
        raise KeyError("no such number")


async def test_an_input_that_its_type_refuses_is_a_misuse() -> None:
    app = App("fussy")

    @app.workflow
    async def given(ctx: WorkflowContext, value: Fussy) -> None: ...

    with pytest.raises(PayloadError, match="KeyError: 'no such number'"):
        running._fitting(app, "given", payloads.encode({"number": 1}))
    assert issubclass(PayloadError, UsageError), "which the command tells in one line, with exit code 2"
