"""The synchronous client, for Django, Flask and scripts: the one implementation, run on a background thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, Unpack, overload

import msgspec

from tenuto.app import App
from tenuto.client.client import Client
from tenuto.client.handle import WorkflowHandle
from tenuto.client.instance import Cursor, InstanceStatus, Page
from tenuto.client.options import (
    StartOptions,
    WorkflowFunction,
    WorkflowOfInput,
    WorkflowWithoutInput,
)
from tenuto.client.portal import Portal
from tenuto.client.queues import QueueStatus
from tenuto.client.sync_bulk import SyncBulkVerbs
from tenuto.client.sync_schedules import SyncSchedules
from tenuto.core.events import Event
from tenuto.core.histories import HistoryDocument
from tenuto.core.status import ReusePolicy
from tenuto.registry import Registry
from tenuto.settings import ClientSettings
from tenuto.store import insert_letters
from tenuto.store.protocol import InstanceFilter, Tally

__all__ = ["SyncClient", "SyncWorkflowHandle"]

In = TypeVar("In")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_EVERYTHING = InstanceFilter()


class _Connected:
    """A client and the thread that it lives on, made when they are first needed.

    A process that was forked has none of its parent's threads, so there they are made anew: a client made when a module
    is imported survives a server that forks its workers.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._open: tuple[int, Portal, Client] | None = None
        self._inherited: object = None
        """What a forked process got from its parent: kept, since to destroy it might talk on the parent's sockets."""

    def get(self) -> tuple[Portal, Client]:
        pid = os.getpid()
        with self._lock:
            if self._open is None or self._open[0] != pid:
                self._inherited = self._open
                portal = Portal()
                try:
                    client = portal.call(_opened(self._make))
                except BaseException:
                    portal.close()
                    raise
                self._open = pid, portal, client
            return self._open[1], self._open[2]

    def close(self) -> None:
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None and opened[0] == os.getpid():
            _, portal, client = opened
            try:
                portal.call(client.close())
            finally:
                portal.close()


async def _opened(make: Callable[[], Client]) -> Client:
    client = make()
    try:
        await client.open()
    except BaseException:
        await client.close()
        raise
    return client


class SyncClient(SyncBulkVerbs):
    """As `Client`, with the same names, but blocking. Usable from several threads at once.

        with SyncClient() as client:
            receipt = client.start(fulfil, order).result()

    It connects at the first call; `with` closes it, and so does `close`.
    """

    def __init__(self, settings: ClientSettings | None = None, *, app: App | None = None) -> None:
        """As for `Client`.

        Raises:
            SettingsError: a setting is malformed.
        """
        self._settings = settings or ClientSettings()
        self._connected = _Connected(lambda: Client(self._settings, app=app))

    def __enter__(self) -> Self:
        self._connected.get()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self) -> tuple[Portal, Client]:
        return self._connected.get()

    def close(self) -> None:
        """Let go of every connection; calls of other threads that still wait raise an error. Tolerates repeats."""
        self._connected.close()

    @overload
    def start(
        self, workflow: WorkflowOfInput[In, T], input: In, **options: Unpack[StartOptions]
    ) -> SyncWorkflowHandle[T]: ...
    @overload
    def start(
        self, workflow: WorkflowWithoutInput[T], input: None = ..., **options: Unpack[StartOptions]
    ) -> SyncWorkflowHandle[T]: ...
    @overload
    def start(
        self, workflow: str, input: Any = ..., **options: Unpack[StartOptions]
    ) -> SyncWorkflowHandle[Any]: ...
    def start(self, workflow: Any, input: Any = None, **options: Unpack[StartOptions]) -> Any:  # noqa: A002  as there
        """As `Client.start`. A `connection` is a synchronous one, or a session, and used in the calling thread."""
        portal, client = self._connected.get()
        connection = options.get("connection")
        if connection is None:
            return SyncWorkflowHandle(portal, portal.call(client.start(workflow, input, **options)))
        handle, row = portal.call(client.prepare(workflow, input, **options))
        insert_letters(connection, [row], schema=self._settings.database_schema)
        return SyncWorkflowHandle(portal, handle)

    @overload
    def get(self, instance_id: str, workflow: WorkflowFunction[T]) -> SyncWorkflowHandle[T]: ...
    @overload
    def get(self, instance_id: str, workflow: str | None = ...) -> SyncWorkflowHandle[Any]: ...
    def get(self, instance_id: str, workflow: Any = None) -> Any:
        """As `Client.get`."""
        portal, client = self._connected.get()
        return SyncWorkflowHandle(portal, client.get(instance_id, workflow))

    def list(self, where: InstanceFilter = _EVERYTHING, *, page_size: int = 100) -> Iterator[InstanceStatus]:
        """As `Client.list`."""
        after: Cursor | None = None
        while True:
            page = self.list_page(where, limit=page_size, after=after)
            yield from page.instances
            after = page.next
            if after is None:
                return

    def list_page(
        self, where: InstanceFilter = _EVERYTHING, *, limit: int = 100, after: Cursor | None = None
    ) -> Page:
        """As `Client.list_page`."""
        portal, client = self._connected.get()
        return portal.call(client.list_page(where, limit=limit, after=after))

    def tally(self, where: InstanceFilter = _EVERYTHING) -> Sequence[Tally]:
        """As `Client.tally`."""
        portal, client = self._connected.get()
        return portal.call(client.tally(where))

    def registry(self) -> Registry:
        """As `Client.registry`."""
        portal, client = self._connected.get()
        return portal.call(client.registry())

    def queues(self) -> Sequence[QueueStatus]:
        """As `Client.queues`."""
        portal, client = self._connected.get()
        return portal.call(client.queues())

    @property
    def schedules(self) -> SyncSchedules:
        """As `Client.schedules`."""
        return SyncSchedules(self._connected.get)


