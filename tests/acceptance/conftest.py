"""Clusters of real processes for the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.reaper import Reaper

SAMPLE_APP = "tests.support.sample_app:app"


@pytest.fixture
def make_cluster(
    namespace: str, reaper: Reaper, show_log: Callable[[Path], None], tmp_path: Path
) -> Iterator[Callable[[str, str], Cluster]]:
    """Makes a cluster of the sample app from the URLs of a database and a broker; killed when the test ends."""
    clusters: list[Cluster] = []

    def make(database_url: str, broker_url: str) -> Cluster:
        cluster = Cluster(
            database_url,
            broker_url,
            namespace,
            SAMPLE_APP,
            folder=tmp_path,
            reaper=reaper,
            show_log=show_log,
        )
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.kill()
