"""What no workflow may do: it fails the turn, not the workflow, and says where and what to do instead."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenuto import App, WorkflowContext, when_all, when_any
from tenuto.core.execution import advance, replay
from tenuto.core.status import Status
from tenuto.core.turn import Arrival
from tenuto.errors import StalledError, WorkflowCodeError
from tests.unit.core.bench import RUN, START, Bench, begun, done, event

app = App("misuse")
leaked: dict[str, WorkflowContext] = {}


@app.activity
async def sleepy(number: int) -> int:
    await asyncio.sleep(0)
    return number


@app.activity
def plain(number: int) -> int:
    return number


@pytest.fixture(autouse=True)
def _nothing_leaked() -> None:
    leaked.clear()


def not_registered(number: int) -> int:
    return number


@app.workflow
async def sleeps(ctx: WorkflowContext) -> None:
    await ctx.create_timer(1)
    await asyncio.sleep(3)


@app.workflow
async def sleeps_in_a_helper(ctx: WorkflowContext) -> None:
    await ctx.create_timer(1)
    await helper_that_sleeps()


async def helper_that_sleeps() -> None:
    await asyncio.sleep(3)


@app.workflow
async def yields_nothing(ctx: WorkflowContext) -> None:
    await asyncio.sleep(0)


@app.workflow
async def runs_an_activity(ctx: WorkflowContext) -> int:
    return await sleepy(1)


@app.workflow
def yields_an_activity(ctx: WorkflowContext) -> Any:
    return (yield sleepy(1))


@app.workflow
def yields_the_function(ctx: WorkflowContext) -> Any:
    return (yield plain)


@app.workflow
def yields_a_list(ctx: WorkflowContext) -> Any:
    return (yield [ctx.call_activity(plain, 1)])


@app.workflow
def yields_a_generator(ctx: WorkflowContext) -> Any:
    def branch() -> Any:
        yield ctx.create_timer(1)

    return (yield branch())


@app.workflow
async def calls_what_is_not_registered(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(not_registered, 1)


@app.workflow
async def calls_a_call(ctx: WorkflowContext) -> int:
    return await ctx.call_activity(plain(1))  # type: ignore[call-overload, no-any-return]  # what is tested


@app.workflow
async def calls_a_function_as_child(ctx: WorkflowContext) -> None:
    await ctx.call_child_workflow(not_registered, 1)  # type: ignore[call-overload]  # what is tested


@app.workflow
async def groups_one(ctx: WorkflowContext) -> None:
    await when_all(ctx.call_activity(plain, 1))  # type: ignore[arg-type]  # what is tested


@app.workflow
async def groups_numbers(ctx: WorkflowContext) -> None:
    await when_any([5])  # type: ignore[list-item]  # what is tested


@app.workflow
async def spawns_a_function(ctx: WorkflowContext) -> None:
    ctx.spawn(not_registered)  # type: ignore[arg-type]  # what is tested


@app.workflow
async def swallows(ctx: WorkflowContext) -> str:
    try:
        await ctx.call_activity(not_registered, 1)
    except Exception:  # noqa: BLE001 - what is tested
        return "swallowed"
    return "no error"


@app.workflow
async def uses_a_thread(ctx: WorkflowContext) -> str:
    said: list[str] = []

    def elsewhere() -> None:
        try:
            ctx.new_uuid()
        except WorkflowCodeError as error:
            said.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    return said[0]


@app.workflow
async def in_a_branch(ctx: WorkflowContext) -> None:
    async def branch() -> None:
        await asyncio.sleep(1)

    with contextlib.suppress(BaseException):
        await ctx.spawn(branch())


@app.workflow
async def leaks(ctx: WorkflowContext) -> None:
    leaked.setdefault(ctx.instance_id, ctx)  # not that of the replays that check each turn
    await ctx.wait_for_external_event("go")


@app.workflow
async def uses_the_leak(ctx: WorkflowContext) -> None:
    await leaked["leaker"].create_timer(1)


@app.workflow
async def awaits_a_strange_task(ctx: WorkflowContext) -> None:
    await ctx.call_activity(plain, 1)


@app.workflow
async def bad_annotation(ctx: WorkflowContext, order: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 - what is tested
    pass


@app.activity
def lost() -> Missing:  # type: ignore[name-defined]  # noqa: F821 - what is tested
    pass


@app.workflow
async def calls_the_lost(ctx: WorkflowContext) -> None:
    await ctx.call_activity(lost)


STALLS: dict[str, tuple[str, str]] = {
    "yields_nothing": ("asyncio.sleep(0)", "await asyncio.sleep(0)"),
    "runs_an_activity": ("ran the activity 'sleepy' itself", "return await sleepy(1)"),
    "yields_an_activity": ("ran the activity 'sleepy' itself", "return (yield sleepy(1))"),
    "yields_the_function": ("call activities with ctx.call_activity", "return (yield plain)"),
    "yields_a_list": ("when_all([…])", "return (yield [ctx.call_activity(plain, 1)])"),
    "yields_a_generator": ("ctx.spawn(…)", "return (yield branch())"),
    "calls_what_is_not_registered": ("no registered activity", "call_activity(not_registered, 1)"),
    "calls_a_call": ("no registered activity", "call_activity(plain(1))"),
    "calls_a_function_as_child": ("no registered workflow", "call_child_workflow(not_registered, 1)"),
    "groups_one": ("when_all([…])", "when_all(ctx.call_activity(plain, 1))"),
    "groups_numbers": ("no task, coroutine or generator", "when_any([5])"),
    "spawns_a_function": ("pass what it gives", "ctx.spawn(not_registered)"),
    "swallows": ("no registered activity", "call_activity(not_registered, 1)"),
    "uses_a_thread": ("from another thread", "ctx.new_uuid()"),
    "bad_annotation": ("define or import the type at module level", ""),
    "calls_the_lost": ("define or import the type at module level", "await ctx.call_activity(lost)"),
}


def place_of(message: str) -> str:
    """The source line that a message names."""
    lines = Path(__file__).read_text().splitlines()
    _, _, rest = message.partition(f"{__file__}:")
    number = rest.split(",")[0] if rest else ""
    return lines[int(number) - 1] if number.isdigit() else ""


@pytest.mark.semantics("Misuse")
@pytest.mark.parametrize("workflow", STALLS)
def test_misuse_stalls_and_says_where_and_what_to_do(workflow: str) -> None:
    words, line = STALLS[workflow]
    bench = Bench(app=app, workflow=workflow)
    with pytest.raises(StalledError) as raised:
        bench.go()
    message = str(raised.value)
    assert "order-17" in message
    assert words in message
    assert line in place_of(message)
    assert isinstance(bench.execution.stalled, Exception)


@pytest.mark.semantics("Misuse")
@pytest.mark.parametrize(
    ("workflow", "line"),
    [("sleeps", "await asyncio.sleep(3)"), ("sleeps_in_a_helper", "await asyncio.sleep(3)")],
)
async def test_a_foreign_awaitable_is_named_with_its_line(workflow: str, line: str) -> None:
    """With a running loop, as in production: asyncio.sleep needs one to get as far as waiting."""
    bench = begun(app, workflow)
    history = list(bench.history)
    with pytest.raises(StalledError) as raised:
        bench.go(*_due())
    assert "Future" in str(raised.value)
    assert "ctx.create_timer instead of sleeping" in str(raised.value)
    assert line in place_of(str(raised.value))
    assert bench.history == history


def _due() -> list[Any]:
    from tests.unit.core.bench import due  # noqa: PLC0415 - one user

    return [due(0)]


@pytest.mark.semantics("Misuse")
def test_a_coroutine_that_is_never_awaited_is_named_with_its_line() -> None:
    """Wherever it is collected, Python's warning names the line of the workflow that made it."""
    app, kept = App("forgets"), list[Any]()

    @app.workflow(name="forgets")
    async def forgets(ctx: WorkflowContext) -> None:
        kept.append(helper_that_sleeps())  # forgotten

    advance(replay(app.resolve, "i", RUN, Bench(app=app, workflow="forgets").history), [], START)
    with pytest.warns(RuntimeWarning, match="'helper_that_sleeps' was never awaited") as warned:
        kept.clear()
    message = str(warned[0].message)
    number = int(message.partition(f'{__file__}", line ')[2].split(",")[0])
    assert "# forgotten" in Path(__file__).read_text().splitlines()[number - 1]


