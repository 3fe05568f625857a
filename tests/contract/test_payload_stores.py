"""Every payload store keeps one contract: a directory, memory, and the table of either database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tenuto.payload_store import PayloadStore, make_payload_store
from tenuto.store import make_store


@pytest.fixture(params=["file", "memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PayloadStore]:
    urls = {"file": f"file://{tmp_path}/new/folder", "memory": "memory:///"}
    if request.param in urls:
        made = make_payload_store(urls[request.param])
        assert made is not None
        yield made
        return
    sqlite = f"sqlite+aiosqlite:///{tmp_path / 'tenuto.db'}"
    database = make_store(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    await database.upgrade()
    await database.open()
    made = make_payload_store("database", database)
    assert made is not None
    yield made
    await database.close()


async def keys(store: PayloadStore, prefix: str) -> list[str]:
    return sorted([key async for key, _ in store.keys(prefix)])


async def test_it_keeps_gets_lists_and_deletes(store: PayloadStore) -> None:
    assert isinstance(store, PayloadStore)
    await store.put({"t/a/@/r1/0/x": b"1", "t/a/@/r1/0/y": b"", "t/a/@/r1/1/x": b"3", "t/a/@/r10/0/x": b"4"})
    assert await store.get(["t/a/@/r1/0/x", "t/a/@/r1/0/y", "t/nothing"]) == {
        "t/a/@/r1/0/x": b"1",
        "t/a/@/r1/0/y": b"",
    }
    assert await store.get([]) == {}
    assert await keys(store, "t/a/@/r1/") == ["t/a/@/r1/0/x", "t/a/@/r1/0/y", "t/a/@/r1/1/x"]
    await store.delete("t/a/@/r1/0/")
    await store.delete("t/a/@/r1/0/")
    assert await keys(store, "t/") == ["t/a/@/r1/1/x", "t/a/@/r10/0/x"]
    await store.delete("t/a/@/r1/")
    assert await keys(store, "t/") == ["t/a/@/r10/0/x"], "a prefix ends between two parts"


async def test_what_is_put_again_is_there_once(store: PayloadStore) -> None:
    """Whoever does not know whether it was stored repeats it."""
    for _ in range(2):
        await store.put({"t/a/@/r/0/x": bytes(range(256))})
    assert await store.get(["t/a/@/r/0/x"]) == {"t/a/@/r/0/x": bytes(range(256))}


async def test_it_tells_since_when_an_object_is_there(store: PayloadStore) -> None:
    await store.put({"t/a/@/r/0/x": b"1"})
    [(_, since)] = [entry async for entry in store.keys("t/")]
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=5)


async def test_many_objects_go_page_by_page(store: PayloadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenuto.store.payloads._PAGE", 3)
    monkeypatch.setattr("tenuto.store.payloads._BYTES_AT_ONCE", 10)
    monkeypatch.setattr("tenuto.payload_store._PAGE", 3)
    objects = {f"t/a/@/r/{number}/x": b"four" for number in range(9)}
    await store.put(objects | {"u/a/@/r/0/x": b"other"})
    assert await store.get([*objects]) == objects
    assert await keys(store, "t/") == sorted(objects)
    await store.delete("t/")
    assert await keys(store, "t/") == []
    assert await keys(store, "u/") == ["u/a/@/r/0/x"]
