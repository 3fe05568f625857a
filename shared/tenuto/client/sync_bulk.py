"""Requests to all instances that fit a filter: a part of `SyncClient`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tenuto.client.bulk import BulkResult
from tenuto.client.client import Client
from tenuto.client.portal import Portal
from tenuto.store.protocol import InstanceFilter

__all__ = ["SyncBulkVerbs"]


class SyncBulkVerbs(ABC):
    """As `BulkVerbs`, with the same names, but blocking."""

    @abstractmethod
    def _connection(self) -> tuple[Portal, Client]: ...

    def suspend_all(
        self,
        where: InstanceFilter,
        reason: str | None = None,
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """As `Client.suspend_all`."""
        portal, client = self._connection()
        return portal.call(client.suspend_all(where, reason, wait=wait, timeout=timeout))

    def resume_all(
        self,
        where: InstanceFilter,
        reason: str | None = None,
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """As `Client.resume_all`."""
        portal, client = self._connection()
        return portal.call(client.resume_all(where, reason, wait=wait, timeout=timeout))

    def terminate_all(
        self,
        where: InstanceFilter,
        output: Any = None,
        reason: str | None = None,
        *,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """As `Client.terminate_all`."""
        portal, client = self._connection()
        return portal.call(
            client.terminate_all(where, output, reason, recursive=recursive, wait=wait, timeout=timeout)
        )

    def purge_all(
        self,
        where: InstanceFilter,
        *,
        force: bool = False,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> BulkResult:
        """As `Client.purge_all`."""
        portal, client = self._connection()
        return portal.call(
            client.purge_all(where, force=force, recursive=recursive, wait=wait, timeout=timeout)
        )
