"""The sample app, and a workflow whose activities take so long that faults meet them at work."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from tenuto import RetryPolicy, WorkflowContext, activity, when_all
from tests.support import sample_app

__all__ = ["Toil", "app", "expected_toil", "toil"]

app = sample_app.app


@dataclass(frozen=True, kw_only=True)
class Task:
    """A piece of work that takes `seconds`, and fails in every attempt before `succeed_in`."""

    name: str
    seconds: float
    succeed_in: int


@dataclass(frozen=True, kw_only=True)
class Toil:
    """`tasks` pieces of work at the same time, each of which takes up to `seconds`."""

    name: str
    tasks: int
    seconds: float


@app.activity(
    pool=sample_app.EVEN_POOL, retry=RetryPolicy(max_attempts=5, first_interval=0.2, backoff_coefficient=1.5)
)
async def labour(task: Task) -> str:
    sample_app.note_execution()
    await asyncio.sleep(task.seconds)
    if activity.context().attempt < task.succeed_in:
        raise RuntimeError(f"{task.name} fails as told")
    return _stamp(task)


@app.workflow
async def toil(ctx: WorkflowContext, order: Toil) -> list[str]:
    """Two rounds of work with a nap between them."""
    first = await when_all([ctx.call_activity(labour, task) for task in _tasks(order, 0)])
    await ctx.create_timer(order.seconds)
    second = await when_all([ctx.call_activity(labour, task) for task in _tasks(order, 1)])
    return [*first, *second]


def expected_toil(order: Toil) -> list[str]:
    return [_stamp(task) for part in (0, 1) for task in _tasks(order, part)]


def _tasks(order: Toil, part: int) -> list[Task]:
    return [
        Task(
            name=f"{order.name}/{part}/{number}",
            seconds=order.seconds * (number + 1) / order.tasks,
            succeed_in=1 + number % 2,
        )
        for number in range(order.tasks)
    ]


def _stamp(task: Task) -> str:
    return hashlib.sha256(task.name.encode()).hexdigest()[:12]
