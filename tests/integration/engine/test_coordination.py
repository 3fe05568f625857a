"""Instances among each other: locks, sagas, detached starts, run by the whole engine."""

from __future__ import annotations

import asyncio

import pytest

from tenuto import App, RetryPolicy, Saga, WorkflowContext, WorkflowFailedError, WorkflowTerminatedError
from tenuto.core.reserved import lock_instance, saga_instance
from tenuto.core.status import Status
from tenuto.store.protocol import InstanceFilter
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("coordination")
log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = await make_engine(app)
    await engine.orchestrator()
    await engine.worker()
    return engine


@app.activity
async def note(line: str) -> None:
    log.append(line)


@app.activity(retry=RetryPolicy(max_attempts=2, first_interval=0.01))
async def cannot(line: str) -> None:
    log.append(line)
    raise OSError(line)


@app.workflow
async def prints(ctx: WorkflowContext, name: str) -> None:
    async with ctx.lock("printer"):
        await ctx.call_activity(note, f"{name} begins")
        await ctx.call_activity(note, f"{name} ends")


@app.workflow
async def keeps_printer(ctx: WorkflowContext, how: str) -> str:
    async with ctx.lock("printer"):
        ctx.set_custom_status("has it")
        if how == "again":
            ctx.continue_as_new("return")
            return how
        await ctx.wait_for_external_event("go")
        if how == "fail":
            raise RuntimeError(how)
    return how


@app.workflow
async def impatient(ctx: WorkflowContext, _: None) -> str:
    try:
        async with ctx.lock("printer", timeout=0.05):
            return "got it"
    except TimeoutError:
        return "gave up"


@app.workflow
async def trip(ctx: WorkflowContext, how: str) -> None:
    async with Saga(ctx, compensate_on_terminate=True) as saga:
        saga.add(note, "cancel flight")
        saga.add(cannot, "cancel hotel")
        saga.add(note, "cancel car")
        ctx.set_custom_status("booked")
        await ctx.wait_for_external_event("confirmed", timeout=0.01 if how == "fail" else None)


@app.workflow
async def listens(ctx: WorkflowContext, name: str) -> str:
    return await ctx.wait_for_external_event("go", type=str)


@app.workflow
async def starts_others(ctx: WorkflowContext, ids: list[str]) -> list[str]:
    return [ctx.start_workflow(listens, one, instance_id=one) for one in ids]


async def gone(engine: Engine, instance: str) -> None:
    async def is_gone() -> bool:
        return not await engine.store.instances([instance])

    await until(is_gone)


async def shows(engine: Engine, instance: str, status: bytes) -> None:
    async def does() -> bool:
        return (await engine.record(instance)).custom_status == status

    await until(does)


@pytest.mark.semantics("async with ctx.lock(key)")
async def test_only_one_instance_at_a_time_holds_a_lock(engine: Engine) -> None:
    handles = [await engine.client.start(prints, str(number)) for number in range(5)]
    await asyncio.gather(*(handle.result(timeout=20) for handle in handles))
    assert log == [f"{number} {what}" for number in range(5) for what in ("begins", "ends")], (
        "first in, first out"
    )
    await gone(engine, lock_instance("printer"))


@pytest.mark.semantics("released")
@pytest.mark.parametrize("how", ["return", "fail", "terminate", "purge", "again"])
async def test_a_lock_is_released_however_its_holder_ends(engine: Engine, how: str) -> None:
    """Released in every terminal state of the holder, and on continue-as-new."""
    holder = await engine.client.start(keeps_printer, how, instance_id="holder")
    await shows(engine, "holder", b'"has it"')
    if how == "again":
        await holder.raise_event("go")
    waiter = await engine.client.start(prints, "next")
    if how == "terminate":
        await holder.terminate()
    elif how == "purge":
        await holder.purge(force=True)
    elif how != "again":
        await holder.raise_event("go")
    await waiter.result(timeout=20)
    assert log == ["next begins", "next ends"]


