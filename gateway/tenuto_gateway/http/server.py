"""The service that listens."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from tenuto.client import Client
from tenuto.errors import SettingsError
from tenuto.settings import GatewaySettings
from tenuto_gateway.http.app import make_app

__all__ = ["Gateway"]

_log = logging.getLogger("tenuto.gateway")

_GRACE = 5
"""Seconds that requests under way are given when the gateway stops; those that wait are answered at once."""
_BACKLOG = 2048


class Gateway:
    """A service that serves a client over HTTP. The client is opened before, and closed after it."""

    def __init__(self, client: Client, settings: GatewaySettings, *, any_port: bool = False) -> None:
        """`any_port`: where the settings' is taken, any that is free will do.

        Raises:
            SettingsError: who may call is not settled, or the certificate cannot be used.
        """
        self._any_port = any_port
        self._port = settings.http_port
        app, self._context = make_app(client, settings)
        self._settings = settings
        self._server = _Server(_config(app, settings))
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        scheme = "http" if self._settings.http_tls_certificate is None else "https"
        host = (
            f"[{self._settings.http_host}]" if ":" in self._settings.http_host else self._settings.http_host
        )
        return f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen; ready when it returns.

        Raises:
            SettingsError: the address cannot be had.
        """
        self._socket = self._listen(self._settings.http_port)
        self._port = self._socket.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="tenuto gateway")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        _log.info("the gateway listens at %s", self.url)

    async def stop(self) -> None:
        """Answer whoever waits, and listen no more. Tolerates repeats."""
        self._context.closing.set()
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._socket is not None:
            self._socket.close()

    async def wait(self) -> None:
        """Until it is stopped; raises what killed it."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    def _listen(self, port: int) -> socket.socket:
        host = self._settings.http_host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port and self._any_port:
                return self._listen(0)
            raise SettingsError(
                f"the gateway cannot listen on {host}, port {port} ({error.strerror}); "
                "set TENUTO_HTTP_HOST or TENUTO_HTTP_PORT to another"
            ) from error


class _Server(uvicorn.Server):
    """Without signal handlers, which are the process's, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _config(app: Any, settings: GatewaySettings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http="h11",  # which bounds what a request may have before its body
        h11_max_incomplete_event_size=settings.http_max_header_bytes * 2,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=settings.http_tls_certificate,
        ssl_keyfile=settings.http_tls_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the certificate {settings.http_tls_certificate} with the key {settings.http_tls_key} cannot be used: "
            f"{error}"
        ) from error
    return config
