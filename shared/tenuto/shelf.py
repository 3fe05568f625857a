"""Storing large payloads apart: what a process needs besides a `Sealer` and a `PayloadStore`.

What is larger than the threshold, after the codecs had it, goes to the store, and its envelope has the key in place of
the data:

    {"$tenuto":1,"codecs":["aes-gcm"],"key":"tenuto/b3JkZXItMTc/@/<run>/0/<id>"}

**Ownership.** An object belongs to one run of one instance: to its start (`start`), or to one of its generations. Only
that run's history, row and tasks refer to it. What goes from one instance to another, or comes from a client, goes by
value (in a letter), and is stored apart by the instance that receives it. So whoever deletes a run or a generation
deletes its objects by their prefix, and cannot take anything from anybody.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tenuto.errors import StoreUnavailableError
from tenuto.payload_store import PayloadStore

__all__ = ["Owner", "Section", "Shelf", "owner_of", "place_prefix"]

START = "start"
_LONGEST_PLACE = 600
"""Characters of a key that an instance's id may take; object stores take keys of about a thousand bytes."""
_PART = 200
"""Characters between two slashes; file systems take about 255."""
_ATTEMPTS = 5
_TAIL = re.compile(r"([\w-]{1,64})/(start|[0-9]{1,18})/[\w-]{1,64}", re.ASCII)
"""The end of a key: run, scope, id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose an object is, by its key."""

    instance: str
    run: str
    generation: int | None
    """None: it belongs to the run's start, hence to the instance's row."""


@dataclass(slots=True)
class Section:
    """The objects of one generation that are about to be stored."""

    prefix: str
    threshold: int
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
    objects: dict[str, bytes] = field(default_factory=dict)
    known: dict[bytes, msgspec.Raw] = field(default_factory=dict)
    """Envelopes of what is stored already, by the plain payload."""

    def add(self, data: bytes) -> str:
        """The key under which the data will be."""
        key = self.prefix + self.new_id()
        self.objects[key] = data
        return key


class Shelf:
    """One process's way to the payload store. Without a store nothing is stored apart, and what is cannot be read."""

    def __init__(
        self,
        store: PayloadStore | None = None,
        *,
        threshold: int = 0,
        namespace: str = "tenuto",
        for_workers: bool = True,
    ) -> None:
        """`for_workers`: they can reach the store; otherwise what they need goes in their messages, by value."""
        self.store = store
        self.threshold = threshold
        self.namespace = namespace
        self.for_workers = for_workers

    def section(self, instance: str, run: str, generation: int | None) -> Section | None:
        """Where payloads of a generation, or (None) of the start, are put; None: nowhere, they stay where they are."""
        if self.store is None or len(_encoded(instance)) > _LONGEST_PLACE:
            return None
        return Section(self.prefix(instance, run, generation), self.threshold)

    def prefix(self, instance: str, run: str, generation: int | None) -> str:
        scope = START if generation is None else str(generation)
        return f"{self.run_prefix(instance, run)}{scope}/"

    def run_prefix(self, instance: str, run: str) -> str:
        return f"{place_prefix(self.namespace, instance)}{run}/"

    async def put(self, *sections: Section | None) -> None:
        """Store what the sections have collected. Raises `StoreUnavailableError`, after some attempts."""
        objects = {key: data for each in sections if each is not None for key, data in each.objects.items()}
        if objects and self.store is not None:
            async for attempt in _insisting():
                with attempt:
                    await self.store.put(objects)

    async def get(self, instance: str, keys: Iterable[str]) -> Mapping[str, bytes]:
        """The objects of these keys that there are and that are the instance's; the store is not asked for others:
        what it says to a key that nobody could have made is no sign that it is away.

        Raises:
            StoreUnavailableError: it is away, after some attempts.
        """
        wanted = [key for key in dict.fromkeys(keys) if self._is_of(instance, key)]
        if not wanted or self.store is None:
            return {}
        async for attempt in _insisting():
            with attempt:
                return await self.store.get(wanted)
        raise AssertionError("the last attempt raises")

    def _is_of(self, instance: str, key: str) -> bool:
        owner = owner_of(key)
        return owner is not None and key.startswith(place_prefix(self.namespace, instance))


def _insisting() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailableError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        reraise=True,
    )


def place_prefix(namespace: str, instance: str) -> str:
    """What the keys of an instance's objects begin with."""
    text = _encoded(instance)
    parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    return "/".join((namespace, *parts, "@", ""))


def owner_of(key: str) -> Owner | None:
    """Whose an object is; None: the key is none of ours."""
    try:
        head, tail = key.split("/@/")
        namespace, *parts = head.split("/")
        text = "".join(parts)
        instance = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        return None
    found = _TAIL.fullmatch(tail)
    if found is None or len(text) > _LONGEST_PLACE or f"{head}/@/" != place_prefix(namespace, instance):
        return None
    run, scope = found.groups()
    return Owner(instance=instance, run=run, generation=None if scope == START else int(scope))


def _encoded(instance: str) -> str:
    return base64.urlsafe_b64encode(instance.encode(errors="surrogatepass")).decode().rstrip("=")
