"""Time, chance, identity, logging, custom status: the same on every replay."""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from tenuto import App, PayloadError, WorkflowContext
from tenuto.core.events import ExecutionStarted
from tenuto.core.status import Status
from tests.unit.core.bench import START, Bench, begun, due, raw

app = App("context")
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@app.workflow
async def looks(ctx: WorkflowContext) -> list[Any]:
    found = [ctx.current_utc_datetime.isoformat(), str(ctx.new_uuid()), ctx.random.random()]
    await ctx.create_timer(60)
    return [*found, ctx.current_utc_datetime.isoformat(), str(ctx.new_uuid()), ctx.random.random()]


@app.workflow
async def draws_numbers_only(ctx: WorkflowContext) -> list[float]:
    first = ctx.random.random()
    await ctx.create_timer(60)
    return [first, ctx.random.random()]


@app.workflow
async def who(ctx: WorkflowContext) -> list[Any]:
    return [ctx.instance_id, ctx.workflow, ctx.version]


@app.workflow
async def logs(ctx: WorkflowContext) -> None:
    ctx.logger.info("first of %s", ctx.instance_id)
    seen.append(ctx.is_replaying)
    await ctx.create_timer(1)
    ctx.logger.warning("second")
    seen.append(ctx.is_replaying)
    await ctx.create_timer(1)


@app.workflow
async def shows(ctx: WorkflowContext) -> None:
    ctx.set_custom_status({"step": 1})
    await ctx.create_timer(1)
    try:
        ctx.set_custom_status(object())
    except PayloadError:
        ctx.set_custom_status(None)
    await ctx.create_timer(1)


@app.workflow
def plain(ctx: WorkflowContext, number: int) -> int:
    return number + 1


@pytest.mark.semantics("Time, chance and identity replay")
def test_what_the_code_sees_is_the_same_on_every_replay() -> None:
    """`current_utc_datetime` is the time of the current turn; `new_uuid()` is UUID5."""
    bench = begun(app, "looks")
    bench.cold_start()
    bench.go(due(0), after=60)
    other = begun(app, "looks")
    other.go(due(0), after=60)
    assert bench.output == other.output
    time, uuid, number, later, second_uuid, second_number = bench.output
    assert time == (START + timedelta(seconds=1)).isoformat()
    assert later == (START + timedelta(seconds=61)).isoformat()
    assert UUID(uuid).version == 5
    assert uuid != second_uuid
    assert number != second_number


@pytest.mark.semantics("Time, chance and identity replay")
def test_drawing_a_uuid_does_not_disturb_chance() -> None:
    with_uuids, without = begun(app, "looks"), begun(app, "draws_numbers_only")
    with_uuids.go(due(0))
    without.go(due(0))
    assert [with_uuids.output[2], with_uuids.output[5]] == without.output


@pytest.mark.parametrize("other", [{"seed": "another"}, {"seed": "seed", "generation": 1}])
def test_other_seeds_and_generations_see_other_chances(other: dict[str, Any]) -> None:
    one = begun(app, "looks")
    one.go(due(0))
    started = ExecutionStarted(workflow="looks", input=raw(None), **other)
    two = Bench(app=app, workflow="looks", started=started)
    two.go()
    two.go(due(0))
    assert one.output[1] != two.output[1]
    assert one.output[2] != two.output[2]


def test_time_is_aware() -> None:
    bench = begun(app, "looks")
    assert bench.state.time is not None
    assert bench.state.time.tzinfo is UTC


def test_chance_is_a_plain_seeded_generator() -> None:
    bench = begun(app, "draws_numbers_only")
    bench.go(due(0))
    chance = Random("seed:0")
    assert bench.output == [chance.random(), chance.random()]


def test_identity() -> None:
    versioned = App("versions")
    versioned.workflow(name="who", version="7")(who)
    started = ExecutionStarted(workflow="who", version="7", input=raw(None), seed="seed")
    bench = Bench(app=versioned, workflow="who", started=started)
    bench.go()
    assert bench.output == ["order-17", "who", "7"]


@pytest.mark.semantics("Time, chance and identity replay")
def test_logging_is_silent_while_replaying(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = begun(app, "logs")
    bench.cold_start()
    bench.go(due(0))
    bench.cold_start()
    assert [record.getMessage() for record in caplog.records] == ["first of order-17", "second"]
    assert {record.name for record in caplog.records} == {"tenuto.workflow.logs"}
    assert {getattr(record, "instance_id", None) for record in caplog.records} == {"order-17"}
    assert seen[0] is False
    assert True in seen


@pytest.mark.semantics("The custom status")
def test_the_custom_status_is_what_was_set_last() -> None:
    bench = Bench(app=app, workflow="shows")
    assert bench.execution.custom_status is None
    bench.go()
    assert bench.execution.custom_status == b'{"step":1}'
    bench.go(due(0))
    assert bench.execution.custom_status == b"null"
    assert bench.replayed().custom_status == b"null"


def test_a_plain_function_is_a_workflow_too() -> None:
    bench = begun(app, "plain", 4)
    assert bench.output == 5


def test_an_input_that_does_not_fit_fails_the_workflow_clearly() -> None:
    bench = begun(app, "plain", "no number")
    assert bench.status is Status.FAILED
    assert bench.failure.type == "PayloadError"
    assert not bench.failure.retryable
    assert "the input of 'plain' does not fit" in bench.failure.message


def test_a_result_that_cannot_become_json_fails_the_workflow_clearly() -> None:
    app = App("nonsense")

    @app.workflow(name="nonsense")
    async def nonsense(ctx: WorkflowContext) -> object:
        return {"a": [object()]}

    bench = begun(app, "nonsense")
    assert bench.failure.type == "PayloadError"
    assert "type object at $['a'][0]" in bench.failure.message


def test_the_size_grows_with_what_is_kept() -> None:
    bench = begun(app, "looks")
    before = bench.execution.size
    many = begun(app, "who", "x" * 100_000)
    assert before > 0
    assert many.execution.size > before + 90_000
