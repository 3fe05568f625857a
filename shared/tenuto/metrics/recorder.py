"""Who is told what happened. Services get one passed in, and know nothing of what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from tenuto.metrics.catalogue import Metric, Values

__all__ = ["NO_RECORDER", "Recorder", "Recorders", "sampled_trace"]


class Recorder(Protocol):
    """Takes numbers, from one event loop. Labels are given in the order of the metric's.

    Whoever would have to gather what to tell asks first whether it is `on`.
    """

    @property
    def on(self) -> bool:
        """Whether anybody wants to know."""
        ...

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        """So much has been added to a counter."""

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        """A histogram has another value; `trace_id`: of the sampled trace that it is an example of."""

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """A gauge stands at this value."""

    def show(self, metric: Metric, values: Values) -> None:
        """A gauge stands at these values, by labels, and there are no others."""


class _Nobody:
    on: bool = False

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        pass

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        pass

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        pass

    def show(self, metric: Metric, values: Values) -> None:
        pass


NO_RECORDER: Recorder = _Nobody()
"""Nobody wants to know."""


class Recorders:
    """Several, each told the same."""

    on: bool = True

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = tuple(recorders)

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        for recorder in self._recorders:
            recorder.count(metric, *labels, amount=amount)

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        for recorder in self._recorders:
            recorder.observe(metric, value, *labels, trace_id=trace_id)

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        for recorder in self._recorders:
            recorder.put(metric, value, *labels)

    def show(self, metric: Metric, values: Values) -> None:
        for recorder in self._recorders:
            recorder.show(metric, values)


_TRACEPARENT_PARTS: Final = 4
_SAMPLED: Final = 1


def sampled_trace(trace: Mapping[str, str]) -> str | None:
    """The trace id of a W3C trace context (`{"traceparent": …}`); None where there is none, or it is not sampled."""
    parts = trace.get("traceparent", "").split("-")
    if len(parts) < _TRACEPARENT_PARTS:
        return None
    try:
        flags = int(parts[3], 16)
    except ValueError:
        return None
    return parts[1] if flags & _SAMPLED else None
