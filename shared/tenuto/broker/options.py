"""What a broker may be told besides its URL."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BrokerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Options of every broker; one that does not know an option ignores it."""

    name: str = "tenuto"
    """Names the connections, so that an operator sees whose they are."""
    connect_timeout: float = 30.0
    """Seconds that `open` waits for a broker that is still starting."""
    publish_timeout: float = 30.0
    """Seconds that `publish` waits for a lost connection to come back before its messages are UNKNOWN. Time
    during which the broker blocks publishers does not count."""
    operation_timeout: float = 10.0
    """Seconds that every other operation waits for a lost connection to come back, and then for its
    answer."""
    heartbeat: int = 5
    """Seconds between AMQP heartbeats, at most 10 (rule O4)."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Larger bodies are REFUSED without asking the broker; 16 MiB is what RabbitMQ 4 takes."""
    delivery_limit: int = 1_000_000
    """How often a quorum queue delivers a message before it dead-letters it. Large, because one crash counts
    for every prefetched message, and the engine does its own counting (rule B3)."""
