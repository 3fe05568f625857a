"""Message brokers: the protocol, and the way from a URL to an implementation.

A broker is found by the entry point group `tenuto.brokers`, by the scheme of its URL. The entry point names a
class with a classmethod `from_url(url: str, options: BrokerOptions) -> Broker`, which raises `SettingsError`
for a URL that it cannot use and connects to nothing. `tenuto.testing.broker_contract` is the suite that every
implementation must pass.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import Broker, Delivery, Outcome, Outgoing, QueueInfo, QueueSpec, Subscription
from tenuto.errors import SettingsError

__all__ = [
    "Broker",
    "BrokerOptions",
    "Delivery",
    "Outcome",
    "Outgoing",
    "QueueInfo",
    "QueueSpec",
    "Subscription",
    "make_broker",
]

_GROUP = "tenuto.brokers"
_DEFAULTS = BrokerOptions()


class _BrokerClass(Protocol):
    @classmethod
    def from_url(cls, url: str, options: BrokerOptions) -> Broker: ...


def make_broker(
    url: str,
    *,
    name: str = _DEFAULTS.name,
    connect_timeout: float = _DEFAULTS.connect_timeout,
    publish_timeout: float = _DEFAULTS.publish_timeout,
    operation_timeout: float = _DEFAULTS.operation_timeout,
    heartbeat: int = _DEFAULTS.heartbeat,
    max_message_bytes: int = _DEFAULTS.max_message_bytes,
) -> Broker:
    """The broker of a URL, not yet open. The keywords are those of `BrokerOptions`.

    Raises:
        SettingsError: no broker is installed for the URL's scheme, or the URL is malformed. The message never
            holds the URL's password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise SettingsError(
            "The broker URL has no scheme: write memory:// or amqp://user:password@host:5672/vhost"
        )
    options = BrokerOptions(
        name=name,
        connect_timeout=connect_timeout,
        publish_timeout=publish_timeout,
        operation_timeout=operation_timeout,
        heartbeat=heartbeat,
        max_message_bytes=max_message_bytes,
    )
    return _broker_class(scheme.lower()).from_url(url, options)


def _broker_class(scheme: str) -> _BrokerClass:
    installed = entry_points(group=_GROUP)
    if scheme not in installed.names:
        known = ", ".join(f"{known}://" for known in sorted(installed.names))
        raise SettingsError(f"No broker is installed for {scheme}:// URLs; there are {known}")
    loaded: _BrokerClass = installed[scheme].load()
    return loaded
