"""Where large payloads are kept apart, and whose they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.codecs import Encryption
from tenuto.core.events import ActivityCompleted
from tenuto.errors import PayloadSealedError, SettingsError, StoreUnavailableError
from tenuto.payload_store import ObjectStore, make_payload_store
from tenuto.payloads import decode, encode, is_sealed
from tenuto.sealing import Sealer, reference, references
from tenuto.shelf import Owner, Section, Shelf, owner_of

BIG = encode("x" * 1000)
NEVER_MADE = [
    "t/aQ/@/../0/x",
    "t/aQ/@/r/-1/x",
    "t/aQ/@/r/0/",
    "t/aQ/@/r/0/..",
    f"t/aQ/@/r/0/{'x' * 300}",
    f"t/{'aaaa' * 300}/@/r/0/x",
    "t//aQ/@/r/0/x",
    "t/a/Q/@/r/0/x",
    "t/aR/@/r/0/x",
]
"""Keys that look like some instance's, and that no section makes."""


async def test_a_store_that_refuses_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = ObjectStore(f"file://{tmp_path}")
    with pytest.raises(StoreUnavailableError, match="payload store failed"):
        await store.put({"file/x": b"1"})


@pytest.mark.parametrize("url", ["nothing", "ftp://x", ""])
def test_a_store_that_there_is_not_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="TENUTO_PAYLOAD_STORE"):
        make_payload_store(url)


def test_the_database_is_the_store_where_it_is_within_reach() -> None:
    made = ObjectStore("memory:///")
    assert make_payload_store("database", SimpleNamespace(payloads=made)) is made
    assert make_payload_store("database") is None, "a worker has none"
    with pytest.raises(SettingsError, match="cannot keep payloads"):
        make_payload_store("database", object())


@given(instance=st.text(min_size=1, max_size=256), generation=st.none() | st.integers(0, 10**6))
def test_a_key_tells_whose_it_is(instance: str, generation: int | None) -> None:
    """Whatever an instance is called: no other's prefix is a prefix of its keys."""
    shelf = Shelf(ObjectStore("memory:///"), threshold=1)
    section = shelf.section(instance, "r" * 32, generation)
    if section is None:
        assert len(instance.encode("utf-8", "surrogatepass")) > 400
        return
    key = section.add(b"")
    assert len(key) < 900
    assert all(0 < len(part) <= 255 for part in key.split("/"))
    assert key.isascii()
    assert owner_of(key) == Owner(instance=instance, run="r" * 32, generation=generation)
    assert not key.startswith(shelf.run_prefix(instance + "x", "r" * 32))
    assert not key.startswith(shelf.run_prefix(instance, "r" * 31))


@pytest.mark.parametrize(
    "key", ["", "a", "a/@/b", "t/a/@/r/x/y", "t/!/@/r/0/x", "t/a/@/r/0/x/@/y", *NEVER_MADE]
)
def test_a_key_of_others_is_nobodys(key: str) -> None:
    assert owner_of(key) is None


def test_what_is_large_is_left_to_the_section_once() -> None:
    section = Section("t/aQ/@/r/0/", 100)
    sealer = Sealer()
    event = ActivityCompleted(command=1, result=BIG)
    stored = sealer.seal(event, "i", section)
    assert sealer.seal_payload(BIG, "i", section) == stored.result, (
        "equal payloads of one turn are stored once"
    )
    assert list(section.objects.values()) == [bytes(BIG)]
    assert references(stored) == list(section.objects)
    assert sealer.open(stored, "i", section.objects) == event
    assert sealer.seal_payload(encode("small"), "i", section) == encode("small")
    assert reference(encode("small")) is None


def test_codecs_come_before_the_store() -> None:
    section = Section("t/aQ/@/r/0/", 100)
    sealer = Sealer([Encryption({"k": b"k" * 16})])
    stored = sealer.seal_payload(BIG, "i", section)
    (data,) = section.objects.values()
    assert b"xxx" not in data
    assert sealer.open_payload(stored, "i", section.objects) == BIG


def test_an_object_that_is_missing_or_of_another_instance_is_told() -> None:
    section = Section("t/aQ/@/r/0/", 100)
    stored = Sealer().seal_payload(BIG, "i", section)
    with pytest.raises(PayloadSealedError, match="not found: is TENUTO_PAYLOAD_STORE"):
        Sealer().open_payload(stored, "i")
    with pytest.raises(PayloadSealedError, match="not of that instance"):
        Sealer().open_payload(stored, "j", section.objects)
    forged = msgspec.Raw(b'{"$tenuto":1,"codecs":[],"key":"../secret"}')
    assert is_sealed(forged)
    with pytest.raises(PayloadSealedError, match="not of that instance"):
        Sealer().open_payload(forged, "i", {"../secret": b"1"})


async def test_without_a_store_nothing_is_stored_apart() -> None:
    shelf = Shelf()
    assert shelf.section("i", "r", 0) is None
    await shelf.put(None)
    assert await shelf.get("i", ["t/aQ/@/r/0/x"]) == {}
    assert decode(Sealer().seal_payload(BIG, "i", None)) == "x" * 1000


async def test_a_store_that_comes_back_is_asked_again() -> None:
    class Flaky:
        failures = 3

        async def get(self, wanted: list[str]) -> dict[str, bytes]:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError("away")
            return dict.fromkeys(wanted, b"1")

    shelf = Shelf(Flaky(), threshold=1)  # type: ignore[arg-type]  # all that is asked of it
    key = "tenuto/aQ/@/r/0/x"
    assert await shelf.get("i", [key]) == {key: b"1"}
    shelf.store.failures = 99  # type: ignore[union-attr]  # likewise
    with pytest.raises(StoreUnavailableError):
        await shelf.get("i", [key])


async def test_a_store_is_asked_for_an_instance_s_own_objects_only(tmp_path: Path) -> None:
    """It would fail for a key that is malformed, and would seem to be away."""
    store = ObjectStore(f"file://{tmp_path}")
    shelf = Shelf(store, threshold=1, namespace="t")
    mine, others = "t/aQ/@/r/0/x", "t/ag/@/r/0/x"
    await store.put({mine: b"1", others: b"2", "u/aQ/@/r/0/x": b"3"})
    wanted = [mine, others, "u/aQ/@/r/0/x", "", "a/../b", "x//y", *NEVER_MADE]
    assert await shelf.get("i", wanted) == {mine: b"1"}
