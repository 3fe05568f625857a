"""Fixtures for every test: servers, fresh databases, namespaces of their own. `tests/support/servers.py` finds them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tests.support.postgres import PostgresServer, create_database, drop_database
from tests.support.processes import tail
from tests.support.queues import QueueSweeper
from tests.support.rabbitmq import RabbitMQServer
from tests.support.reaper import Reaper
from tests.support.servers import (
    Found,
    MissingServerError,
    PrivatePostgres,
    PrivateRabbitMQ,
    find_postgres,
    find_rabbitmq,
    new_postgres,
    new_rabbitmq,
)

T = TypeVar("T")

_LOGS = pytest.StashKey[list[Path]]()
_LEFTOVERS = pytest.StashKey[list[str]]()
_NEEDS = "Skipped: needs "


def pytest_configure() -> None:
    """The developer's own settings must not reach the tests, in this process or in those that it starts."""
    for name in [name for name in os.environ if name.startswith("TENUTO_")]:
        if not name.startswith("TENUTO_TEST_"):
            del os.environ[name]


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """Ends the processes that tests start, even when the session is killed."""
    reaper = Reaper()
    yield reaper
    reaper.close()


@pytest.fixture
def show_log(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Call it with a log file to have its end printed if the test fails."""
    return request.node.stash.setdefault(_LOGS, []).append


@pytest.fixture(scope="session")
def _rabbitmq(reaper: Reaper, request: pytest.FixtureRequest) -> Iterator[tuple[Found, QueueSweeper]]:
    found = _or_skip(lambda: find_rabbitmq(reaper))
    server = found.server if isinstance(found.server, RabbitMQServer) else None
    sweeper = QueueSweeper(url=found.url, server=server)
    if os.environ.get("CI") == "true":  # a machine of its own: nobody else is in the middle of a test
        sweeper.sweep_abandoned()
    yield found, sweeper
    sweeper.sweep()
    request.config.stash[_LEFTOVERS] = sweeper.leftovers
    found.close()


@pytest.fixture(scope="session")
def _postgres(reaper: Reaper) -> Iterator[Found]:
    found = _or_skip(lambda: find_postgres(reaper))
    yield found
    found.close()


@pytest.fixture(scope="session")
def rabbitmq_url(_rabbitmq: tuple[Found, QueueSweeper]) -> str:
    """A RabbitMQ that all tests share: use queues whose names begin with your `namespace`."""
    return _rabbitmq[0].url


@pytest.fixture
def postgres_url(_postgres: Found) -> Iterator[str]:
    """A fresh, empty database, as a URL for SQLAlchemy with asyncpg; dropped afterwards."""
    url = create_database(_postgres.url)
    yield url
    drop_database(url)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A short unique name. Queues on the shared RabbitMQ whose names begin with it are deleted afterwards."""
    name = f"t{secrets.token_hex(5)}"
    yield name
    if "rabbitmq_url" in request.fixturenames:
        _, sweeper = request.getfixturevalue("_rabbitmq")
        sweeper.add(name)


@pytest.fixture(scope="session")
def _own_rabbitmq(reaper: Reaper) -> Iterator[RabbitMQServer]:
    server = _or_skip(lambda: new_rabbitmq(reaper))
    yield server
    server.close()


@pytest.fixture(scope="session")
def _own_postgres(reaper: Reaper) -> Iterator[PostgresServer]:
    server = _or_skip(lambda: new_postgres(reaper))
    yield server
    server.close()


@pytest.fixture
def private_rabbitmq(_own_rabbitmq: RabbitMQServer, show_log: Callable[[Path], None]) -> PrivateRabbitMQ:
    """A RabbitMQ that the test may stop, kill and wipe. Running when the test begins."""
    show_log(_own_rabbitmq.log)
    _own_rabbitmq.launch()
    return PrivateRabbitMQ(url=_own_rabbitmq.url, server=_own_rabbitmq)


@pytest.fixture
def private_postgres(
    _own_postgres: PostgresServer, show_log: Callable[[Path], None]
) -> Iterator[PrivatePostgres]:
    """A PostgreSQL that the test may stop and kill, with a fresh database. Running when the test begins."""
    show_log(_own_postgres.log)
    _own_postgres.launch()
    url = create_database(_own_postgres.url)
    yield PrivatePostgres(url=url, server=_own_postgres)
    _own_postgres.launch()
    drop_database(url)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program that checks alerts."""
    return _program_of_prometheus("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The program that scrapes, and answers queries."""
    return _program_of_prometheus("prometheus")


def _program_of_prometheus(name: str) -> str:
    found = shutil.which(name)
    return found if found is not None else _give_up(f"needs {name} (Debian: apt-get install prometheus)")


def _or_skip(get: Callable[[], T]) -> T:
    """What `get` gets; where a server is missing the test is skipped, or fails on the CI machine."""
    try:
        return get()
    except MissingServerError as error:
        _give_up(str(error))


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI={os.environ['CI']}, and this test {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        for log in item.stash.get(_LOGS, []):
            report.sections.append((f"end of {log.name}", tail(log)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    wanting: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if reason.startswith(_NEEDS):
            wanting.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for reason, tests in sorted(wanting.items()):
        terminalreporter.section("tests skipped for want of a server", yellow=True)
        terminalreporter.write_line(f"{len(tests)} skipped; each {reason}")
        for test in tests:
            terminalreporter.write_line(f"  {test}")
    if leftovers := config.stash.get(_LEFTOVERS, []):
        terminalreporter.section("queues left on the broker", yellow=True)
        terminalreporter.write_line(
            f"`rabbitmqctl` was not to be used; delete the queues of: {' '.join(leftovers)}"
        )
