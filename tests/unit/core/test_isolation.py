"""What one workflow does to the interpreter's per-thread state reaches no other, and no replay."""

from __future__ import annotations

import decimal
import gc
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tenuto import App, WorkflowContext
from tests.unit.core.bench import Bench, begun, done, event, terminate

app = App("isolation")
variable: ContextVar[str] = ContextVar("variable", default="nothing")


@app.activity
def step(number: str) -> str:
    return number


@app.workflow
async def third(ctx: WorkflowContext, precision: int) -> str:
    with decimal.localcontext() as context:
        context.prec = precision
        await ctx.call_activity(step, "0")
        return str(Decimal(1) / 3)


@app.workflow
async def sets_variable(ctx: WorkflowContext, value: str) -> list[str]:
    before = variable.get()
    variable.set(value)
    await ctx.wait_for_external_event("go")
    return [before, variable.get()]


@app.workflow
def generator_third(ctx: WorkflowContext, precision: int) -> Any:
    with decimal.localcontext() as context:
        context.prec = precision
        yield ctx.call_activity(step, "0")
        return str(Decimal(1) / 3)


def test_a_context_variable_held_across_an_await_reaches_no_other_workflow() -> None:
    ambient = decimal.getcontext().prec
    for workflow in ("third", "generator_third"):
        benches = [begun(app, workflow, precision, instance=f"i{precision}") for precision in (3, 5, 9)]
        for bench in benches:
            bench.go(done(0, "x"))
        assert [len(bench.output) for bench in benches] == [5, 7, 11]
    assert decimal.getcontext().prec == ambient


def test_variables_begin_unset_whatever_surrounds_the_first_turn() -> None:
    token = variable.set("of the surroundings")
    try:
        bench = begun(app, "sets_variable", "mine")
    finally:
        variable.reset(token)
    bench.cold_start()
    bench.go(event("go"))
    assert bench.output == ["nothing", "mine"]
    assert variable.get() == "nothing"


def test_dropping_an_execution_gives_nothing_back_to_its_surroundings() -> None:
    ambient = decimal.getcontext()
    for end in ("abandon", "terminate"):
        bench = begun(app, "third", 3)
        inside = decimal.Context(prec=7)
        with decimal.localcontext(inside):
            if end == "abandon":
                bench.execution.abandon()
            else:
                bench.go(terminate())
            assert decimal.getcontext().prec == 7
    assert decimal.getcontext() is ambient


def test_an_execution_that_is_collected_unwinds_in_its_own_context() -> None:
    other = App("other")
    seen: list[int] = []

    @other.workflow
    async def collects(ctx: WorkflowContext) -> None:
        decimal.getcontext().prec = 11
        gc.collect()
        seen.append(decimal.getcontext().prec)

    gc.collect()
    gc.disable()
    try:
        forgotten = begun(app, "third", 3)
        del forgotten
        begun(other, "collects")
    finally:
        gc.enable()
    assert set(seen) == {11}


def test_validators_run_in_the_workflows_own_context() -> None:
    other = App("other")

    @dataclass
    class Amount:
        text: str

        def __post_init__(self) -> None:
            decimal.getcontext().prec = 4
            self.text = str(+Decimal(self.text))

    @other.workflow
    async def rounds(ctx: WorkflowContext) -> list[str]:
        amount = await ctx.call_activity("measure", type=Amount)
        return [amount.text, str(Decimal(1) / 3)]

    ambient = decimal.getcontext().prec
    bench = begun(other, "rounds")
    bench.go(done(0, {"text": "1.23456"}))
    assert bench.output == ["1.235", "0.3333"]
    assert decimal.getcontext().prec == ambient


def test_async_generators_are_not_handed_to_an_event_loop() -> None:
    other = App("other")
    log: list[str] = []

    @other.workflow
    async def counts(ctx: WorkflowContext) -> int:
        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(5):
                    await ctx.call_activity("x", number)
                    yield number
            finally:
                log.append("closed")

        async for number in numbers():
            if number == 1:
                return number
        return -1

    def refuse(generator: Any) -> None:
        log.append("hooked")

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(refuse, refuse)
    try:
        bench: Bench = begun(other, "counts")
        bench.go(done(0, "x"))
        bench.go(done(1))
        assert sys.get_asyncgen_hooks() == (refuse, refuse)
    finally:
        sys.set_asyncgen_hooks(*before)
    gc.collect()
    assert bench.output == 1
    assert "hooked" not in log
    assert "closed" in log
