"""Celery: each step is a task, a chain is carried from worker to worker in its messages.

As durable as it gets: quorum queues, publisher confirms, acknowledgement after the task; results in a Redis that
syncs its log at every write, which is also what chords are quickest with.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path

import driving
from celery import Celery, chord
from celery import chain as in_a_row
from celery.canvas import Signature

QUEUE = os.environ.get("BENCH_QUEUE", "bench")
app = Celery("on_celery", broker=os.environ.get("BENCH_BROKER"), backend=os.environ.get("BENCH_RESULTS"))
app.conf.update(
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    worker_prefetch_multiplier=50,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    redis_max_connections=100,
)


@app.task(ignore_result=True)
def add_one(number: int) -> int:
    """The shortest task, within a chain: its result goes to the next one only."""
    return number + 1


@app.task
def last(number: int) -> int:
    """The shortest task, whose result is wanted."""
    return number + 1


@app.task
def total(numbers: list[int]) -> int:
    """What a fan-out comes to."""
    return sum(numbers)


@app.task
def noop(number: int) -> int:
    """Nothing at all."""
    return number


def canvas(load: driving.Load) -> Signature:
    """One workflow."""
    match load.workload:
        case "chain":
            return in_a_row(add_one.s(0), *[add_one.s() for _ in range(load.steps - 2)], last.s())
        case "fanout":
            return chord([last.s(number) for number in range(load.steps)], total.s())
        case _:
            return noop.s(load.argument)


def drive(load: driving.Load) -> driving.Sample:
    """Keep so many in flight; the oldest is waited for first."""
    sample = driving.Sample()
    flying: deque[tuple[float, object]] = deque()
    begun = time.perf_counter()

    def land() -> None:
        began, result = flying.popleft()
        value = result.get(timeout=600)
        sample.latencies.append(time.perf_counter() - began)
        sample.wrong += value != load.expected

    for _ in range(load.workflows):
        if len(flying) >= load.in_flight:
            land()
        flying.append((time.perf_counter(), canvas(load).apply_async()))
    while flying:
        land()
    sample.seconds = time.perf_counter() - begun
    return sample


def main() -> None:
    """Measure on a queue and a Redis of its own."""
    load, given = driving.load_from_arguments()
    port, queue = driving.free_port(), f"celery_bench_{os.getpid()}"
    with driving.scratch() as folder:
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        redis += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        ours = {
            "BENCH_QUEUE": queue,
            "BENCH_BROKER": given.broker_url,
            "BENCH_RESULTS": f"redis://127.0.0.1:{port}/0",
        }
        here = Path(__file__)
        worker = [sys.executable, "-m", "celery", "--app", "on_celery", "worker", "--concurrency", "2"]
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
        app.conf.update(broker_url=given.broker_url, result_backend=ours["BENCH_RESULTS"])
        app.conf.update(task_default_queue=queue)
        with driving.running(redis, folder / "redis.log"):
            driving.wait_for_port(port)
            with driving.running(worker, folder / "worker.log", PYTHONPATH=str(here.parent), **ours):
                try:
                    drive(load.warm_up())
                    driving.report(load, drive(load))
                finally:
                    with app.connection_for_write() as connection:
                        connection.default_channel.queue_delete(queue)


if __name__ == "__main__":
    main()
