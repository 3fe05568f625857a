"""What Prometheus is told, and what it is to wake somebody for."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path

import pytest

from tenuto.core.status import LIVE
from tenuto.doctor import Look, Onlooker, Patience
from tenuto.errors import SettingsError, StoreUnavailableError
from tests.unit.doctor.scene import PARTITIONS, health, lease, look, member, waiting

pytest.importorskip("prometheus_client", reason="needs the extra tenuto[metrics]")

from prometheus_client import CollectorRegistry

from tenuto.metrics.liveness import LivenessCollector, LivenessWatch
from tenuto.metrics.server import MetricsServer

ALERTS = Path(__file__).resolve().parents[3] / "k8s/alerts"


def collected(seen: Look | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    collector = LivenessCollector(Patience())
    collector.look = seen
    registry.register(collector)
    return registry


def test_before_the_first_look_nothing_is_told() -> None:
    assert list(collected(None).collect()) == []


def test_what_waits_is_told_with_its_age() -> None:
    told = collected(look(health=health(inbox=waiting(minutes=2)))).get_sample_value
    assert told("tenuto_waiting", {"place": "inbox"}) == 2
    assert told("tenuto_waiting_oldest_seconds", {"place": "inbox"}) == 120
    assert told("tenuto_waiting_oldest_seconds", {"place": "outbox"}) == 0
    assert told("tenuto_problems", {"kind": "inbox-old"}) == 1
    assert told("tenuto_problems", {"kind": "outbox-old"}) is None


def test_owners_and_pools_are_told() -> None:
    leases = [lease(0), lease(1, owner=None, remaining=0.0), lease(2, epoch=5)]
    told = collected(look(health=health(leases=leases))).get_sample_value
    assert told("tenuto_partitions") == PARTITIONS
    assert told("tenuto_partitions_unowned") == 1
    assert told("tenuto_lease_acquisitions_total") == 7
    assert told("tenuto_orchestrators") == 1
    assert told("tenuto_pool_workers", {"pool": "payments"}) == 1
    assert {
        s.value for status in LIVE if (s := status) and told("tenuto_instances", {"status": s}) == 0
    } == LIVE


class Looks(Onlooker):
    """Looks that succeed, or not, as told."""

    def __init__(self, *looks: Look | Exception) -> None:
        self.looks = list(looks)
        self.all_seen = asyncio.Event()

    async def look(self, pools: object = ()) -> Look:
        if len(self.looks) == 1:
            self.all_seen.set()
            await asyncio.Event().wait()
        one = self.looks.pop(0)
        if isinstance(one, Exception):
            raise one
        return one


async def test_a_look_that_fails_leaves_the_last_one() -> None:
    collector = LivenessCollector(Patience())
    first, second = look(), look(members=[member(), member(owner="b")])
    onlooker = Looks(first, StoreUnavailableError("away"), second, look())
    watch = LivenessWatch(onlooker, collector, interval=0)
    await watch.start()
    await onlooker.all_seen.wait()
    assert collector.look is second
    await watch.stop()
    await watch.stop()
    await watch.wait()


async def test_a_bug_ends_the_watch() -> None:
    watch = LivenessWatch(Looks(ZeroDivisionError(), look()), LivenessCollector(Patience()), interval=0)
    await watch.start()
    with pytest.raises(ZeroDivisionError):
        await watch.wait()
    await watch.stop()


async def test_the_port_serves_what_is_collected() -> None:
    collector = LivenessCollector(Patience())
    collector.look = look()
    server = MetricsServer([collector], port=0, address="127.0.0.1")
    await server.start()
    url = f"http://127.0.0.1:{server.port}/metrics"
    body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
    assert b"tenuto_partitions 3.0" in body
    taken = MetricsServer([], port=server.port, address="127.0.0.1")
    with pytest.raises(SettingsError, match="TENUTO_METRICS_PORT"):
        await taken.start()
    await server.stop()
    await server.stop()
    await server.wait()


def test_alerts_speak_of_what_is_told() -> None:
    known = {sample.name for metric in collected(look()).collect() for sample in metric.samples}
    known |= {metric.name for metric in collected(look()).collect()}
    for file in ("liveness.yaml", "liveness_test.yaml"):
        spoken_of = set(re.findall(r"\btenuto_\w+", (ALERTS / file).read_text()))
        assert spoken_of
        assert spoken_of <= known
