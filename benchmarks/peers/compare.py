"""Tenuto and its peers, side by side in one run: the same workloads on the same machine, one after the other in each
round, so that whatever else the machine does meets them all. Prints a table in Markdown (see ../README.md)."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / ".venv/bin/python"
TIMEOUT = 1800.0
"""Seconds that one measurement may take."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something to be measured, and how much of it."""

    title: str
    workload: str
    workflows: int
    steps: int
    in_flight: int
    tenuto: Sequence[tuple[str, Sequence[str]]]
    """What it is called, and the arguments of `tenuto bench`."""
    peers: Sequence[tuple[str, Sequence[str]]]
    """What it is called, and the program with its arguments."""


RESTATE = ("Restate, in process", ["on_restate.py"])
DISPATCHED = ("Restate, dispatched", ["on_restate.py", "--variant", "dispatched"])
DBOS = ("DBOS", ["on_dbos.py"])
DBOS_ON_SQLITE = ("DBOS on SQLite", ["on_dbos.py", "--variant", "sqlite"])
CELERY = ("Celery", ["on_celery.py"])
ROWS = (
    Row(
        title="chain of 5, many at once",
        workload="chain",
        workflows=2000,
        steps=5,
        in_flight=500,
        tenuto=[("Tenuto", ["chain"]), ("Tenuto, local activities", ["local"])],
        peers=[RESTATE, DISPATCHED, DBOS, CELERY],
    ),
    Row(
        title="no-op, many at once",
        workload="noop",
        workflows=3000,
        steps=1,
        in_flight=500,
        tenuto=[("Tenuto", ["noop"])],
        peers=[RESTATE, DBOS, CELERY],
    ),
    Row(
        title="fan-out 1 × 1,000",
        workload="fanout",
        workflows=1,
        steps=1000,
        in_flight=1,
        tenuto=[("Tenuto", ["fanout"])],
        peers=[DISPATCHED, DBOS, CELERY],
    ),
    Row(
        title="fan-out 100 × 100",
        workload="fanout",
        workflows=100,
        steps=100,
        in_flight=100,
        tenuto=[("Tenuto", ["fanout"])],
        peers=[DISPATCHED, DBOS, CELERY],
    ),
    Row(
        title="chain of 5, one at a time",
        workload="chain",
        workflows=200,
        steps=5,
        in_flight=1,
        tenuto=[("Tenuto", ["latency"]), ("Tenuto, local activities", ["local-latency"])],
        peers=[RESTATE, DISPATCHED, DBOS, CELERY],
    ),
    Row(
        title="chain of 5, many at once, embedded",
        workload="chain",
        workflows=1000,
        steps=5,
        in_flight=500,
        tenuto=[("Tenuto on SQLite", ["chain"])],
        peers=[DBOS_ON_SQLITE],
    ),
)


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the median counts")
    parser.add_argument("--only", default="", help="rows whose title holds this text")
    parser.add_argument("--share", type=float, default=1.0, help="of the workflows, for a quick look")
    parser.add_argument("--database-url", default="postgresql://postgres@127.0.0.1/postgres")
    parser.add_argument("--broker-url", default="amqp://guest:guest@127.0.0.1//")
    given = parser.parse_args()
    for row in ROWS:
        if given.only in row.title:
            print_row(row, measure(row, given), given)


def measure(row: Row, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """All rounds of a row: the documents by contender."""
    contenders = {name: tenuto_command(row, arguments, given) for name, arguments in row.tenuto}
    contenders |= {name: peer_command(row, arguments, given) for name, arguments in row.peers}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for number in range(given.rounds):
        for name, command in contenders.items():
            print(f"{row.title}, round {number + 1} of {given.rounds}: {name}", file=sys.stderr)
            done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr.decode()}")
            document = json.loads(done.stdout)
            if not document["verified"]:
                sys.exit(f"{name} gave wrong results")
            found[name].append(document)
    return found


def size(row: Row, given: argparse.Namespace) -> list[str]:
    """How much is asked for, in arguments that both sides understand."""
    workflows = max(1, round(row.workflows * given.share))
    return ["--workflows", f"{workflows}", "--steps", f"{row.steps}", "--in-flight", f"{row.in_flight}"]


def tenuto_command(row: Row, arguments: Sequence[str], given: argparse.Namespace) -> list[str]:
    """`tenuto bench` on the same servers, or embedded."""
    command = [sys.executable, "-m", "tenuto_gateway.cli", "bench", *arguments, *size(row, given)]
    command += ["--repeat", "1", "--json"]
    if "embedded" in row.title:
        return command
    database = given.database_url.replace("postgresql://", "postgresql+asyncpg://", 1)
    return [*command, "--broker-url", given.broker_url, "--database-url", database]


def peer_command(row: Row, arguments: Sequence[str], given: argparse.Namespace) -> list[str]:
    """A peer's program, in the peers' own environment."""
    program, *more = arguments
    servers = ["--database-url", given.database_url, "--broker-url", given.broker_url]
    return [f"{PEERS}", f"{HERE / program}", row.workload, *size(row, given), *servers, *more]


def print_row(row: Row, found: dict[str, list[dict[str, Any]]], given: argparse.Namespace) -> None:
    """A table of the medians, each with its ratio to the first contender."""
    workflows = max(1, round(row.workflows * given.share))
    print(f"\n**{row.title}** ({workflows:,} workflows)\n")
    print("| | seconds | workflows/s | p50 ms | p99 ms | Tenuto is faster by |\n|---|---|---|---|---|---|")
    ours = None
    for name, documents in found.items():
        seconds = statistics.median(document["seconds"] for document in documents)
        ours = ours or seconds
        p50, p99 = (statistics.median(d["latency_ms"][p] for d in documents) for p in ("p50", "p99"))
        print(
            f"| {name} | {seconds:.2f} | {workflows / seconds:,.0f} | {p50:.1f} | {p99:.1f} "
            f"| {seconds / ours:.2f} × |"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
