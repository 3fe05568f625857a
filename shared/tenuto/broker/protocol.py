"""The broker: what the engine asks of a message broker.

The broker only carries messages; the database holds the truth. Hence the engine needs little of it: durable queues,
publisher confirms, manual acknowledgement, and to be told when something was lost.

A broker object reconnects by itself, forever, with back-off; while it is away `publish` waits (up to `timeout`) and
subscriptions are dead. It never declares anything by itself: after a wipe a queue must be missed, not silently made
anew (rule B1). What was subscribed is *not* subscribed again by the broker object: `Subscription.lost` is told, and its
user decides (an orchestrator recovers the partition, a worker subscribes again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, runtime_checkable

__all__ = ["Broker", "Delivery", "Outcome", "Outgoing", "QueueInfo", "QueueSpec", "Subscription"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish. Persistent."""

    queue: str
    """The queue's name (by the default exchange)."""
    body: bytes
    mandatory: bool = True
    """A message to an engine queue is mandatory: if it can be routed to no queue, that is reported (rule C4)."""
    correlation_id: str | None = None
    message_id: str | None = None
    reply_to: str | None = None
    timestamp: float | None = None
    """Seconds since the epoch; brokers keep whole seconds."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    persistent: bool = True


class Outcome(Enum):
    """What became of a published message."""

    CONFIRMED = auto()
    """The broker has taken responsibility for it (or, not mandatory, nobody wanted it)."""
    RETURNED = auto()
    """Mandatory, and no such queue (rule B1)."""
    REFUSED = auto()
    """The broker will never take this message: too large (rule B4)."""
    UNKNOWN = auto()
    """Nacked, or the connection was lost first. It may have arrived; send it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that must be acknowledged on the subscription that delivered it (rule C8)."""

    tag: int
    """Rises by one with each delivery of the subscription."""
    body: bytes
    redelivered: bool = False
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: float | None = None
    """Seconds since the epoch, where the sender said."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """A queue to declare. Durable, unless `exclusive`: that one ends with the connection."""

    name: str
    type: str = "quorum"
    """`quorum` or `classic`."""
    dead_letter: str | None = None
    """The queue that takes what is rejected or delivered too often."""
    exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    messages: int
    consumers: int


class Subscription(Protocol):
    """A consumer on a channel of its own (rule O4)."""

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge a delivery; with `multiple` all lower tags as well. Never blocks; after the subscription is lost
        it does nothing (the broker delivers those messages again)."""

    def nack(self, tag: int, *, requeue: bool) -> None:
        """Give a delivery back to the queue or, without `requeue`, to its dead-letter queue."""

    async def cancel(self) -> None:
        """Ask for no more deliveries. What was delivered before can still be acknowledged, until `close`. Tolerates
        repeats and a lost subscription."""

    async def close(self) -> None:
        """End the subscription; what was not acknowledged goes back to the queue. Tolerates repeats."""


@runtime_checkable
class Broker(Protocol):
    """A message broker. Opened once, used from one event loop, closed once; both tolerate repeats."""

    async def open(self) -> None:
        """Connect; waits for a broker that is still starting, up to the configured time.

        Raises:
            BrokerUnavailableError: it cannot be reached; the message names host and port, never the password.
        """

    async def close(self) -> None:
        """Close subscriptions and connections."""

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        """Make sure that the queues exist.

        Raises:
            BrokerError: one exists with other arguments; the message names it.
            BrokerUnavailableError: the connection was lost.
        """

    async def inspect(self, queue: str) -> QueueInfo | None:
        """How many messages are ready and how many consumers there are; None: there is no such queue.

        Raises:
            BrokerUnavailableError: the connection was lost.
        """
        ...

    async def delete(self, queue: str) -> None:
        """Delete a queue with all that is in it; one that is not there is no error."""

    async def purge(self, queue: str) -> None:
        """Drop the messages that are ready in a queue; one that is not there is no error."""

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Publish, all in flight at once, and wait for every confirm. Outcomes are in the order of the messages; it
        does not raise for a broker that is away (those are UNKNOWN). Waits while the broker blocks publishers."""
        ...

    async def subscribe(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        on_lost: Callable[[str], None],
    ) -> Subscription:
        """Consume a queue on a channel of its own.

        `on_delivery` is called in order, on the event loop, and must not block. `on_lost` is called once, with the
        reason in words, when the subscription dies for any reason but `close`: connection lost, channel closed,
        consumer cancelled by the broker.

        Raises:
            QueueMissingError: there is no such queue.
            BrokerUnavailableError: the connection is lost.
        """
        ...
