"""The transport over HTTP, which needs the extra `tenuto[http]`.

transport  what changes something
looking    what looks, and waits
requests   a request to the gateway, its answer, and what errors mean
"""

from __future__ import annotations

from tenuto.client.remote.requests import http_client
from tenuto.client.remote.transport import HttpTransport

__all__ = ["HttpTransport", "http_client"]
