"""Servers from Docker images, where neither a running server nor installed programs are at hand."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping

from tests.support.processes import ProcessFailedError
from tests.support.reaper import Reaper

__all__ = ["docker_answers", "run_container"]

_PULL_AND_START = 300.0


def docker_answers() -> bool:
    """Whether a Docker engine is at hand."""
    if shutil.which("docker") is None:
        return False
    try:
        return _docker("info", "--format", "{{.ServerVersion}}", timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def run_container(
    image: str,
    port: int,
    url: str,
    answers: Callable[[str], str | None],
    reaper: Reaper,
    *,
    env: Mapping[str, str],
) -> str:
    """Start a container that ends with the session; returns `url` with `{port}` filled in, once it answers.

    Raises:
        ProcessFailedError: the image cannot be had, or the server in it does not become ready.
    """
    name = f"tenuto-test-{secrets.token_hex(6)}"
    reaper.container(name)
    variables = [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
    started = _docker(
        "run",
        "--detach",
        "--name",
        name,
        "--publish",
        f"127.0.0.1::{port}",
        *variables,
        image,
        timeout=_PULL_AND_START,
    )
    if started.returncode != 0:
        raise ProcessFailedError(f"docker run {image}: {started.stderr.strip()}")
    published = _docker("port", name, f"{port}/tcp", timeout=10).stdout.strip().splitlines()[0]
    found = url.format(port=published.rpartition(":")[2])
    deadline = time.monotonic() + 90
    while (why := answers(found)) is not None:
        if time.monotonic() > deadline:
            raise ProcessFailedError(f"{image} in Docker was not ready after 90 s: {why}")
        time.sleep(0.2)
    return found


def _docker(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], check=False, capture_output=True, text=True, timeout=timeout
    )
