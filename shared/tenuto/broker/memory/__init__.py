"""The in-process broker: RabbitMQ's semantics, as far as the engine relies on them, without a server.

    server = MemoryServer()
    broker = MemoryBroker(server)          # one client connection; each service of the process has its own

Queues live as long as their server object. There are no threads and no tasks: deliveries run from
`loop.call_soon`, so the same code runs on a simulated event loop.
"""

from __future__ import annotations

from tenuto.broker.memory.client import MemoryBroker, MemorySubscription
from tenuto.broker.memory.server import MemoryServer

__all__ = ["MemoryBroker", "MemoryServer", "MemorySubscription"]
