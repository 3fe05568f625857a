"""Clusters on private servers, some of whose processes may be mutants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.acceptance.faults.campaign import CHAOS_APP, Surroundings
from tests.support.cluster import Cluster, Process
from tests.support.reaper import Reaper
from tests.support.servers import PrivatePostgres, PrivateRabbitMQ


class MutableCluster(Cluster):
    """A cluster that can have mutants (`mutated.py`) among its orchestrators."""

    async def mutant(self, *mutations: str) -> Process:
        """Start an orchestrator with these mutations; with none it is a sound one."""
        if not mutations:
            return await self.orchestrator()
        command = ["-m", "tests.acceptance.faults.mutated", ",".join(mutations), "orchestrator", self._target]
        process = self._start(command, name="mutant")
        await self._until_up(process)
        return process


class MakeCluster(Protocol):
    def __call__(
        self, *, broker_url: str | None = None, settings: Mapping[str, str] | None = None
    ) -> MutableCluster: ...


@pytest.fixture
def around(
    private_rabbitmq: PrivateRabbitMQ,
    private_postgres: PrivatePostgres,
    namespace: str,
    request: pytest.FixtureRequest,
) -> Surroundings:
    folder: Path = request.getfixturevalue("tmp_path")
    reaper: Reaper = request.getfixturevalue("reaper")
    show_log: Callable[[Path], None] = request.getfixturevalue("show_log")
    return Surroundings(
        rabbitmq=private_rabbitmq,
        postgres=private_postgres,
        namespace=namespace,
        folder=folder,
        reaper=reaper,
        show_log=show_log,
    )


@pytest.fixture
def make_mutable_cluster(around: Surroundings) -> Iterator[MakeCluster]:
    clusters: list[MutableCluster] = []

    def make(*, broker_url: str | None = None, settings: Mapping[str, str] | None = None) -> MutableCluster:
        cluster = MutableCluster(
            around.postgres.url,
            around.rabbitmq.url if broker_url is None else broker_url,
            around.namespace,
            CHAOS_APP,
            folder=around.folder,
            reaper=around.reaper,
            show_log=around.show_log,
            settings=settings,
        )
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.kill()
