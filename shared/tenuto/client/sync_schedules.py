"""Schedules for the synchronous client: as `Schedules`, with the same names, but blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Unpack

from tenuto.client.client import Client
from tenuto.client.options import WorkflowFunction
from tenuto.client.portal import Portal
from tenuto.client.schedules import ScheduleOptions, ScheduleStatus

__all__ = ["SyncSchedules"]


class SyncSchedules:
    """As `Schedules`, with the same names, but blocking."""

    def __init__(self, connected: Callable[[], tuple[Portal, Client]]) -> None:
        self._connected = connected

    def create(
        self,
        name: str,
        workflow: WorkflowFunction[Any] | str,
        input: Any = None,  # noqa: A002  as there
        *,
        paused: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """As `Schedules.create`."""
        portal, client = self._connected()
        portal.call(client.schedules.create(name, workflow, input, paused=paused, **options))

    def get(self, name: str) -> ScheduleStatus:
        """As `Schedules.get`."""
        portal, client = self._connected()
        return portal.call(client.schedules.get(name))

    def list(self) -> Iterator[ScheduleStatus]:
        """As `Schedules.list`; read all at once."""
        portal, client = self._connected()

        async def collect() -> tuple[ScheduleStatus, ...]:
            return tuple([schedule async for schedule in client.schedules.list()])

        return iter(portal.call(collect()))

    def pause(self, name: str, reason: str | None = None) -> None:
        """As `Schedules.pause`."""
        portal, client = self._connected()
        portal.call(client.schedules.pause(name, reason))

    def resume(self, name: str, reason: str | None = None) -> None:
        """As `Schedules.resume`."""
        portal, client = self._connected()
        portal.call(client.schedules.resume(name, reason))

    def trigger(self, name: str) -> str:
        """As `Schedules.trigger`."""
        portal, client = self._connected()
        return portal.call(client.schedules.trigger(name))

    def update(self, name: str, **changes: Any) -> None:
        """As `Schedules.update`."""
        portal, client = self._connected()
        portal.call(client.schedules.update(name, **changes))

    def delete(self, name: str) -> None:
        """As `Schedules.delete`."""
        portal, client = self._connected()
        portal.call(client.schedules.delete(name))
