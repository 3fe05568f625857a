"""A TCP proxy in front of a server, whose connections a test may cut, delay, freeze and refuse."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from random import Random

from tests.support.processes import free_port

__all__ = ["Proxy"]

_HOST = "127.0.0.1"
_NO_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to a port of this machine until told otherwise. Runs on the loop on which it was started.

    A frozen connection stays open and carries nothing, in either direction, as one whose other end has left the network.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.latency = 0.0
        """Seconds by which each piece of data is held up."""
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._links)

    def url(self, url: str) -> str:
        """The server's URL with the proxy in its place."""
        there, here = f"{_HOST}:{self.upstream}", f"{_HOST}:{self.port}"
        assert there in url, url
        return url.replace(there, here)

    async def start(self) -> None:
        """Take connections, which `refuse` stops. Tolerates repeats."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._accept, _HOST, self.port)

    def refuse(self) -> None:
        """Take no new connections, until `start`; those that there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self, share: float = 1.0, random: Random | None = None) -> int:
        """Break some of the connections, at both ends; returns how many."""
        chosen = self._some(share, random)
        for link in chosen:
            link.cut()
        return len(chosen)

    def freeze(self, share: float = 1.0, random: Random | None = None) -> Callable[[], None]:
        """Let some of the connections carry nothing; returns what lets them go on, those that are still there."""
        chosen = self._some(share, random)
        for link in chosen:
            link.freeze()

        def thaw() -> None:
            for link in chosen:
                link.thaw()

        return thaw

    def stop(self) -> None:
        """Refuse and cut everything. Tolerates repeats."""
        self.refuse()
        self.cut()

    def _some(self, share: float, random: Random | None) -> list[_Link]:
        links = list(self._links)
        return links if random is None else [link for link in links if random.random() < share]

    def _accept(self) -> asyncio.Protocol:
        link = _Link(self)
        self._links.add(link)
        return link.client

    def forget(self, link: _Link) -> None:
        self._links.discard(link)


class _Link:
    """A connection from a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.frozen = False
        self.client = _End(self, on_open=self._connect)
        self.server = _End(self, on_open=self._connected)
        self.client.peer, self.server.peer = self.server, self.client
        self._connecting: asyncio.Task[None] | None = None

    def _connect(self) -> None:
        self.client.hold()
        self._connecting = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self.server, _HOST, self.proxy.upstream
            )
        except OSError:
            self.client.hang_up()  # as a load balancer without a server behind it

    def _connected(self) -> None:
        if self.client.over:
            self.cut()
        elif not self.frozen:
            self.client.go_on()

    def cut(self) -> None:
        for end in (self.client, self.server):
            end.abort()
        self.proxy.forget(self)

    def freeze(self) -> None:
        self.frozen = True
        for end in (self.client, self.server):
            end.hold()

    def thaw(self) -> None:
        self.frozen = False
        for end in (self.client, self.server):
            end.go_on()
            end.pump()

    def ended(self) -> None:
        if self.client.over and (self.server.over or self.server.transport is None):
            self.proxy.forget(self)


class _End(asyncio.Protocol):
    """One of the two sockets of a link: reads from it, and writes to it what the other has read."""

    peer: _End

    def __init__(self, link: _Link, *, on_open: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.over = False
        self._link = link
        self._on_open = on_open
        self._waiting: deque[tuple[float, bytes]] = deque()
        """What is to be written to this end, each with the loop time before which it is held up."""

    # asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._on_open()

    def data_received(self, data: bytes) -> None:
        self.peer.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.peer.pump()
        self._link.ended()

    def pause_writing(self) -> None:
        self.peer.hold()

    def resume_writing(self) -> None:
        if not self._link.frozen:
            self.peer.go_on()

    # For the link ------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._link.proxy.latency
        if self._waiting:  # nothing overtakes
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, data))
        if due > loop.time():
            loop.call_at(due, self.pump)
        else:
            self.pump()

    def pump(self) -> None:
        """Write what is due; close once the other end is gone and everything is written."""
        if self._link.frozen or self.transport is None or self.over:
            return
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0][0] <= now:
            self.transport.write(self._waiting.popleft()[1])
        if self.peer.over and not self._waiting:
            self.transport.close()

    def hold(self) -> None:
        if self.transport is not None and not self.over:
            self.transport.pause_reading()

    def go_on(self) -> None:
        if self.transport is not None and not self.over:
            self.transport.resume_reading()

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Reset the connection, so that its other end hears of an error, not of an end."""
        if self.transport is not None and not self.over:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
            self.transport.abort()
