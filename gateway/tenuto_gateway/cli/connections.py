"""Stores and brokers of the settings, as the commands need them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from tenuto.broker import Broker, make_broker
from tenuto.errors import SettingsError
from tenuto.settings import OrchestratorSettings, Settings
from tenuto.store import make_store
from tenuto.store.protocol import Store

__all__ = ["open_broker", "open_store", "reachable_broker", "store_of"]


def store_of(settings: Settings) -> Store:
    """The store of the settings, not yet open.

    Raises:
        SettingsError: the URL is malformed, or nothing is installed for its scheme.
    """
    lease = timedelta(seconds=settings.lease) if isinstance(settings, OrchestratorSettings) else None
    return make_store(
        settings.database_url,
        schema=settings.database_schema,
        connect_timeout=settings.connect_timeout,
        lease=lease,
    )


def reachable_broker(settings: Settings, name: str) -> Broker:
    """The broker of the settings, not yet open, for a process that shares it with others.

    Raises:
        SettingsError: it is in-process, the URL is malformed, or nothing is installed for its scheme.
    """
    if settings.broker_url.lower().startswith("memory:"):
        raise SettingsError(
            f"`tenuto {name}` needs a message broker that other processes can reach, and memory:// is within "
            "one process: set --broker-url or TENUTO_BROKER_URL to amqp://user:password@host/vhost "
            "(`tenuto dev` and `tenuto run` need none)"
        )
    return make_broker(
        settings.broker_url,
        name=f"{settings.namespace} {name}",
        connect_timeout=settings.connect_timeout,
        max_message_bytes=settings.max_message_bytes,
    )


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of the settings, open within the block."""
    store = store_of(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def open_broker(settings: Settings, name: str) -> AsyncIterator[Broker]:
    """The broker of the settings, open within the block; not an in-process one."""
    broker = reachable_broker(settings, name)
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()
