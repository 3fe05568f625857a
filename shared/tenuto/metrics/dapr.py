"""The same numbers under the names that Dapr's sidecar gives them, for dashboards that were made for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from tenuto.metrics import catalogue

__all__ = ["DaprNames"]

_MILLISECONDS: Final = 1000.0


@dataclass(frozen=True, kw_only=True)
class _Alias:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Ours to Dapr's; those that are not here keep their names."""
    scale: float = 1.0


_WORKFLOW: Final = MappingProxyType({"workflow": "workflow_name"})
_ACTIVITY: Final = MappingProxyType({"activity": "activity_name"})

_ALIASES: Final[Mapping[str, _Alias]] = MappingProxyType(
    {
        catalogue.WORKFLOW_EXECUTIONS.name: _Alias(
            name="dapr_runtime_workflow_execution_count", labels=_WORKFLOW
        ),
        catalogue.WORKFLOW_EXECUTION_SECONDS.name: _Alias(
            name="dapr_runtime_workflow_execution_latency", labels=_WORKFLOW, scale=_MILLISECONDS
        ),
        catalogue.WORKFLOW_SCHEDULING_SECONDS.name: _Alias(
            name="dapr_runtime_workflow_scheduling_latency", labels=_WORKFLOW, scale=_MILLISECONDS
        ),
        catalogue.ACTIVITY_EXECUTIONS.name: _Alias(
            name="dapr_runtime_workflow_activity_execution_count", labels=_ACTIVITY
        ),
        catalogue.ACTIVITY_EXECUTION_SECONDS.name: _Alias(
            name="dapr_runtime_workflow_activity_execution_latency", labels=_ACTIVITY, scale=_MILLISECONDS
        ),
    }
)
_STATUSES: Final = MappingProxyType({"completed": "success"})


class DaprNames(Collector):
    """What another collector tells, once more under Dapr's names: counters without `_total`, latencies in
    milliseconds, `success` and `failed`."""

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Family]:
        """Those that have such a name."""
        for family in self._source.collect():
            alias = _ALIASES.get(family.name)
            if alias is not None:
                # A counter must be called `…_total` by Prometheus' rules, which Dapr's is not.
                kind = "histogram" if family.type == "histogram" else "unknown"
                renamed = Family(alias.name, family.documentation, kind)
                renamed.samples = [
                    _renamed(sample, family.name, alias)
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ]
                yield renamed


def _renamed(sample: Sample, name: str, alias: _Alias) -> Sample:
    suffix = sample.name.removeprefix(name).removesuffix("_total")
    labels = {alias.labels.get(key, key): value for key, value in sample.labels.items()}
    if "status" in labels:
        labels["status"] = _STATUSES.get(labels["status"], labels["status"])
    if "le" in labels and labels["le"] != "+Inf":
        labels["le"] = str(float(labels["le"]) * alias.scale)
    value = sample.value * alias.scale if suffix == "_sum" else sample.value
    return Sample(f"{alias.name}{suffix}", labels, value)
