"""Starting workflows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, assert_type

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tenuto.app import App
from tenuto.client import WorkflowHandle
from tenuto.core.letters import Start
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.errors import AlreadyExistsError, NotFoundError, PayloadError, UnknownWorkflowError, UsageError
from tenuto.naming import derived_instance_id
from tests.unit.client.engine import NEVER, OFTEN, Engine, engine, until

app = App("orders")


@dataclass(frozen=True)
class Receipt:
    number: int


@app.workflow
async def fulfil(ctx: Any, order: str) -> Receipt:
    raise NotImplementedError


@app.workflow(name="fulfil-by-yield")
def fulfil_by_yield(ctx: Any, order: str) -> Generator[Any, Any, Receipt]:
    raise NotImplementedError
    yield


async def test_an_id_that_is_tenutos_own_is_refused(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match="as those of locks and schedules do"):
            await client.start(fulfil, "order", instance_id="tenuto.lock:printer")


async def test_the_result_has_the_type_that_the_workflow_returns(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start(fulfil, "order", instance_id="order-17")
        assert_type(handle, WorkflowHandle[Receipt])
        await running.owner.end("order-17", output=b'{"number": 5}')
        assert await handle.result() == Receipt(number=5)


async def test_a_generator_and_a_name_are_workflows_too(running: Engine) -> None:
    async with running.client(app=app) as client:
        generator = await client.start(fulfil_by_yield)
        assert_type(generator, WorkflowHandle[Receipt])
        named = await client.start("fulfil")
        for handle in (generator, named):
            await running.owner.end(handle.instance_id, output=b'{"number": 1}')
            assert await handle.result() == Receipt(number=1)
    assert [letter.workflow for letter in running.owner.letters if isinstance(letter, Start)] == [
        "fulfil-by-yield",
        "fulfil",
    ]


async def test_a_name_that_nothing_is_known_of_gives_plain_json(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("foreign", {"a": [1]}, tags={"customer": "7"}, version="2")
        await running.owner.end(handle.instance_id, output=b'{"number": 1}')
        assert await handle.result() == {"number": 1}
        status = await handle.status()
    assert (status.input, status.tags, status.version) == ({"a": [1]}, {"customer": "7"}, "2")


async def test_a_function_that_is_no_workflow_is_refused(running: Engine) -> None:
    async def stranger(ctx: Any) -> None: ...

    async with running.client() as client:
        with pytest.raises(UsageError, match="stranger is no workflow: decorate it"):
            await client.start(stranger)


async def test_an_unknown_option_is_refused_as_by_any_function(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(TypeError, match="unexpected keyword argument 'instanceid'"):
            await client.start("w", instanceid="x")  # type: ignore[call-overload]  # pyright: ignore  - the mistake


@pytest.mark.parametrize("instance_id", ["", "x" * 257, "a\nb", "a\x00b", "\ud800", "a\u2028b"])
async def test_ids_that_cannot_be_printed_are_refused(running: Engine, instance_id: str) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match=r"instance id"):
            await client.start("w", instance_id=instance_id)
    assert not running.spy.calls["deliver"]


@pytest.mark.parametrize("instance_id", ["x" * 256, "größe 😀 / \u00a0", "👩‍👩‍👧"])
async def test_other_ids_are_taken(running: Engine, instance_id: str) -> None:
    async with running.client() as client:
        handle = await client.start("w", instance_id=instance_id)
        assert (await handle.status()).instance_id == instance_id


async def test_an_input_that_cannot_become_json_is_refused(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(PayloadError):
            await client.start("w", object())


@pytest.mark.semantics("An unknown workflow name")
async def test_an_unknown_workflow_is_refused_with_those_that_are_known() -> None:
    async with engine(workflows={"beta": [], "alpha": []}) as running, running.client() as client:
        with pytest.raises(UnknownWorkflowError, match=re.escape("'gamma'; they serve: alpha, beta.")):
            await client.start("gamma")
        for _ in range(3):
            await client.start("alpha")
        assert running.spy.calls["members"] == 1


async def test_without_any_orchestrator_alive_every_name_is_accepted(running: Engine) -> None:
    async with running.client() as client:
        assert (await client.start("anything")).instance_id


async def test_a_database_that_no_orchestrator_has_ever_seen_is_a_clear_error() -> None:
    async with engine(start=False) as running, running.client() as client:
        with pytest.raises(UsageError, match="run `tenuto orchestrator module:app`"):
            await client.start("w")


async def test_a_client_that_is_not_open_says_so(running: Engine) -> None:
    client = running.client()
    with pytest.raises(UsageError, match="async with"):
        await client.start("w")
    with pytest.raises(UsageError, match="async with"):
        client.get("w")


async def test_starting_an_id_twice(running: Engine) -> None:
    ignore = ReusePolicy(action=ReuseAction.IGNORE, statuses=frozenset(Status))
    async with running.client() as client:
        first = await client.start("w", instance_id="one")
        with pytest.raises(AlreadyExistsError, match="'one' exists and is RUNNING"):
            await client.start("w", instance_id="one")
        same = await client.start("w", instance_id="one", reuse=ignore)
        await running.owner.end("one", output=b"1")
        assert (await first.result(), await same.result()) == (1, 1)
        again = await client.start("w", instance_id="one", reuse=ignore)
        assert await again.result() == 1
        replaced = await client.start("w", instance_id="one")
        await running.owner.end("one", output=b"2")
        assert await replaced.result() == 2
        with pytest.raises(NotFoundError, match="another has taken its place"):
            await first.result()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_start_whose_notification_is_lost_is_found_by_its_run(
    running: Engine, *, taken: bool
) -> None:
    running.owner.silent = True
    async with running.client(poll=OFTEN) as client:
        if taken:
            await client.start("w", instance_id="one")
            with pytest.raises(AlreadyExistsError, match="exists and is RUNNING"):
                await client.start("w", instance_id="one")
        else:
            handle = await client.start("w", instance_id="one")
            assert (await handle.status()).status is Status.RUNNING


async def test_a_start_that_is_not_waited_for_is_settled_by_its_handle(running: Engine) -> None:
    async with running.client() as client:
        running.owner.pause()
        first = await client.start("w", instance_id="one", wait=False)
        second = await client.start("w", instance_id="one", wait=False)
        assert not running.owner.letters
        waits = [asyncio.create_task(handle.result()) for handle in (first, second)]
        await asyncio.wait(waits, timeout=0)
        await running.spy.entered["waiting"].wait()  # both are being waited for
        await running.owner.work()
        await running.owner.end("one", output=b"3")
        assert await waits[0] == 3
        with pytest.raises(AlreadyExistsError):
            await waits[1]
        assert await first.result() == 3
        with pytest.raises(AlreadyExistsError):
            await second.started()


async def test_a_start_that_takes_too_long_is_carried_out_all_the_same(running: Engine) -> None:
    async with running.client() as client:
        running.owner.pause()
        with pytest.raises(
            TimeoutError, match=r"'one' was not dealt with within 0\.01 s. It is stored and will be"
        ):
            await client.start("w", instance_id="one", timeout=0.01)
        await running.owner.work()
        assert (await client.get("one").status()).status is Status.RUNNING


@pytest.mark.semantics("message_id")
async def test_a_message_id_makes_a_start_idempotent(running: Engine) -> None:
    async with running.client() as client:
        first = await client.start("w", message_id="m-1")
        assert first.instance_id == derived_instance_id("m-1")
        second = await client.start("w", message_id="m-1")
        await running.owner.end(first.instance_id, output=b"4")
        third = await client.start("w", message_id="m-1")
        assert [await handle.result() for handle in (first, second, third)] == [4, 4, 4]
    assert len(running.owner.letters) == 1


async def test_a_repetition_waits_for_the_first_start(running: Engine) -> None:
    async with running.client() as client, running.client(poll=OFTEN) as other:
        running.owner.pause()
        handle = await client.start("w", message_id="m", wait=False)
        repetition = asyncio.create_task(other.start("w", message_id="m"))

        async def looked_twice() -> bool:
            return running.spy.calls["waiting"] > 1

        await until(looked_twice)
        assert not repetition.done()
        await running.owner.work()
        assert (await repetition).instance_id == handle.instance_id


async def test_a_message_id_does_not_go_with_a_transaction(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match="takes no message_id"):
            await client.start("w", message_id="m", connection=object())


@pytest.mark.semantics("Ids")
async def test_ids_come_from_whoever_gives_them(running: Engine) -> None:
    numbers = iter(range(100))
    async with running.client(new_id=lambda: f"id-{next(numbers)}") as client:
        handle = await client.start("w")
        assert handle.instance_id.startswith("id-")


async def test_the_trace_of_the_caller_goes_along(running: Engine) -> None:
    context = SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    async with running.client() as client:
        with use_span(NonRecordingSpan(context)):
            handle = await client.start("w")
        assert (await handle.status()).trace_id == f"{0xABC:032x}"
        assert (await (await client.start("w")).status()).trace_id is None


async def test_starts_at_the_same_time_are_written_together(running: Engine) -> None:
    async with running.client() as client:
        await client.start("w")  # whatever is looked up once has been
        gate = running.spy.gates["deliver"] = asyncio.Event()
        running.spy.calls.clear()
        running.spy.entered["deliver"].clear()
        first = asyncio.create_task(client.start("w"))
        await running.spy.entered["deliver"].wait()
        bells = running.owner.bells
        others = [asyncio.create_task(client.start("w")) for _ in range(100)]
        letters = client._transport._letters  # type: ignore[attr-defined]

        async def all_wait() -> bool:  # for the database; some look once more who serves the workflow
            return len(letters._waiting) == len(others)

        await until(all_wait)
        gate.set()
        await asyncio.gather(first, *others)
        assert running.spy.calls["deliver"] == 2
        assert len(running.spy.arguments["deliver"][-1]) == 100
        # One bell for a partition and delivery at the most.
        assert running.owner.bells - bells <= 2 * running.owner.partitions


async def test_the_wait_is_over_by_notification_alone(running: Engine) -> None:
    async with running.client(poll=NEVER) as client:
        handles = await asyncio.gather(*(client.start("w") for _ in range(50)))
        results = [asyncio.create_task(handle.result()) for handle in handles]
        for number, handle in enumerate(handles):
            await running.owner.end(handle.instance_id, output=str(number).encode())
        assert await asyncio.gather(*results) == list(range(50))
    assert not running.owner.watches  # the start itself made the owner watch


async def test_refusals_at_the_same_time_cost_one_or_two_looks() -> None:
    async with engine(workflows={"alpha": []}) as running, running.client() as client:
        starts = [client.start("gamma") for _ in range(20)]
        for refused in await asyncio.gather(*starts, return_exceptions=True):
            assert isinstance(refused, UnknownWorkflowError)
        assert running.spy.calls["members"] <= 2
