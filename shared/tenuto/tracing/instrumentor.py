"""Tenuto for OpenTelemetry's auto-instrumentation, which finds it by its entry point."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # untyped
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from tenuto.tracing import tracing

__all__ = ["TenutoInstrumentor"]

_SEAM = "process_provider"


class TenutoInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # likewise
    """Has what Tenuto makes from now on (orchestrators, workers, clients) trace with the given `tracer_provider`.

    Without one it is that of the process, as it is without the instrumentor: Tenuto traces by itself.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        provider = kwargs.get("tracer_provider")
        if provider is None:
            return

        def given(_wrapped: Callable[..., Any], _of: object, _args: Any, _kwargs: Any) -> Any:
            return provider

        wrap_function_wrapper(tracing, _SEAM, given)

    def _uninstrument(self, **_kwargs: Any) -> None:
        unwrap(tracing, _SEAM)
