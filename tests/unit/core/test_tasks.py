"""Groups, branches, cancelling."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import App, TaskCancelledError, WorkflowCodeError, WorkflowContext, when_all, when_any
from tenuto.core.events import TaskCancelled
from tenuto.core.letters import Terminate
from tenuto.core.status import Status
from tenuto.core.tasks import Task
from tenuto.core.turn import TimerKey
from tests.unit.core.bench import begun, done, due, event, failed, letters_of, names

app = App("tasks")


@app.activity
def work(number: int) -> int:
    return number


@app.workflow
async def all_of_three(ctx: WorkflowContext) -> list[int]:
    return await when_all([ctx.call_activity(work, n) for n in range(3)])


@app.workflow
async def nothing_at_all(ctx: WorkflowContext) -> list[int]:
    empty: list[Task[int]] = []
    return await when_all(empty)


@app.workflow
async def nothing_at_any(ctx: WorkflowContext) -> str:
    empty: list[Task[int]] = []
    try:
        await when_any(empty)
    except ValueError as error:
        return str(error)
    return "no error"


@app.workflow
async def any_of_two(ctx: WorkflowContext) -> list[Any]:
    tasks = [ctx.call_activity(work, n) for n in range(2)]
    winner = await when_any(tasks)
    loser = tasks[1 - tasks.index(winner)]
    states = [winner.is_complete, winner.is_failed, loser.is_complete]
    first = "failed" if winner.is_failed else winner.get_result()
    return [tasks.index(winner), first, *states, await loser]


@app.workflow
async def twice_and_shared(ctx: WorkflowContext) -> list[Any]:
    one, two = ctx.call_activity(work, 1), ctx.call_activity(work, 2)
    both = when_all([one, two, one])
    any_of = when_any([two, both])
    return [await both, (await any_of) is two, await when_all([both, two]), await one]


@app.workflow
async def nested(ctx: WorkflowContext) -> str:
    slow = ctx.call_activity(work, 1)
    winner = await when_any([when_any([slow]), slow])
    return type(winner).__name__


@app.workflow
async def branches(ctx: WorkflowContext) -> list[Any]:
    async def chain(start: int) -> int:
        return await ctx.call_activity(work, await ctx.call_activity(work, start))

    same = chain(3)
    return await when_all([chain(1), chain(2), same, same])


@app.workflow
async def spawned(ctx: WorkflowContext) -> list[str]:
    log: list[str] = []

    async def branch(name: str) -> str:
        log.append(f"{name} begins")
        await ctx.call_activity(work, 1)
        log.append(f"{name} ends")
        return name

    one, two = ctx.spawn(branch("one")), ctx.spawn(branch("two"))
    log.append("main waits")
    await when_any([one, two])
    log.append("main goes on")
    return log


@app.workflow
async def branch_that_fails(ctx: WorkflowContext) -> str:
    async def fails() -> None:
        await ctx.call_activity(work, 1)
        raise KeyError("in the branch")

    branch = ctx.spawn(fails())
    try:
        await branch
    except KeyError as first:
        try:
            await branch
        except KeyError as second:
            return f"{first is second} {second}"
    return "no error"


@pytest.mark.semantics("when_all")
def test_when_all_gives_results_in_input_order() -> None:
    bench = begun(app, "all_of_three")
    bench.go(done(2, 20))
    bench.go(done(0, 0), done(1, 10))
    assert bench.output == [0, 10, 20]


@pytest.mark.semantics("when_all")
def test_when_all_waits_for_all_and_raises_the_first_failure_in_input_order() -> None:
    bench = begun(app, "all_of_three")
    bench.go(failed(2, "LastError"))
    bench.go(failed(1, "MiddleError"))
    assert bench.status is Status.RUNNING
    bench.go(done(0, 0))
    assert bench.failure.cause is not None
    assert bench.failure.cause.type == "MiddleError"


@pytest.mark.semantics("when_all")
def test_when_all_of_nothing() -> None:
    bench = begun(app, "nothing_at_all")
    assert bench.output == []


def test_when_any_of_nothing() -> None:
    assert "would never end" in begun(app, "nothing_at_any").output


@pytest.mark.semantics("when_any")
@pytest.mark.parametrize(
    ("answer", "other", "expected"),
    [
        (done(1, "b"), done(0, 5), None),
        (done(1, 7), done(0, 5), [1, 7, True, False, False, 5]),
        (failed(0), done(1, 6), [0, "failed", True, True, False, 6]),
    ],
    ids=["unfit", "second", "failed"],
)
def test_when_any_gives_the_winner_and_the_loser_goes_on(answer: Any, other: Any, expected: Any) -> None:
    bench = begun(app, "any_of_two")
    bench.go(answer)
    bench.go(other)
    assert bench.output == (expected or [1, "failed", True, True, False, 5])


@pytest.mark.semantics("Groups")
def test_the_same_task_twice_and_in_several_groups() -> None:
    bench = begun(app, "twice_and_shared")
    bench.go(done(1, 2))
    bench.go(done(0, 1))
    assert bench.output == [[1, 2, 1], True, [[1, 2, 1], 2], 1]


def test_a_group_told_twice_of_its_end_ends_once() -> None:
    bench = begun(app, "nested")
    bench.go(done(0, 1))
    assert bench.status is Status.COMPLETED


@pytest.mark.semantics("Groups")
def test_coroutines_become_branches_and_one_given_twice_is_one() -> None:
    bench = begun(app, "branches")
    assert len(bench.turns[0].tasks) == 3
    bench.go(done(2, 30), done(0, 10), done(1, 20))
    bench.go(*[done(command, command) for command in (3, 4, 5)])
    assert bench.output == [4, 5, 3, 3]


def test_branches_begin_when_the_spawner_waits() -> None:
    bench = begun(app, "spawned")
    bench.go(done(1, 1))
    assert bench.output == ["main waits", "one begins", "two begins", "two ends", "main goes on"]


def test_a_branch_keeps_its_failure() -> None:
    bench = begun(app, "branch_that_fails")
    bench.go(done(0, 1))
    assert bench.output == "True 'in the branch'"


def test_when_any_of_what_is_complete_already_and_asking_too_early() -> None:
    @app.workflow(name="asks")
    async def asks(ctx: WorkflowContext) -> list[Any]:
        one, two = ctx.call_activity(work, 1), ctx.call_activity(work, 2)
        early = ""
        try:
            one.get_result()
        except ValueError as error:
            early = str(error)
        await one
        winner = await when_any([two, one])
        return [early, winner is one, one.get_exception(), two.is_complete]

    bench = begun(app, "asks")
    bench.go(done(0, 1))
    assert bench.output == [
        "the task is not complete; await it (or yield it, in a generator)",
        True,
        None,
        False,
    ]


def test_groups_belong_into_workflows() -> None:
    with pytest.raises(WorkflowCodeError, match="outside workflow code"):
        when_all([])


# Cancelling.


@app.workflow
async def cancels_a_call(ctx: WorkflowContext) -> list[Any]:
    task = ctx.call_activity(work, 1)
    await ctx.create_timer(10)
    first = task.cancel()
    try:
        await task
    except TaskCancelledError as error:
        return [first, task.cancel(), task.is_cancelled, task.is_failed, str(error)]
    return []


@app.workflow
async def cancels_a_timer_and_a_wait(ctx: WorkflowContext) -> bool:
    timer, wait = ctx.create_timer(3600), ctx.wait_for_external_event("x", timeout=60)
    await ctx.wait_for_external_event("go")
    timer.cancel()
    wait.cancel()
    late = await ctx.wait_for_external_event("X")
    return bool(late == 5)


@app.workflow
async def cancels_a_child(ctx: WorkflowContext) -> str:
    kept, dropped = (
        ctx.call_child_workflow("child", instance_id=name, abandon=name == "kept")
        for name in ("kept", "dropped")
    )
    await ctx.wait_for_external_event("go")
    kept.cancel()
    dropped.cancel()
    await ctx.create_timer(1)
    return "done"


@app.workflow
async def cancels_a_branch(ctx: WorkflowContext) -> list[Any]:
    log: list[str] = []

    async def branch() -> None:
        try:
            await ctx.wait_for_external_event("x")
        except TaskCancelledError:
            log.append("told")
            await ctx.call_activity(work, 1)
            log.append("cleaned up")
            raise

    task = ctx.spawn(branch())
    await ctx.wait_for_external_event("go")
    task.cancel()
    try:
        await task
    except TaskCancelledError:
        log.append("raised")
    return [*log, await ctx.wait_for_external_event("x", timeout=0)]


@app.workflow
async def cancels_a_group(ctx: WorkflowContext) -> list[bool]:
    mine, shared = ctx.call_activity(work, 1), ctx.call_activity(work, 2)
    group, other = when_all([mine, shared]), when_any([shared])
    await ctx.wait_for_external_event("go")
    group.cancel()
    return [mine.is_cancelled, shared.is_cancelled, group.is_cancelled, other.is_complete]


@app.workflow
async def cancels_itself(ctx: WorkflowContext) -> str:
    tasks: list[Task[Any]] = []

    async def branch() -> str:
        tasks[0].cancel()
        try:
            await ctx.create_timer(10)
        except TaskCancelledError:
            return "and went on"
        return "nothing happened"

    tasks.append(ctx.spawn(branch()))
    return str(await tasks[0])


@app.workflow
async def cancels_before_it_began(ctx: WorkflowContext) -> bool:
    async def branch() -> None:
        raise AssertionError("it must not run")

    task = ctx.spawn(branch())
    task.cancel()
    await ctx.create_timer(1)
    return task.is_cancelled


@pytest.mark.semantics("cancelled task")
def test_a_cancelled_call_is_not_answered_any_more() -> None:
    bench = begun(app, "cancels_a_call")
    turn = bench.go(due(1), done(0, 1))
    assert bench.output == [True, False, True, True, "the task was cancelled by the workflow itself"]
    assert TaskCancelled(id=2, command=0) in turn.events
    assert bench.state.pending == {}


def test_a_task_cancelled_in_the_turn_that_made_it_never_goes_out() -> None:
    @app.workflow(name="regrets")
    async def regrets(ctx: WorkflowContext) -> None:
        ctx.call_activity(work, 1).cancel()
        ctx.create_timer(5).cancel()
        await ctx.wait_for_external_event("x")

    bench = begun(app, "regrets")
    turn = bench.turns[0]
    assert (turn.tasks, turn.timers_set, turn.timers_cleared) == ((), (), ())
    assert names(turn).count("TaskCancelled") == 2


@pytest.mark.semantics("cancelled task")
def test_cancelled_timers_go_and_a_cancelled_wait_takes_nothing() -> None:
    bench = begun(app, "cancels_a_timer_and_a_wait")
    turn = bench.go(event("go"))
    assert set(turn.timers_cleared) == {TimerKey(command=0), TimerKey(command=1)}
    bench.go(event("x", 5))
    assert bench.output is True


@pytest.mark.semantics("cancelled task")
def test_a_cancelled_child_is_terminated_unless_abandoned() -> None:
    bench = begun(app, "cancels_a_child")
    turn = bench.go(event("go"))
    (letter,) = letters_of(turn, Terminate)
    assert letter.instance == "dropped"
    assert letter.run is not None


def test_a_cancelled_branch_may_clean_up_and_does_not_eat_events() -> None:
    bench = begun(app, "cancels_a_branch")
    bench.go(event("go"), event("x", "for the other"))
    bench.go(done(0, 1))
    assert bench.output == ["told", "cleaned up", "raised", "for the other"]


@pytest.mark.semantics("cancelled task")
def test_a_cancelled_group_cancels_what_nobody_else_waits_for() -> None:
    bench = begun(app, "cancels_a_group")
    bench.go(event("go"))
    assert bench.output == [True, False, True, False]


def test_a_branch_that_cancels_itself_learns_it_at_its_next_wait() -> None:
    bench = begun(app, "cancels_itself")
    assert bench.output == "and went on"
    assert "TaskCancelled" in names(bench.turns[0])


def test_a_branch_cancelled_before_it_began_never_runs() -> None:
    bench = begun(app, "cancels_before_it_began")
    bench.go(due(0))
    assert bench.output is True


def test_a_long_lived_task_does_not_collect_the_groups_that_it_lost_in() -> None:
    waiters: list[int] = []

    @app.workflow(name="loops")
    async def loops(ctx: WorkflowContext) -> None:
        stop = ctx.wait_for_external_event("stop")
        for _ in range(20):
            await when_any([stop, ctx.create_timer(1)])
            waiters.append(len(stop._waiters))

    bench = begun(app, "loops")
    for command in range(20):
        bench.go(due(command))
    assert set(waiters) == {0}
    assert bench.status is Status.COMPLETED