async def test_misuse_in_a_branch_cannot_be_swallowed() -> None:
    bench = Bench(app=app, workflow="in_a_branch")
    with pytest.raises(StalledError, match="Future"):
        bench.go()


@pytest.mark.semantics("Misuse")
@pytest.mark.parametrize(
    "use",
    [
        lambda ctx: ctx.call_activity(plain, 1),
        lambda ctx: ctx.call_child_workflow("x"),
        lambda ctx: ctx.create_timer(1),
        lambda ctx: ctx.wait_for_external_event("x"),
        lambda ctx: ctx.send_event("x", "y"),
        lambda ctx: ctx.set_custom_status(1),
        lambda ctx: ctx.continue_as_new(),
        lambda ctx: ctx.new_uuid(),
        lambda ctx: ctx.spawn(number for number in range(3)),
    ],
)
def test_the_context_is_of_no_use_outside_its_turn(use: Callable[[Any], object]) -> None:
    bench = begun(app, "leaks", instance="leaker")
    with pytest.raises(WorkflowCodeError, match="outside its code's turn") as raised:
        use(leaked["leaker"])
    assert "lambda ctx" in place_of(str(raised.value))
    bench.go(event("go"))
    assert bench.status is Status.COMPLETED, "the instance itself takes no harm"


def test_the_context_of_another_instance_stalls_the_one_that_uses_it() -> None:
    leaker = begun(app, "leaks", instance="leaker")
    with pytest.raises(StalledError, match="outside its code's turn"):
        Bench(app=app, workflow="uses_the_leak").go()
    assert leaker.execution.stalled is None


