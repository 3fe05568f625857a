"""The all-in-one server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto import App, WorkflowContext
from tenuto.errors import SettingsError, StoreError
from tenuto.settings import OrchestratorSettings
from tenuto_gateway.dev import DevServer

IN_MEMORY = "sqlite+aiosqlite:///:memory:"


@pytest.fixture
def app() -> App:
    app = App("greetings")

    @app.activity(pool="greeters")
    async def greet(name: str) -> str:
        return f"Hello {name}"

    @app.workflow
    async def hello(ctx: WorkflowContext, name: str) -> str:
        return await ctx.call_activity(greet, name)

    assert hello is not None
    return app


async def test_it_runs_workflows(app: App) -> None:
    server = DevServer(app, OrchestratorSettings(database_url=IN_MEMORY, partitions=2))
    await server.start()
    async with server.client() as client:
        handle = await client.start("hello", "Ada")
        assert await handle.result(timeout=30) == "Hello Ada"
    await server.stop()
    await server.stop()
    await server.wait()


def test_it_serves_every_pool_of_the_app(app: App) -> None:
    assert DevServer(app, OrchestratorSettings(database_url=IN_MEMORY)).pools == ("greeters",)


async def test_a_pool_that_only_a_call_names_gets_a_worker(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.workflow
    async def elsewhere(ctx: WorkflowContext, name: str) -> str:
        return await ctx.call_activity("greet", name, type=str, pool="special")

    server = DevServer(app, OrchestratorSettings(database_url=IN_MEMORY, partitions=2))
    await server.start()
    try:
        async with server.client() as client:
            for name in ("Ada", "Bob"):
                handle = await client.start(elsewhere, name)
                assert await handle.result(timeout=30) == f"Hello {name}"
    finally:
        await server.stop()
    assert caplog.text.count("starting a worker for it") == 1, "it is worth one word"
    await server.wait()


def test_it_checks_replays_unless_told_otherwise(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DevServer(app, OrchestratorSettings(database_url=IN_MEMORY)).settings.replay_check == "always"
    never = OrchestratorSettings(database_url=IN_MEMORY, replay_check="never")
    assert DevServer(app, never).settings.replay_check == "never"
    monkeypatch.setenv("TENUTO_REPLAY_CHECK", "never")
    assert DevServer(app, OrchestratorSettings(database_url=IN_MEMORY)).settings.replay_check == "never"


@pytest.mark.parametrize(
    ("database_url", "broker_url"), [("oracle://host/db", "memory://"), (IN_MEMORY, "kafka://host")]
)
def test_a_wrong_url_is_refused_at_once(app: App, database_url: str, broker_url: str) -> None:
    with pytest.raises(SettingsError):
        DevServer(app, OrchestratorSettings(database_url=database_url, broker_url=broker_url))


async def test_a_start_that_fails_leaves_nothing_behind(app: App, tmp_path: Path) -> None:
    (tmp_path / "tenuto.db").write_bytes(b"this is no database" * 100)
    server = DevServer(app, OrchestratorSettings(database_url=f"sqlite+aiosqlite:///{tmp_path}/tenuto.db"))
    with pytest.raises(StoreError):
        await server.start()
    await server.stop()
