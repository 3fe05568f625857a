"""Removes the queues that tests leave on a broker that they share with others."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

import pika

from tests.support.rabbitmq import RabbitMQServer

__all__ = ["QueueSweeper"]

_NAMESPACE = re.compile(r"t[0-9a-f]{10}[.-]")
"""What the fixture `namespace` gives."""
_BATCH = 3


@dataclass(kw_only=True)
class QueueSweeper:
    """Collects the namespaces that are done with, and deletes their queues a few namespaces at a time.

    AMQP cannot list queues, `rabbitmqctl` can; listing takes half a second, hence the batches. Where it may not be used
    (somebody else's broker), `leftovers` tells which namespaces are left there.
    """

    url: str
    server: RabbitMQServer | None = None
    leftovers: list[str] = field(default_factory=list)
    _namespaces: list[str] = field(default_factory=list)

    def add(self, namespace: str) -> None:
        """This namespace is done with."""
        self._namespaces.append(namespace)
        if len(self._namespaces) >= _BATCH:
            self.sweep()

    def sweep(self) -> None:
        """Delete every queue whose name begins with one of the namespaces that were added."""
        namespaces, self._namespaces = self._namespaces, []
        if not namespaces:
            return
        names = self._list()
        if names is None:
            self.leftovers += namespaces
            return
        self._delete(name for name in names if name.startswith(tuple(namespaces)))

    def sweep_abandoned(self) -> None:
        """Delete what earlier runs have left when they were killed: too many queues use a broker's files up."""
        self._delete(name for name in self._list() or () if _NAMESPACE.match(name))

    def _delete(self, names: Iterable[str]) -> None:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            for name in names:
                channel.queue_delete(name)

    def _list(self) -> list[str] | None:
        """The queues that are there, but for exclusive ones: those end with their connections."""
        arguments = ["list_queues", "name", "exclusive", "--no-table-headers"]
        if self.server is not None:
            return _names(self.server.control(*arguments))
        program = shutil.which("rabbitmqctl")
        if program is None:
            return None
        done = subprocess.run(
            [program, "--quiet", *arguments], check=False, capture_output=True, text=True, timeout=30
        )
        return _names(done.stdout) if done.returncode == 0 else None


def _names(listing: str) -> list[str]:
    rows = [line.split("\t") for line in listing.splitlines()]
    return [row[0] for row in rows if row[1:] != ["true"]]  # quorum queues, never exclusive, say nothing
