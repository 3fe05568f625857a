"""A collector of spans within a test: what an OpenTelemetry collector takes over OTLP/HTTP, decoded."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Collected", "Collector"]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A span that has arrived. Ids are in hexadecimal."""

    name: str
    trace: str
    id: str
    parent: str
    """Empty: it is the root."""
    links: tuple[str, ...]
    service: str
    attributes: Mapping[str, Any]
    start: int
    end: int


class Collector:
    """Listens on a free port; to be used with `with`."""

    def __init__(self) -> None:
        spans: list[Collected] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    spans.extend(_decoded(body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, format: str, *_: Any) -> None:  # noqa: A002
                """It is quiet."""

        self.spans = spans
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def named(self, name: str, instance: str | None = None) -> list[Collected]:
        """Those of this name, and of this instance, by their start."""
        found = [span for span in self.spans if span.name == name]
        if instance is not None:
            found = [s for s in found if s.attributes.get("durabletask.task.instance_id") == instance]
        return sorted(found, key=lambda span: span.start)

    def one(self, name: str, instance: str | None = None) -> Collected:
        found = self.named(name, instance)
        assert len(found) == 1, (name, instance, sorted(span.name for span in self.spans))
        return found[0]


def _decoded(body: bytes) -> list[Collected]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Collected(
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            links=tuple(link.span_id.hex() for link in span.links),
            service=_values(batch.resource.attributes)["service.name"],
            attributes=_values(span.attributes),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
        )
        for batch in request.resource_spans
        for scope in batch.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