def test_the_context_of_an_abandoned_instance_stalls_the_one_that_uses_it() -> None:
    begun(app, "leaks", instance="leaker").execution.abandon()
    with pytest.raises(StalledError, match="the context of another execution"):
        Bench(app=app, workflow="uses_the_leak").go()


def test_a_task_of_another_instance_is_no_task() -> None:
    other = begun(app, "awaits_a_strange_task", instance="other")
    task = other.execution.code.task(0) if other.execution.code else None

    @app.workflow(name="strange")
    def strange(ctx: WorkflowContext) -> Any:
        yield task

    @app.workflow(name="strange group")
    async def strange_group(ctx: WorkflowContext) -> Any:
        assert task is not None
        await when_all([task])

    with pytest.raises(StalledError, match="a task of another workflow execution"):
        Bench(app=app, workflow="strange").go()
    with pytest.raises(StalledError, match="a task of another workflow execution"):
        Bench(app=app, workflow="strange group").go()


def test_a_stalled_instance_goes_on_when_code_that_fits_arrives() -> None:
    bench = Bench(app=app, workflow="calls_what_is_not_registered")
    with pytest.raises(StalledError):
        bench.go()
    mended = App("mended")
    mended.activity(not_registered)
    mended.workflow(calls_what_is_not_registered)
    execution = replay(mended.resolve, "order-17", RUN, bench.history)
    assert len(advance(execution, [], bench.now).tasks) == 1
    turn = advance(execution, [Arrival(what=done(0, 5))], bench.now)
    assert type(turn.events[-1]).__name__ == "ExecutionCompleted"


@pytest.mark.semantics("Only what the code lets out fails a workflow")
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_whatever_the_code_lets_out_fails_the_workflow_only(error: BaseException) -> None:
    app = App("exits")

    @app.workflow(name="exits")
    async def exits(ctx: WorkflowContext) -> None:
        raise error

    bench = begun(app, "exits")
    assert (bench.status, bench.failure.type) == (Status.FAILED, type(error).__name__)


def test_an_interrupt_is_not_the_workflows() -> None:
    app = App("interrupts")

    @app.workflow(name="interrupted")
    async def interrupted(ctx: WorkflowContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Bench(app=app, workflow="interrupted").go()
