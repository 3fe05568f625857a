"""Where things live on the broker, what an instance may be called, and which partition it belongs to."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

from tenuto.core.ids import MAX_INSTANCE_ID, name_fault
from tenuto.errors import UsageError

__all__ = [
    "MAX_INSTANCE_ID",
    "Names",
    "check_instance_id",
    "check_name",
    "derived_instance_id",
    "partition_of",
]


def partition_of(instance: str, partitions: int) -> int:
    """The partition of an instance: CRC-32 of its id, so that any language can tell."""
    return zlib.crc32(instance.encode()) % partitions


def check_instance_id(instance: str) -> None:
    """See to it that the id is 1 to 256 characters long and printable.

    Raises:
        UsageError: it is not; the message says what is wrong with it.
    """
    check_name("The instance id", instance, field="instance_id")


def check_name(what: str, name: str, *, field: str | None = None) -> None:
    """See to it that the name of a workflow or a version is 1 to 256 characters long and printable, so that every
    database takes it.

    Raises:
        UsageError: it is not; the message says what is wrong with it, beginning with `what`, and its `field` is this.
    """
    if (fault := name_fault(what, name)) is not None:
        raise UsageError(fault, field=field)


def derived_instance_id(message_id: str) -> str:
    """The id of the instance that a start message without one makes, so that a redelivery means the same (rule I3).

    The first 32 hexadecimal digits of the SHA-256 of the message id in UTF-8, so that any language can tell.
    """
    return hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Names:
    """Queue names of a namespace. The layout number covers everything that is fixed when a queue is declared
    (rule B3)."""

    namespace: str = "tenuto"
    layout: int = 1

    @property
    def start(self) -> str:
        return f"{self.namespace}.start"

    @property
    def start_dead(self) -> str:
        return f"{self.namespace}.start.dead"

    @property
    def dead(self) -> str:
        """Takes tasks that killed their workers, and messages that nobody could read."""
        return f"{self.namespace}.{self.layout}.dead"

    @property
    def turns_prefix(self) -> str:
        """What the names of all turn queues begin with."""
        return f"{self.namespace}.{self.layout}.turns."

    def turns(self, partition: int) -> str:
        return f"{self.turns_prefix}{partition}"

    def activities(self, pool: str) -> str:
        return f"{self.namespace}.{self.layout}.activities.{pool}"

    def marker(self, token: str) -> str:
        """The queue whose absence tells that the broker was wiped (rule B1)."""
        return f"{self.namespace}.{self.layout}.marker.{token}"

    def worker(self, worker: str) -> str:
        """The queue of one worker process, on which owners tell it what nobody waits for any more."""
        return f"{self.namespace}.workers.{worker}"

    def notices(self, process: str) -> str:
        return f"{self.namespace}.notices.{process}"
