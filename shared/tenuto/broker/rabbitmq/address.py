"""Where a RabbitMQ is, from its URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from yarl import URL

from tenuto.broker.options import BrokerOptions
from tenuto.errors import SettingsError

__all__ = ["Address"]

_PORTS = {"amqp": 5672, "amqps": 5671}
_LONGEST_HEARTBEAT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A broker's URL, taken apart. Only `where` and `virtual_host` are for messages: the URL has the
    password."""

    url: URL
    where: str
    """Host and port."""
    virtual_host: str

    @classmethod
    def parse(cls, url: str, options: BrokerOptions) -> Self:
        """Raises `SettingsError` for a URL that cannot lead to a RabbitMQ; the message never holds the
        password."""
        try:
            parsed = URL(url)
            host, port = parsed.host, parsed.port
        except ValueError:
            raise SettingsError(_MALFORMED) from None  # yarl's own message may quote the password
        if parsed.scheme not in _PORTS or not host:
            raise SettingsError(_MALFORMED)
        heartbeat = parsed.query.get("heartbeat", str(options.heartbeat))
        if not heartbeat.isdecimal() or not 1 <= int(heartbeat) <= _LONGEST_HEARTBEAT:  # rule O4
            raise SettingsError(
                f"The broker's heartbeat must be 1 to {_LONGEST_HEARTBEAT} s, not {heartbeat}"
            )
        return cls(
            url=parsed.update_query(heartbeat=heartbeat),
            where=f"{host}:{port or _PORTS[parsed.scheme]}",
            virtual_host=unquote(parsed.raw_path.removeprefix("/")) or "/",
        )


_MALFORMED = "The broker URL is malformed: it should look like amqp://user:password@host:5672/vhost"
