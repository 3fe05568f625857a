"""Exporting spans from a process of Tenuto's own, as the settings and OpenTelemetry's variables say.

A program that embeds Tenuto, and `opentelemetry-instrument`, set up a tracer provider themselves: that one is used
then, and nothing is set up here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import trace

from tenuto.errors import SettingsError
from tenuto.settings import Settings
from tenuto.tracing.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["exporting"]

_log = logging.getLogger("tenuto.tracing")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OVER_HTTP = "http/protobuf"


@contextmanager
def exporting(settings: Settings, *, service: str) -> Iterator[None]:
    """Within it, the process exports its spans, if it is to. What is left is sent at the end.

    Args:
        settings: whether it is to.
        service: its name in traces, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has one.

    Raises:
        SettingsError: tracing is asked for, and cannot be had.
    """
    if not _wanted(settings):
        yield
        return
    try:
        provider = _provider(service)
    except SettingsError as error:
        if settings.tracing == "otlp":
            raise
        # Often set for everything that runs on a platform: no reason for this not to run.
        _log.warning("nothing is traced: %s", error)
        yield
        return
    trace.set_tracer_provider(provider)
    if settings.trace_statements:
        _trace_statements(provider)
    try:
        yield
    finally:
        provider.shutdown()


def _wanted(settings: Settings) -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if settings.tracing == "off" or disabled or Tracing.of_process().on:
        return False
    if settings.tracing == "otlp":
        return True
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return exporter == "otlp" and any(os.environ.get(name) for name in _ENDPOINTS)


def _provider(service: str) -> TracerProvider:
    protocol = next((value for name in _PROTOCOLS if (value := os.environ.get(name))), _OVER_HTTP)
    if protocol != _OVER_HTTP:
        raise SettingsError(
            f"spans are exported over {_OVER_HTTP}, and {' or '.join(_PROTOCOLS)} says {protocol}; leave it out, or "
            "run under opentelemetry-instrument with the exporter of your choice"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  needs an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'tracing needs {error.name}, which is not installed; run: pip install "tenuto[tracing]"'
        ) from error
    named = Resource({"service.name": service, "service.version": version("tenuto")})
    # What the variables say goes before what is known here.
    chosen = Resource.create()
    given = Resource({key: value for key, value in chosen.attributes.items() if not _is_default(key, value)})
    provider = TracerProvider(resource=chosen.merge(named).merge(given))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _trace_statements(provider: TracerProvider) -> None:
    """Of the engines that are made from now on: stores are loaded only where they are needed, after this."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor  # noqa: PLC0415  comes with the SDK

    # It does not know the release of SQLAlchemy that Tenuto needs, and works with it.
    SQLAlchemyInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def _is_default(key: str, value: object) -> bool:
    """Whether a resource's attribute is what the SDK makes up where nobody has named the service."""
    return key == "service.name" and str(value).startswith("unknown_service")
