"""Branches: concurrent lines of one workflow, numbered by the history and not by timing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tenuto import App, WorkflowContext, when_all
from tenuto.core.events import ChildScheduled, Command
from tenuto.core.status import Status
from tests.unit.core.bench import RUN, Bench, begun, child_done, done

app = App("branches")


@app.activity
def work(number: int) -> int:
    return number


@app.workflow
async def branches_of_branches(ctx: WorkflowContext) -> list[Any]:
    async def twig(name: str) -> str:
        await ctx.call_activity(work, 1)
        await ctx.call_child_workflow("child", name)
        return f"{name} {ctx.new_uuid()}"

    async def branch(name: str) -> list[str]:
        await ctx.call_activity(work, 1)
        return await when_all([ctx.spawn(twig(f"{name}{number}")) for number in range(2)])

    return await when_all([ctx.spawn(branch("a")), ctx.spawn(branch("b"))])


@pytest.mark.semantics("Branches", "Branches number their commands")
@pytest.mark.parametrize("seed", range(20))
def test_spawned_branches_have_ids_that_follow_from_the_history_and_not_from_timing(seed: int) -> None:
    """Answers in any order: commands and children are numbered as the history lets the branches run, so each order
    replays, and the same order gives the same ids."""

    def run() -> Bench:
        bench, chance = begun(app, "branches_of_branches"), Random(seed)
        while bench.status is Status.RUNNING:
            batch = list(bench.state.pending.values())
            chance.shuffle(batch)
            answers = [
                done(p.command.id, 1) if p.kind == "activity" else child_done(p.command.id)
                for p in batch[: chance.randint(1, len(batch))]
            ]
            bench.go(*answers)  # which replays the whole from nothing
            if chance.random() < 0.3:
                bench.cold_start()
        return bench

    one, two = run(), run()
    assert one.history == two.history
    assert one.output == two.output
    commands = [event.id for event in one.history if isinstance(event, Command)]
    assert commands == list(range(len(commands)))
    children = [event.instance for event in one.history if isinstance(event, ChildScheduled)]
    assert children == [f"order-17:{RUN[:8]}:{number}" for number in range(1, 5)]