@pytest.mark.semantics("A wait for a lock")
async def test_a_wait_for_a_lock_times_out_and_leaves_the_queue(engine: Engine) -> None:
    holder = await engine.client.start(keeps_printer, "return", instance_id="holder")
    await shows(engine, "holder", b'"has it"')
    assert await (await engine.client.start(impatient, None)).result(timeout=20) == "gave up"
    await holder.raise_event("go")
    await holder.result(timeout=20)
    await gone(engine, lock_instance("printer"))


@pytest.mark.semantics("durable")
async def test_a_lock_survives_its_orchestrator(make_engine: MakeEngine) -> None:
    engine = await make_engine(app)
    first = await engine.orchestrator()
    await engine.worker()
    holder = await engine.client.start(keeps_printer, "return", instance_id="holder")
    await shows(engine, "holder", b'"has it"')
    await first.kill()
    await engine.orchestrator()
    waiter = await engine.client.start(prints, "next")
    assert log == []
    await holder.raise_event("go")
    await waiter.result(timeout=20)
    assert log == ["next begins", "next ends"]


async def test_built_in_instances_are_hidden_from_listings(engine: Engine) -> None:
    await engine.client.start(keeps_printer, "return", instance_id="holder")
    await shows(engine, "holder", b'"has it"')
    assert [one.instance_id async for one in engine.client.list()] == ["holder"]
    everything = [one.instance_id async for one in engine.client.list(InstanceFilter(builtin=True))]
    assert sorted(everything) == ["holder", lock_instance("printer")]


@pytest.mark.semantics("A Saga", "compensate_on_terminate=True")
@pytest.mark.parametrize("how", ["fail", "terminate", "purge"])
async def test_a_saga_is_undone_in_reverse_however_its_instance_ends_badly(engine: Engine, how: str) -> None:
    handle = await engine.client.start(trip, how, instance_id="trip")
    await shows(engine, "trip", b'"booked"')
    run = (await engine.record("trip")).run
    if how == "fail":
        with pytest.raises(
            WorkflowFailedError, match=r"SagaError: 1 of the saga's compensations failed.*OSError"
        ):
            await handle.result(timeout=20)
    elif how == "terminate":
        await handle.terminate(reason="rain")
        with pytest.raises(WorkflowTerminatedError):
            await handle.result(timeout=20)
    else:
        await handle.purge(force=True)
    if how != "fail":
        undoing = await engine.status(saga_instance("trip", run), Status.FAILED)
        assert b"SagaError" in (undoing.failure or b"")
    assert log == ["cancel car", "cancel hotel", "cancel hotel", "cancel flight"]


@pytest.mark.semantics("detached start")
async def test_a_detached_start_is_not_waited_for_and_lives_on(engine: Engine) -> None:
    handle = await engine.client.start(starts_others, ["one", "two"])
    assert await handle.result(timeout=20) == ["one", "two"]
    await engine.status("one", Status.RUNNING)
    assert (await engine.record("one")).parent is None
    await handle.purge()
    for name in ("one", "two"):
        other = engine.client.get(name, listens)
        await other.raise_event("go", name)
        assert await other.result(timeout=20) == name


@pytest.mark.semantics("detached start")
async def test_a_detached_start_of_an_id_that_a_live_instance_has_starts_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    taken = await engine.client.start(listens, "taken", instance_id="taken")
    before = (await engine.record("taken")).run
    await (await engine.client.start(starts_others, ["taken", "free"])).result(timeout=20)
    await engine.status("free", Status.RUNNING)

    async def warned() -> bool:
        return "a detached start of 'listens' is refused: instance 'taken' exists" in caplog.text

    await until(warned)
    assert (await engine.record("taken")).run == before
    await taken.terminate()
    await (await engine.client.start(starts_others, ["taken"])).result(timeout=20)
    assert (await engine.status("taken", Status.RUNNING)).run != before, "one that has ended is replaced"
