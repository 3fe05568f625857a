"""What a board is made of, in Grafana's JSON (the classic model, which file provisioning reads).

Queries are written without the deployment that they are about: `query` adds the selector, so that one Prometheus may
watch several deployments, each in a Kubernetes namespace of its own. Outside Kubernetes there is no such label, and the
selector takes everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "${prometheus}"}
JAEGER: Json = {"type": "jaeger", "uid": "${jaeger}"}

TAG = "tenuto"
COLUMNS = 24
_DEPLOYMENT = 'namespace=~"$namespace"'
_METRIC = re.compile(r"\b(tenuto_\w+)(\{(?P<labels>[^}]*)\})?")


def selected(expression: str) -> str:
    """The expression with every metric narrowed to the deployment that the board shows."""
    return _METRIC.sub(
        lambda found: f"{found[1]}{{{', '.join(filter(None, [_DEPLOYMENT, found['labels']]))}}}", expression
    )


def query(expression: str, legend: str = "", *, exemplars: bool = False, instant: bool = False) -> Json:
    """A query to Prometheus. `exemplars`: show the traces that its histogram points to."""
    return {
        "datasource": PROMETHEUS,
        "expr": selected(expression),
        "legendFormat": legend or "__auto",
        "exemplar": exemplars,
        "instant": instant,
        "range": not instant,
        "format": "table" if instant else "time_series",
    }


def quantiles(histogram: str, *, by: Sequence[str] = (), labels: str = "") -> list[Json]:
    """Median, 95th and 99th percentile of a histogram, or of groups the 95th alone; the last one with exemplars."""
    levels = (0.95,) if by else (0.5, 0.95, 0.99)
    groups = ", ".join(["le", *by])
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return [
        query(
            f"histogram_quantile({level}, sum by ({groups}) (rate({histogram}_bucket{labels}[$__rate_interval])))",
            f"{legend} p{level * 100:g}".strip(),
            exemplars=level == levels[-1],
        )
        for level in levels
    ]


def mean(histogram: str, legend: str) -> Json:
    """The mean of what a histogram or a summary has seen."""
    rates = (f"sum(rate({histogram}_{part}[$__rate_interval]))" for part in ("sum", "count"))
    return query(" / ".join(rates), legend)


def traces(tags: str) -> Json:
    """A search in Jaeger, by tags in logfmt."""
    return {
        "datasource": JAEGER,
        "queryType": "search",
        "service": "$service",
        "operation": "",
        "tags": tags,
        "limit": 50,
    }


def graph(
    title: str,
    queries: Sequence[Json],
    *,
    unit: str = "short",
    stacked: bool = False,
    about: str = "",
    width: int = 8,
) -> Json:
    """Lines over time. `unit` is one of Grafana's: `s`, `bytes`, `reqps`, `percentunit`, `short`."""
    custom = {
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    return _panel(
        "timeseries",
        title,
        queries,
        about=about,
        size=(width, 8),
        defaults={"unit": unit, "min": 0, "custom": custom},
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def number(
    title: str,
    expression: str,
    *,
    unit: str = "short",
    worse: tuple[float, float] | None = None,
    least: float | None = None,
    about: str = "",
) -> Json:
    """One number, as of now. `worse`: from which values on it is orange and red; `least`: below it, it is red."""
    steps: list[Json] = [{"color": "green", "value": None}]
    if worse is not None:
        steps += [{"color": "orange", "value": worse[0]}, {"color": "red", "value": worse[1]}]
    if least is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": least}]
    return _panel(
        "stat",
        title,
        [query(expression)],
        about=about,
        size=(3, 4),
        defaults={"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}},
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
        },
    )


def table(title: str, columns: Mapping[str, str], *, by: str, about: str = "") -> Json:
    """One row for each value of the label `by`; columns by name, each an expression."""
    letters = [chr(ord("A") + number) for number in range(len(columns))]
    names = {f"Value #{letter}": name for letter, name in zip(letters, columns, strict=True)}
    times = ["Time", *(f"Time {number}" for number in range(1, len(columns) + 1))]
    panel = _panel(
        "table",
        title,
        [query(expression, instant=True) for expression in columns.values()],
        about=about,
        size=(COLUMNS, 8),
        defaults={"decimals": 2, "noValue": "0"},
        options={"cellHeight": "sm", "showHeader": True},
    )
    panel["transformations"] = [
        {"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
        {
            "id": "organize",
            "options": {"renameByName": names, "excludeByName": dict.fromkeys(times, True)},
        },
    ]
    return panel


def found_traces(
    title: str, tags: str, *, about: str = "", grouped: bool = False, width: int = COLUMNS
) -> Json:
    """The traces that a search finds, each a link; `grouped`: their number and duration by name instead."""
    panel = _panel(
        "table",
        title,
        [traces(tags)],
        about=about,
        size=(width, 8),
        defaults={},
        options={"cellHeight": "sm", "showHeader": True},
        source=JAEGER,
    )
    if grouped:
        fields = {
            "Trace name": {"operation": "groupby", "aggregations": []},
            "Duration": {"operation": "aggregate", "aggregations": ["count", "mean", "max"]},
        }
        panel["transformations"] = [{"id": "groupBy", "options": {"fields": fields}}]
    return panel


def row(title: str) -> Json:
    """A heading."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"w": COLUMNS, "h": 1},
    }


def source_variable(kind: str, label: str) -> Json:
    """A choice among the data sources of a kind; the variable has the kind's name."""
    return {"type": "datasource", "name": kind, "label": label, "query": kind, "refresh": 1}


def label_variable(name: str, metric: str, label: str = "", *, several: bool = True) -> Json:
    """A choice among the values that a label has on a metric; the variable has the label's name."""
    if name != "namespace":
        metric = selected(metric)
    return {
        "type": "query",
        "name": name,
        "label": label or name.capitalize(),
        "datasource": PROMETHEUS,
        "query": f"label_values({metric}, {name})",
        "refresh": 2,
        "sort": 1,
        **({"includeAll": True, "multi": True, "allValue": ".*"} if several else {}),
    }


def dashboard(uid: str, title: str, about: str, variables: Sequence[Json], panels: Sequence[Json]) -> Json:
    """A whole dashboard; the panels are laid out from left to right, in the order given."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": [TAG],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [_to_others()],
        "templating": {
            "list": [
                source_variable("prometheus", "Prometheus"),
                label_variable("namespace", "tenuto_partitions", "Deployment"),
                *variables,
            ]
        },
        "panels": _laid_out(panels),
    }


def _to_others() -> Json:
    return {
        "title": "Tenuto",
        "type": "dashboards",
        "icon": "external link",
        "tooltip": "",
        "tags": [TAG],
        "asDropdown": True,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _panel(
    kind: str,
    title: str,
    queries: Sequence[Json],
    *,
    about: str,
    size: tuple[int, int],
    defaults: Json,
    options: Json,
    source: Json = PROMETHEUS,
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": source,
        "targets": [{"refId": chr(ord("A") + number), **each} for number, each in enumerate(queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "gridPos": {"w": size[0], "h": size[1]},
    }


def _laid_out(panels: Sequence[Json]) -> list[Json]:
    placed: list[Json] = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        width = panel["gridPos"]["w"]
        if x + width > COLUMNS:
            x, y, height = 0, y + height, 0
        height = max(height, panel["gridPos"]["h"])
        placed.append({"id": number, **panel, "gridPos": {**panel["gridPos"], "x": x, "y": y}})
        x += width
    return placed
