"""A RabbitMQ node of the tests' own, from installed programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pika
import pika.exceptions

from tests.support.processes import OwnedProcess, ProcessFailedError, free_port
from tests.support.reaper import Reaper

__all__ = ["RabbitMQServer", "find_rabbitmq_programs", "rabbitmq_answers"]

_START = 90.0
_GRACE = 30.0


def find_rabbitmq_programs() -> Path | None:
    """The folder of `rabbitmq-server` and `rabbitmqctl`.

    Debian's wrappers on the PATH insist on the account `rabbitmq` and its home; the programs behind them do not.
    """
    debian = Path("/usr/lib/rabbitmq/bin")
    if (debian / "rabbitmq-server").exists():
        return debian
    found = shutil.which("rabbitmq-server")
    return None if found is None else Path(found).parent


def rabbitmq_answers(url: str) -> str | None:
    """None when a broker takes our connection; else why not, in words."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = 5.0
    parameters.stack_timeout = 10.0
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        return f"{type(error).__name__} {error}".strip()
    return None


class RabbitMQServer:
    """A node on a free port, with its own data folder, Erlang cookie and port mapper."""

    name = "RabbitMQ"

    def __init__(self, programs: Path, folder: Path, reaper: Reaper) -> None:
        self._programs = programs
        self._folder = folder
        self._reaper = reaper
        self._port = free_port()
        self._environment = self._make_environment()
        self._epmd: OwnedProcess | None = None
        self._process: OwnedProcess | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def log(self) -> Path:
        return self._folder / "rabbitmq.log"

    def launch(self) -> None:
        """Start the node and wait until it takes connections. Tolerates repeats."""
        if self.running:
            return
        self._start_port_mapper()
        self._process = OwnedProcess(
            [str(self._programs / "rabbitmq-server")],
            log=self.log,
            env=self._environment,
            cwd=self._folder,
            reaper=self._reaper,
        )
        self._process.until_ready(lambda: rabbitmq_answers(self.url) is None, timeout=_START)

    def shut_down(self) -> None:
        """Stop the node in good order. Tolerates repeats."""
        if self._process is not None and self._process.running:
            self._process.end(grace=_GRACE)

    def kill(self) -> None:
        """Kill the node at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End everything that belongs to the node."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against the node; returns its output.

        Raises:
            ProcessFailedError: it failed; the message has what it said.
        """
        done = subprocess.run(
            [str(self._programs / "rabbitmqctl"), "--quiet", *arguments],
            env=self._environment,
            cwd=self._folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            raise ProcessFailedError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def enable_management(self) -> int:
        """Switch the management plugin on; returns the port that it listens on."""
        port = free_port()
        listener = f'[{{port, {port}}}, {{ip, "127.0.0.1"}}]'
        self.control("eval", f"application:set_env(rabbitmq_management, listener, {listener}).")
        subprocess.run(
            [str(self._programs / "rabbitmq-plugins"), "enable", "rabbitmq_management"],
            env=self._environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
        return port

    def _start_port_mapper(self) -> None:
        """A node would start a mapper as a daemon that outlives it; this one is ours to end."""
        program = shutil.which("epmd")
        if program is None or (self._epmd is not None and self._epmd.running):
            return
        self._epmd = OwnedProcess(
            [program],
            log=self._folder / "epmd.log",
            env=self._environment,
            cwd=self._folder,
            reaper=self._reaper,
        )
        self._epmd.until_ready(self._port_mapper_answers, timeout=10)

    def _port_mapper_answers(self) -> bool:
        names = subprocess.run(["epmd", "-names"], env=self._environment, check=False, capture_output=True)
        return names.returncode == 0

    def _make_environment(self) -> dict[str, str]:
        home = self._folder / "home"
        home.mkdir(parents=True)
        plugins = self._folder / "enabled_plugins"
        plugins.write_text("[].\n")
        configuration = self._folder / "rabbitmq.conf"
        configuration.write_text("loopback_users.guest = false\ndisk_free_limit.absolute = 50MB\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return inherited | {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tenuto-{self._port}-{time.time_ns()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "no-rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "no-advanced.config"),
        }
