"""What an activity gets, and what becomes of what it gives."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tenuto import activity
from tenuto.activity import ActivityContext
from tenuto.app import App
from tenuto.attempts import Executor
from tenuto.errors import NonRetryableError
from tenuto.messages import ActivityResult
from tests.unit.worker.bench import Bench


@dataclass
class Order:
    item: str
    count: int


def value(result: ActivityResult) -> Any:
    assert result.failure is None
    assert result.result is not None
    return msgspec.json.decode(result.result)


async def test_an_async_activity_runs_on_the_loop_and_gives_its_result(app: App, bench: Bench) -> None:
    threads: list[threading.Thread] = []

    @app.activity
    async def pack(order: Order) -> Order:
        threads.append(threading.current_thread())
        return Order(item=order.item.upper(), count=order.count + 1)

    await bench.worker(app)
    result = await bench.owner.ask("pack", {"item": "tea", "count": 1})

    assert value(result) == {"item": "TEA", "count": 2}
    assert threads == [threading.current_thread()]
    assert (result.instance, result.run, result.generation, result.command, result.attempt, result.name) == (
        ("order-1", "r1", 0, 0, 1, "pack")
    )


async def test_a_plain_activity_runs_in_a_thread(app: App, bench: Bench) -> None:
    threads: list[threading.Thread] = []

    @app.activity
    def double(number: int) -> int:
        threads.append(threading.current_thread())
        return number * 2

    await bench.worker(app)
    assert value(await bench.owner.ask("double", 21)) == 42
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon


@pytest.mark.semantics("activity.context()")
@pytest.mark.parametrize("threaded", [False, True])
async def test_the_context_is_there(app: App, bench: Bench, *, threaded: bool) -> None:
    seen: list[ActivityContext] = []
    if threaded:

        @app.activity(name="look")
        def look_in_a_thread() -> None:
            seen.append(activity.context())
    else:

        @app.activity(name="look")
        async def look() -> None:
            seen.append(activity.context())

    await bench.worker(app)
    await bench.owner.ask("look", attempt=3, generation=2, command=7, start_to_close=60.0)
    (context,) = seen
    assert context.instance_id == context.workflow_id == "order-1"
    assert context.workflow == "fulfil"
    assert context.activity == "look"
    assert context.attempt == 3
    assert context.generation == 2
    assert context.command == context.task_id == 7
    assert context.idempotency_key == "key-7"
    assert context.deadline is not None
    assert (context.deadline - context.started_at).total_seconds() == 60.0


async def test_daprs_style_takes_the_context_as_an_argument(app: App, bench: Bench) -> None:
    @app.activity
    def charge(ctx: ActivityContext, amount: int) -> str:
        return f"{ctx.workflow_id}/{ctx.task_id}: {amount}"

    await bench.worker(app)
    assert value(await bench.owner.ask("charge", 5, command=4)) == "order-1/4: 5"


@pytest.mark.parametrize("threaded", [False, True])
async def test_an_exception_is_a_failure_with_its_causes(app: App, bench: Bench, *, threaded: bool) -> None:
    def explode() -> None:
        try:
            {}["card"]
        except KeyError as error:
            raise LookupError("no such card") from error

    if threaded:
        app.activity(name="explode")(explode)
    else:

        @app.activity(name="explode")
        async def explode_here() -> None:
            explode()

    await bench.worker(app)
    failure = (await bench.owner.ask("explode")).failure
    assert failure is not None
    assert (failure.type, failure.message, failure.retryable) == ("LookupError", "no such card", True)
    assert "explode" in failure.stack
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"


async def test_a_non_retryable_error_is_final(app: App, bench: Bench) -> None:
    @app.activity
    async def refuse() -> None:
        raise NonRetryableError("card stolen")

    await bench.worker(app)
    failure = (await bench.owner.ask("refuse")).failure
    assert failure is not None
    assert not failure.retryable


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, StopIteration, asyncio.CancelledError])
async def test_what_would_end_a_program_fails_the_activity_and_not_the_worker(
    app: App, bench: Bench, kind: type[BaseException], *, threaded: bool
) -> None:
    def leave() -> None:
        raise kind(3)

    async def leave_here() -> None:
        raise kind(3)

    app.activity(name="leave")(leave if threaded else leave_here)
    app.activity(name="add")(lambda number: number + 1)

    worker = await bench.worker(app)
    failure = (await bench.owner.ask("leave")).failure
    assert failure is not None
    if kind is StopIteration and not threaded:
        assert failure.cause is not None
        assert failure.cause.type == "StopIteration"
    else:
        assert failure.type == kind.__name__
    await bench.owner.send(bench.owner.task("add", 1, command=1))
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert worker.ready


async def test_an_interrupt_raised_in_a_thread_is_a_failure(app: App, bench: Bench) -> None:
    @app.activity
    def interrupt() -> None:
        raise KeyboardInterrupt

    await bench.worker(app)
    failure = (await bench.owner.ask("interrupt")).failure
    assert failure is not None
    assert failure.type == "KeyboardInterrupt"


async def test_sys_exit_in_a_task_that_the_activity_awaits(app: App, bench: Bench) -> None:
    @app.activity
    async def leave() -> None:
        await asyncio.to_thread(sys.exit, 1)

    await bench.worker(app)
    failure = (await bench.owner.ask("leave")).failure
    assert failure is not None
    assert failure.type == "SystemExit"


async def test_an_unknown_activity_may_be_known_to_another_worker(app: App, bench: Bench) -> None:
    app.activity(name="pack")(lambda: None)
    app.activity(name="charge")(lambda: None)
    await bench.worker(app)
    failure = (await bench.owner.ask("ship")).failure
    assert failure is not None
    assert failure.type == "UnknownActivityError"
    assert "'ship'" in failure.message
    assert "charge, pack" in failure.message
    assert failure.retryable


async def test_input_that_does_not_fit_is_final(app: App, bench: Bench) -> None:
    calls: list[Order] = []

    @app.activity
    async def pack(order: Order) -> None:
        calls.append(order)

    await bench.worker(app)
    failure = (await bench.owner.ask("pack", {"item": "tea", "count": "many"})).failure
    assert failure is not None
    assert (failure.type, failure.retryable) == ("PayloadError", False)
    assert "count" in failure.message
    assert calls == []


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_result_that_cannot_become_json_is_final(app: App, bench: Bench, *, threaded: bool) -> None:
    def give() -> object:
        return object()

    async def give_here() -> object:
        return object()

    app.activity(name="give")(give if threaded else give_here)
    await bench.worker(app)
    failure = (await bench.owner.ask("give")).failure
    assert failure is not None
    assert (failure.type, failure.retryable) == ("PayloadError", False)
    assert "object" in failure.message


@pytest.mark.parametrize("limit", [1e12, timedelta.max.total_seconds()])
async def test_a_limit_beyond_the_calendar_is_its_end(app: App, bench: Bench, limit: float) -> None:
    """An attempt may be allowed more time than there is (start_to_close): its worker goes on."""

    @app.activity
    async def work() -> bool:
        deadline = activity.context().deadline
        return deadline is not None and deadline.year == 9999

    await bench.worker(app)
    assert value(await bench.owner.ask("work", start_to_close=limit)) is True


async def test_a_task_without_a_context_has_failed(
    app: App, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with one task, its worker goes on."""
    app.activity(name="echo")(lambda given: given)
    await bench.worker(app)
    with monkeypatch.context() as broken:
        broken.setattr(Executor, "_context", lambda _executor, _job, task: 1 / len(task.instance[:0]))
        failure = (await bench.owner.ask("echo", 1, command=1)).failure
    assert failure is not None
    assert failure.type == "ZeroDivisionError"
    await bench.owner.send(bench.owner.task("echo", 2, command=2))
    await bench.owner.until(lambda: len(bench.owner.results) == 2)
    assert value(bench.owner.results[-1]) == 2


async def test_falsy_results_arrive_as_given(app: App, bench: Bench) -> None:
    app.activity(name="echo")(lambda given: given)
    await bench.worker(app)
    given = [0, "", False, None, [], {}]
    await bench.owner.send(
        *(bench.owner.task("echo", item, command=number) for number, item in enumerate(given))
    )
    await bench.owner.until(lambda: len(bench.owner.results) == len(given))
    arrived = {result.command: value(result) for result in bench.owner.results}
    assert [arrived[number] for number in range(len(given))] == given


async def test_how_long_it_took_is_told(app: App, bench: Bench) -> None:
    @app.activity
    async def work() -> None:
        await asyncio.sleep(0.02)

    await bench.worker(app)
    assert (await bench.owner.ask("work")).seconds >= 0.02
