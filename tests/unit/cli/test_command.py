"""What all commands share: options, settings, exit codes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tenuto.errors import NotFoundError, SettingsError, WorkflowFailedError
from tenuto.settings import OrchestratorSettings, Settings, WorkerSettings
from tenuto_gateway.cli.command import Shared, command


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Commands set up the process's log; put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def outcome(*arguments: str, of: object) -> tuple[int, str]:
    """Exit code and standard error of a command that returns or raises `of`."""

    def main(_shared: Shared) -> int | None:
        if isinstance(of, Exception):
            raise of
        assert of is None or isinstance(of, int)
        return of

    cli = typer.Typer(pretty_exceptions_enable=False)
    cli.command()(command(main))
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("of", "code", "words"),
    [
        (None, 0, ""),
        (130, 130, ""),
        (WorkflowFailedError("order-17 failed"), 1, "tenuto: order-17 failed\n"),
        (TimeoutError("not yet"), 1, "tenuto: not yet\n"),
        (NotFoundError("nobody\nhere"), 2, "tenuto: nobody here\n"),
        (SettingsError("wrong"), 2, "tenuto: wrong\n"),
    ],
)
def test_errors_become_exit_codes_and_one_line(of: object, code: int, words: str) -> None:
    assert outcome(of=of) == (code, words)


def test_debug_adds_the_traceback() -> None:
    code, words = outcome("--debug", of=SettingsError("wrong"))
    assert code == 2
    assert words.startswith("Traceback")
    assert words.endswith("tenuto: wrong\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        outcome(of=ZeroDivisionError("a bug"))


def test_settings_that_are_wrong_are_an_error_like_others() -> None:
    code, words = outcome("--namespace=Capitals", of=None)
    assert code == 2
    assert "TENUTO_NAMESPACE" in words


def test_a_command_gets_its_own_and_the_shared_options() -> None:
    seen: list[tuple[Shared, str, int]] = []

    async def main(shared: Shared, name: str, *, count: Annotated[int, typer.Option()] = 1) -> None:
        await asyncio.sleep(0)
        seen.append((shared, name, count))

    cli = typer.Typer()
    cli.command()(command(main))
    result = CliRunner().invoke(cli, ["--count=2", "x", "--database-url=sqlite+aiosqlite:///x.db", "--debug"])
    assert result.exit_code == 0, result.stderr
    assert seen == [(Shared(database_url="sqlite+aiosqlite:///x.db", debug=True), "x", 2)]


def test_options_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_NAMESPACE", "from-environment")
    monkeypatch.setenv("TENUTO_POOL", "readers")
    assert Shared().settings(Settings).namespace == "from-environment"
    assert Shared(namespace="given").settings(OrchestratorSettings).namespace == "given"
    assert Shared().settings(WorkerSettings, pool=None).pool == "readers"
    assert Shared().settings(WorkerSettings, pool="payments").pool == "payments"


def test_options_can_be_handed_to_a_child_process() -> None:
    assert Shared().arguments() == []
    shared = Shared(broker_url="amqp://host/", log_level="info", debug=True)
    assert shared.arguments() == ["--broker-url=amqp://host/", "--log-level=info", "--debug"]