class SyncWorkflowHandle(Generic[T_co]):
    """As `WorkflowHandle`, with the same names, but blocking."""

    def __init__(self, portal: Portal, handle: WorkflowHandle[T_co]) -> None:
        self._portal = portal
        self._handle = handle

    def __repr__(self) -> str:
        return f"SyncWorkflowHandle({self.instance_id!r})"

    @property
    def instance_id(self) -> str:
        return self._handle.instance_id

    def started(self, *, timeout: float | None = None) -> InstanceStatus:
        """As `WorkflowHandle.started`."""
        return self._portal.call(self._handle.started(timeout=timeout))

    def ended(self, *, timeout: float | None = None) -> InstanceStatus:
        """As `WorkflowHandle.ended`."""
        return self._portal.call(self._handle.ended(timeout=timeout))

    def result(self, *, timeout: float | None = None) -> T_co:
        """As `WorkflowHandle.result`."""
        return self._portal.call(self._handle.result(timeout=timeout))

    def status(self) -> InstanceStatus:
        """As `WorkflowHandle.status`."""
        return self._portal.call(self._handle.status())

    def changed(self, revision: str, *, timeout: float | None = None) -> InstanceStatus:
        """As `WorkflowHandle.changed`."""
        return self._portal.call(self._handle.changed(revision, timeout=timeout))

    def history(self) -> list[Event]:
        """As `WorkflowHandle.history`."""
        return self._portal.call(self._handle.history())

    def export(self) -> HistoryDocument:
        """As `WorkflowHandle.export`."""
        return self._portal.call(self._handle.export())

    def raise_event(
        self,
        name: str,
        payload: Any = None,
        *,
        create: bool = False,
        message_id: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> None:
        """As `WorkflowHandle.raise_event`."""
        event = self._handle.raise_event(
            name, payload, create=create, message_id=message_id, wait=wait, timeout=timeout
        )
        self._portal.call(event)

    def suspend(self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None) -> None:
        """As `WorkflowHandle.suspend`."""
        self._portal.call(self._handle.suspend(reason, wait=wait, timeout=timeout))

    def resume(self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None) -> None:
        """As `WorkflowHandle.resume`."""
        self._portal.call(self._handle.resume(reason, wait=wait, timeout=timeout))

    def terminate(
        self,
        output: Any = None,
        reason: str | None = None,
        *,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> bool:
        """As `WorkflowHandle.terminate`."""
        ending = self._handle.terminate(output, reason, recursive=recursive, wait=wait, timeout=timeout)
        return self._portal.call(ending)

    def purge(self, *, force: bool = False, recursive: bool = True, timeout: float | None = None) -> int:
        """As `WorkflowHandle.purge`."""
        return self._portal.call(self._handle.purge(force=force, recursive=recursive, timeout=timeout))

    def rewind(self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None) -> None:
        """As `WorkflowHandle.rewind`."""
        self._portal.call(self._handle.rewind(reason, wait=wait, timeout=timeout))

    def restart(
        self,
        *,
        instance_id: str | None = None,
        message_id: str | None = None,
        version: str | None = None,
        reuse: ReusePolicy | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> SyncWorkflowHandle[T_co]:
        """As `WorkflowHandle.restart`."""
        restarting = self._handle.restart(
            instance_id=instance_id,
            message_id=message_id,
            version=version,
            reuse=reuse,
            wait=wait,
            timeout=timeout,
        )
        return SyncWorkflowHandle(self._portal, self._portal.call(restarting))

    def rerun(
        self,
        event_id: int,
        *,
        input: Any = msgspec.UNSET,  # noqa: A002  as there
        instance_id: str | None = None,
        message_id: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> SyncWorkflowHandle[T_co]:
        """As `WorkflowHandle.rerun`."""
        rerunning = self._handle.rerun(
            event_id,
            input=input,
            instance_id=instance_id,
            message_id=message_id,
            wait=wait,
            timeout=timeout,
        )
        return SyncWorkflowHandle(self._portal, self._portal.call(rerunning))

    def ring(self) -> None:
        """As `WorkflowHandle.ring`."""
        self._portal.call(self._handle.ring())
