"""A Prometheus scrapes a running system: whatever dashboards, alerts and scaling ask it, there is an answer."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.postgres import create_database, drop_database
from tests.support.queues import QueueSweeper
from tests.support.reaper import Reaper
from tests.support.servers import Found
from tests.support.waiting import until
from tests.support.watched import ALERTS, DEPLOYMENT, TRACE_ID, WatchedSystem
from tests.support.watched_app import GATED_POOL

DASHBOARDS = sorted((ALERTS.parent / "observability/dashboards").glob("*.json"))

CHOICES = {"__rate_interval": "5s", "__range": "1m", "namespace": DEPLOYMENT, "workflow": ".*", "pool": ".*"}
"""What Grafana puts in the place of variables."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The system, and since when it has been there (seconds of the epoch)."""

    system: WatchedSystem
    since: float


@pytest.fixture(scope="module")
def watched(
    prometheus: str,
    _postgres: Found,
    _rabbitmq: tuple[Found, QueueSweeper],
    reaper: Reaper,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """One system for all tests here."""
    rabbitmq, sweeper = _rabbitmq
    namespace, folder = f"t{secrets.token_hex(5)}", tmp_path_factory.mktemp("watched")
    database_url = create_database(_postgres.url)
    since = time.time()
    system = WatchedSystem(database_url, rabbitmq.url, namespace, folder=folder, reaper=reaper)
    try:
        asyncio.run(system.begin(prometheus))
        yield Watched(system=system, since=since)
    finally:
        system.close()
        sweeper.add(namespace)
        drop_database(database_url)


def chosen(expression: str) -> str:
    """The expression as Grafana sends it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda variable: CHOICES[variable[1]], expression)


def queries(dashboard: Path) -> dict[str, str]:
    """What a dashboard asks Prometheus, by panel and number."""
    return {
        f"{panel['title']} {target['refId']}": chosen(target["expr"])
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel.get("targets", [])
        if "expr" in target
    }


def selectors(expression: str) -> list[str]:
    """What an expression speaks of."""
    return re.findall(r"tenuto_\w+(?:\{[^}]*\})?", expression)


async def until_known(watched: Watched, expressions: Iterable[str]) -> None:
    """Wait until there is everything that these speak of: what the engine finds wrong is seen with its next look."""
    unknown = {selector for expression in expressions for selector in selectors(expression)}
    assert unknown

    async def all_known() -> bool:
        for selector in list(unknown):
            if await watched.system.prometheus.has_series(selector):
                unknown.remove(selector)
        return not unknown

    try:
        await until(all_known, "everything is known")
    except TimeoutError:
        pytest.fail(f"there is nothing that is: {unknown}")


def scaled_by(manifest: str) -> str:
    """What KEDA asks Prometheus, by the manifest of a scaler."""
    [trigger] = yaml.safe_load((ALERTS.parent / manifest).read_text())["spec"]["triggers"]
    return trigger["metadata"]["query"]


async def test_a_pool_is_scaled_by_its_tasks(watched: Watched) -> None:
    """From nothing, which is known before there is any worker, up and back to nothing."""
    system = watched.system
    of_any = scaled_by("scaling/scaled-object.yaml")
    of_gated = of_any.replace('"pool"', f'"{GATED_POOL}"')  # as kustomize puts the pool's name in
    assert of_gated != of_any

    async def stands_at(tasks: int, expression: str = of_gated) -> None:
        async def reached() -> bool:
            return await system.prometheus.value(expression) == tasks

        await until(reached, f"{expression} is {tasks}")

    await stands_at(0)
    await system.start_gated(6)
    await stands_at(6)
    await system.pool_worker()
    # Those that a worker has still count: it must not be taken away from under them.
    await stands_at(1, f'sum(tenuto_pool_tasks{{pool="{GATED_POOL}", state="held"}}) >= bool 2')
    await stands_at(6)
    system.gate.touch()
    await stands_at(0)


async def test_orchestrators_are_scaled_by_what_waits_for_them(watched: Watched) -> None:
    asked = scaled_by("overlays/production/scaling.yaml")

    async def known() -> bool:
        return await watched.system.prometheus.value(asked) is not None

    await until(known, f"{asked} has a value")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda file: file.stem)
async def test_every_query_of_every_dashboard_has_data(watched: Watched, dashboard: Path) -> None:
    empty = queries(dashboard)
    assert empty

    async def all_answered() -> bool:
        await watched.system.load()
        for name, expression in list(empty.items()):
            if await watched.system.prometheus.has_data(expression, since=watched.since):
                del empty[name]
        return not empty

    try:
        await until(all_answered, "every query has data")
    except TimeoutError:
        pytest.fail(f"no data: {json.dumps(empty, indent=2)}")
    # A query that falls back on zero has data even where it speaks of what there is not.
    await until_known(watched, queries(dashboard).values())


async def test_every_choice_of_a_dashboard_has_something_to_choose(watched: Watched) -> None:
    asked = {
        variable["query"]
        for dashboard in DASHBOARDS
        for variable in json.loads(dashboard.read_text())["templating"]["list"]
        if variable["type"] == "query"
    }
    await watched.system.load()
    for query in asked:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        metric, label = chosen(found[1]), found[2]

        async def has_values(metric: str = metric, label: str = label) -> bool:
            return bool(await watched.system.prometheus.label_values(label, of=metric))

        await until(has_values, f"{query} has values")


async def test_every_alert_is_evaluated_and_speaks_of_what_there_is(watched: Watched) -> None:
    prometheus = watched.system.prometheus
    await watched.system.load()
    rules = {rule["name"]: rule for rule in await prometheus.rules()}
    assert len(rules) == sum(file.read_text().count("- alert:") for file in ALERTS.glob("*[!t].yaml"))
    await until_known(watched, [rule["query"] for rule in rules.values()])

    async def healthy() -> bool:
        return all(rule["health"] == "ok" for rule in await prometheus.rules())

    await until(healthy, "every rule has been evaluated without an error")


async def test_the_alerts_on_what_is_wrong_here_begin_to_ring_and_no_others(watched: Watched) -> None:
    """There are an instance that stalled and a dead letter; all else is well."""
    expected = {"TenutoStalled", "TenutoDeadLetters", "TenutoStuck"}

    async def ringing() -> bool:
        return {
            rule["name"] for rule in await watched.system.prometheus.rules() if rule["state"] != "inactive"
        } == expected

    await until(ringing, f"exactly {expected} ring")


async def test_latencies_point_to_the_traces_that_were_sampled(watched: Watched) -> None:
    prometheus = watched.system.prometheus
    for metric in ("tenuto_workflow_execution_seconds", "tenuto_activity_execution_seconds"):

        async def points(metric: str = metric) -> bool:
            await watched.system.load()
            found = await prometheus.exemplars(f"{metric}_bucket", since=watched.since)
            return {"trace_id": f"{TRACE_ID:032x}"} in found

        await until(points, f"{metric} has an exemplar")
