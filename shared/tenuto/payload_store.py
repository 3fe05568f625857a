"""Where large payloads are kept apart from histories and messages: a directory, an object store, or the database.

A directory or an object store must be within reach of every process that handles payloads: orchestrators, clients,
workers. The database is not within reach of workers, so what they need is in their messages all the same. Each object
belongs to one run of one instance, which its key tells, and nothing else ever refers to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from tenuto.errors import SettingsError, StoreUnavailableError

__all__ = ["DATABASE", "KeepsPayloads", "ObjectStore", "PayloadStore", "make_payload_store"]

DATABASE = "database"
"""In place of a URL: the engine's own database."""

_PAGE = 1000


@runtime_checkable
class PayloadStore(Protocol):
    """Keeps objects by key. Keys are ASCII, at most 900 characters, with `/` between their parts.

    Every verb raises `StoreUnavailableError` where the store cannot be reached or refuses.
    """

    async def put(self, objects: Mapping[str, bytes]) -> None:
        """Keep them; durable when it returns. No key is ever put twice with other bytes."""

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those of them that there are."""
        ...

    async def delete(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`, which ends with `/`. None there is no error."""

    def keys(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        """Every key that begins with `prefix`, which ends with `/`, and since when the object is there."""
        ...


@runtime_checkable
class KeepsPayloads(Protocol):
    """A store of the engine's (`tenuto.store.Store`) that can keep payloads too."""

    @property
    def payloads(self) -> PayloadStore: ...


class ObjectStore:
    """A directory (`file:///…`), S3 (`s3://…`), Google Cloud Storage (`gs://…`), Azure (`az://…`): what obstore takes,
    with credentials from where each of them looks for them. Needs `tenuto[objects]`."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Raises:
            SettingsError: the URL is none that obstore takes, or obstore is not installed.
        """
        try:
            import obstore  # noqa: PLC0415 - an extra
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError:
            raise SettingsError(
                "TENUTO_PAYLOAD_STORE needs the library obstore: install tenuto[objects]."
            ) from None
        local: Any = {"mkdir": True} if url.startswith("file:") else {}
        try:
            self._store: Any = from_url(url, **local)
        except Exception as error:
            raise SettingsError(f"TENUTO_PAYLOAD_STORE names a store that cannot be used: {error}") from error
        # Its synchronous calls in threads: its asynchronous ones can abort a process that ends.
        self._library: Any = obstore

    async def put(self, objects: Mapping[str, bytes]) -> None:
        await self._call(self._put, objects)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        found: Mapping[str, bytes] = await self._call(self._get, keys)
        return found

    async def delete(self, prefix: str) -> None:
        await self._call(self._delete, prefix)

    async def keys(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        for key, since in await self._call(self._list, prefix):
            yield key, since

    def _put(self, objects: Mapping[str, bytes]) -> None:
        for key, data in objects.items():
            self._library.put(self._store, key, data)

    def _get(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for key in keys:
            try:
                found[key] = bytes(self._library.get(self._store, key).bytes())
            except FileNotFoundError:
                continue
        return found

    def _list(self, prefix: str) -> list[tuple[str, datetime]]:
        pages = self._library.list(self._store, prefix=prefix, chunk_size=_PAGE)
        return [(entry["path"], entry["last_modified"]) for page in pages for entry in page]

    def _delete(self, prefix: str) -> None:
        keys = [key for key, _ in self._list(prefix)]
        for start in range(0, len(keys), _PAGE):
            try:
                self._library.delete(self._store, keys[start : start + _PAGE])
            except FileNotFoundError:  # somebody else deletes them too
                continue

    async def _call(self, work: Any, *args: Any) -> Any:
        try:
            return await asyncio.to_thread(work, *args)
        except Exception as error:
            raise StoreUnavailableError(
                f"the payload store failed: {type(error).__name__}: {error}"
            ) from error


def make_payload_store(url: str | None, database: object | None = None) -> PayloadStore | None:
    """The store of `TENUTO_PAYLOAD_STORE`; None: there is none, or none within reach of a process without `database`.

    Raises:
        SettingsError: it cannot be used, or the database is no `KeepsPayloads`.
    """
    if url != DATABASE:
        return None if url is None else ObjectStore(url)
    match database:
        case None:
            return None
        case KeepsPayloads(payloads=payloads):
            return payloads
        case _:
            raise SettingsError(
                f"TENUTO_PAYLOAD_STORE is {DATABASE}, but {database!r} cannot keep payloads; name a directory or an "
                "object store."
            )
