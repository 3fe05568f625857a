"""`tenuto workflow terminate` and its kin, against an engine whose owner does what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tenuto.client import Client, InstanceFilter
from tenuto.core.letters import Rerun
from tenuto.core.status import Status
from tenuto.errors import UsageError
from tenuto.settings import ClientSettings
from tenuto_gateway.cli import managing
from tenuto_gateway.cli.command import Shared
from tests.unit.client.engine import OFTEN, Engine, engine


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Engine]:
    settings = ClientSettings(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'cli.db'}", broker_url="memory://", poll_interval=OFTEN
    )
    async with engine(settings) as made:
        make: Callable[..., Client] = lambda *_: made.client(poll=OFTEN)  # noqa: E731 - shortest
        monkeypatch.setattr(managing, "Client", make)
        yield made


async def start(running: Engine, *names: str) -> None:
    async with running.client() as client:
        for name in names:
            await client.start("w", {"n": name}, instance_id=name, tags={"first": name[0]})


async def statuses(running: Engine) -> dict[str, Status]:
    async with running.client() as client:
        return {found.instance_id: found.status async for found in client.list(InstanceFilter())}


async def test_verbs_take_ids(running: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    await start(running, "a1", "a2", "b1")
    shared = Shared()
    assert await managing._suspend(shared, ["a1", "a2"], reason="lunch") == 0
    assert await managing._resume(shared, ["a2"]) == 0
    assert await managing._terminate(shared, ["b1", "b1", "nobody"], yes=True) == 1
    assert await managing._purge(shared, ["a1", "b1"], yes=True) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "a1: suspended",
        "a2: suspended",
        "a2: resumed",
        "b1: terminated",
        "b1: had ended already",
        "b1: purged (1)",
    ]
    assert "no instance 'nobody'" in said.err
    assert "'a1' is SUSPENDED" in said.err
    assert await statuses(running) == {"a1": Status.SUSPENDED, "a2": Status.RUNNING}


async def test_a_filter_asks_first(
    running: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(running, "a1", "a2", "b1")
    shared = Shared()
    with pytest.raises(UsageError, match="terminate: 2 instances fit the filter; add --yes"):
        await managing._terminate(shared, tag=["first=a"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _question: False)
    assert await managing._terminate(shared, tag=["first=a"]) == 1
    assert set((await statuses(running)).values()) == {Status.RUNNING}
    assert await managing._terminate(shared, tag=["first=a"], yes=True) == 0
    assert "terminate: 2 of 2 instances" in capsys.readouterr().out
    assert await managing._purge(shared, everything=True, yes=True) == 0
    assert await statuses(running) == {"b1": Status.RUNNING}


async def test_what_cannot_be_undone_asks_first(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(running, "a1", "a2")
    shared = Shared()
    with pytest.raises(UsageError, match="purge: 2 instances; add --yes"):
        await managing._purge(shared, ["a1", "a2"])
    with pytest.raises(UsageError, match="purge: a1; add --yes"):
        await managing._purge(shared, ["a1"], force=True)
    with pytest.raises(UsageError, match="terminate: 2 instances; add --yes"):
        await managing._terminate(shared, ["a1", "a2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _question: False)
    assert await managing._purge(shared, ["a1"], force=True) == 1
    assert set(await statuses(running)) == {"a1", "a2"}
    assert await managing._terminate(shared, ["a1"]) == 0
    assert await managing._purge(shared, ["a1"]) == 0
    assert await managing._purge(shared, ["a2"], force=True, yes=True) == 0
    assert await statuses(running) == {}


async def test_an_empty_prefix_is_no_filter(running: Engine) -> None:
    await start(running, "a1")
    with pytest.raises(UsageError, match="--id-prefix is empty"):
        await managing._purge(Shared(), id_prefix="", force=True, yes=True)
    assert set(await statuses(running)) == {"a1"}


async def test_an_id_is_told_as_it_is(running: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert await managing._resume(Shared(), ["a[/b]:smile:"]) == 1
    assert "'a[/b]:smile:'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{}, {"ids": ["a"], "workflow": "w"}, {"ids": ["a"], "everything": True}])
async def test_ids_or_a_filter_but_not_both(running: Engine, given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="by their ids, or by a filter"):
        await managing._suspend(Shared(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "told"), [(None, None), ("[1]", b"[1]"), ("null", b"null")])
async def test_rerun_gives_the_new_id(
    running: Engine, capsys: pytest.CaptureFixture[str], given: str | None, told: bytes | None
) -> None:
    await start(running, "a1")
    await managing._rerun(Shared(), "a1", event_id=3, new_id="again", value=given)
    assert capsys.readouterr().out == "again\n"
    (letter,) = [each for each in running.owner.letters if isinstance(each, Rerun)]
    assert (letter.source, letter.command) == ("a1", 3)
    assert (None if letter.input is None else bytes(letter.input)) == told


async def test_restart_gives_the_new_id(running: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    await start(running, "a1")
    await managing._restart(Shared(), "a1", new_id="again")
    assert capsys.readouterr().out == "again\n"
    async with running.client() as client:
        status = await client.get("again").status()
    assert (status.workflow, status.input, status.tags) == ("w", {"n": "a1"}, {"first": "a"})


async def test_only_those_that_a_verb_applies_to_are_counted(running: Engine) -> None:
    await start(running, "a1", "a2", "a3")
    await running.owner.end("a1")
    shared = Shared()
    for verb, count in ((managing._terminate, 2), (managing._purge, 1), (managing._resume, 0)):
        with pytest.raises(UsageError, match=f": {count} instances fit the filter; add --yes"):
            await verb(shared, tag=["first=a"])
