"""How waits end: by notifications, and by the slow look behind them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import msgspec
import pytest

from tenuto.broker.memory import MemoryBroker
from tenuto.broker.protocol import Outgoing
from tenuto.client import WorkflowHandle
from tenuto.core.events import Failure
from tenuto.core.status import Status
from tenuto.errors import (
    AlreadyExistsError,
    NotFoundError,
    PayloadError,
    SchemaError,
    StoreUnavailableError,
    UsageError,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from tenuto.sealing import Sealer
from tenuto.shelf import Shelf
from tenuto.store.protocol import Store
from tests.unit.client.engine import OFTEN, DeadBroker, Engine, until


async def test_a_failure_tells_how(running: Engine) -> None:
    failure = Failure(type="ValueError", message="no stock", stack="…")
    async with running.client() as client:
        handle = await client.start("w", instance_id="one")
        await running.owner.end("one", status=Status.FAILED, failure=msgspec.json.encode(failure))
        with pytest.raises(WorkflowFailedError, match="'one' failed: ValueError: no stock") as caught:
            await handle.result()
        assert caught.value.failure == failure
        assert (await handle.status()).failure == failure


async def test_a_termination_tells_why(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w", instance_id="one")
        assert await handle.terminate({"left": 1}, "not wanted")
        with pytest.raises(WorkflowTerminatedError, match="'one' was terminated: not wanted"):
            await handle.result()
        assert (await handle.status()).output == {"left": 1}


async def test_a_result_that_does_not_fit_is_an_error(running: Engine) -> None:
    async with running.client() as client:
        await client.start("w", instance_id="one")
        await running.owner.end("one", output=b'"text"')
        handle: WorkflowHandle[int] = WorkflowHandle(
            client.get("one")._transport,
            client.get("one")._target,
            int,
            max_payload_bytes=100,
            sealer=Sealer(),
            shelf=Shelf(),
        )
        with pytest.raises(PayloadError):
            await handle.result()


async def test_a_result_that_takes_too_long(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w", instance_id="one")
        with pytest.raises(TimeoutError, match=r"'one' has not ended within 0\.01 s"):
            await handle.result(timeout=0.01)


async def test_whoever_did_not_start_it_watches_it(running: Engine) -> None:
    async with running.client() as client, running.client() as other:
        await client.start("w", instance_id="one")
        handle = other.get("one")
        await handle.started()
        result = asyncio.create_task(handle.result())

        async def watched() -> bool:
            return len(running.owner.watches) == 2

        await until(watched)
        await running.owner.end("one", output=b"7")
        assert await result == 7


async def test_an_instance_that_is_not_there(running: Engine) -> None:
    async with running.client() as client:
        handle = client.get("nobody")
        for call in (handle.result(), handle.started(), handle.status(), handle.history()):
            with pytest.raises(NotFoundError, match="no instance 'nobody': it was never started"):
                await call


async def test_waiting_for_a_purged_instance(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        await running.owner.end(handle.instance_id)
        await handle.purge()
        with pytest.raises(NotFoundError, match="or it has been purged"):
            await handle.result()


async def test_notifications_go_on_after_the_connection_was_lost(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        result = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        running.server.drop_connection(running.client_broker)
        # Only a notification through the queue that was declared again can end these.
        await client.start("w")
        await running.owner.end(handle.instance_id, output=b"1")
        assert await result == 1


async def test_what_was_missed_while_the_connection_was_lost_is_looked_up(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        result = asyncio.create_task(handle.result())
        running.server.stop()
        running.owner.silent = True
        await running.owner.end(handle.instance_id, output=b"1")
        assert not result.done()
        running.server.start()
        assert await result == 1


@pytest.mark.parametrize("opened", [False, True])
async def test_without_a_broker_everything_works_more_slowly(
    running: Engine, caplog: pytest.LogCaptureFixture, *, opened: bool
) -> None:
    """The letters' owner looks by itself; nobody rings, nobody notifies."""
    caplog.set_level(logging.WARNING, logger="tenuto.client")
    broker: Any = DeadBroker()
    client = running.client(poll=OFTEN, broker=broker)
    transport: Any = client._transport
    transport._link._owned = not opened  # given objects are taken to be open; this one never is
    async with client:
        starting = asyncio.create_task(client.start("w", instance_id="one"))
        await until(lambda: _delivered(running))
        await running.owner.work()
        handle = await starting
        result = asyncio.create_task(handle.result())
        await running.owner.end("one", output=b"9")
        assert await result == 9
    warnings = [record.getMessage() for record in caplog.records]
    assert len([text for text in warnings if "nobody at broker.example" in text or "not open" in text]) == 1


async def _delivered(running: Engine) -> bool:
    return bool(await running.spy.inner.inbox(range(running.owner.partitions), limit=1))


async def test_the_slow_look_asks_for_everybody_at_once(running: Engine) -> None:
    running.owner.silent = True
    async with running.client(poll=OFTEN) as client:
        handles = await asyncio.gather(*(client.start("w") for _ in range(50)))
        running.spy.calls.clear()
        running.spy.arguments.clear()
        results = [asyncio.create_task(handle.result()) for handle in handles]

        async def looked() -> bool:
            return running.spy.calls["instances"] >= 3

        await until(looked)
        assert [len(asked) for asked in running.spy.arguments["instances"]] == [50, 50, 50]
        for handle in handles:
            await running.owner.end(handle.instance_id, output=b"1")
        assert await asyncio.gather(*results) == [1] * 50


async def test_requests_are_looked_for_together_too(running: Engine) -> None:
    running.owner.silent = True
    async with running.client(poll=OFTEN) as client:
        running.owner.pause()
        starts = [asyncio.create_task(client.start("w")) for _ in range(30)]

        async def looked() -> bool:
            return (
                len(running.spy.arguments["waiting"]) > 1 and len(running.spy.arguments["waiting"][-1]) == 30
            )

        await until(looked)
        await running.owner.work()
        await asyncio.gather(*starts)


async def test_waits_survive_a_database_that_is_away(
    running: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with running.client(poll=OFTEN) as client:
        handle = await client.start("w")
        away = True
        tries = 0
        inner = running.spy.inner

        class Flaky:
            def __getattr__(self, verb: str) -> Any:
                async def instances(ids: Any) -> Any:
                    nonlocal tries
                    tries += 1
                    if away:
                        raise StoreUnavailableError("nobody at db.example:5432")
                    return await inner.instances(ids)

                return instances if verb == "instances" else getattr(inner, verb)

        running.spy.inner = cast("Store", Flaky())
        result = asyncio.create_task(handle.result())

        async def tried() -> bool:
            return tries >= 3

        await until(tried)
        assert not result.done()
        away = False
        running.spy.inner = inner
        await running.owner.end(handle.instance_id, output=b"1")
        assert await result == 1
    assert caplog.text.count("nobody at db.example") == 1


async def test_any_other_error_of_a_look_reaches_those_who_wait(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")

        class Broken:
            def __getattr__(self, verb: str) -> Any:
                async def fail(*_: Any) -> None:
                    raise SchemaError("run `tenuto db upgrade`")

                return fail

        running.spy.inner = cast("Store", Broken())
        with pytest.raises(SchemaError):
            await handle.result()


async def test_closing_the_client_ends_its_waits(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        result = asyncio.create_task(handle.result())
        await running.spy.entered["instances"].wait()
    with pytest.raises(UsageError, match="closed while this call waited"):
        await result
    await client.close()


async def test_a_closed_client_leaves_nothing_on_a_broker_that_stays(running: Engine) -> None:
    async with running.client(new_id=iter("abcdefgh").__next__) as client:
        await client.start("w")
        assert await running.client_broker.inspect("tenuto.notices.a")
    assert await running.client_broker.inspect("tenuto.notices.a") is None


async def test_rubbish_on_the_notification_queue_is_dropped_and_acknowledged(running: Engine) -> None:
    async with running.client(new_id=iter("abcdefghijkl").__next__) as client:
        await client.start("w")
        stranger = MemoryBroker(running.server)
        await stranger.open()
        await stranger.publish(
            [Outgoing(queue="tenuto.notices.a", body=b"{")] * 1200
        )  # more than are prefetched
        await stranger.close()
        await client.start("w")  # its notification comes after the rubbish


async def test_how_it_ended_is_told_whatever_the_end(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w", instance_id="one")
        assert (await handle.started()).status is Status.RUNNING
        await running.owner.end("one", status=Status.FAILED)
        assert (await handle.ended()).status is Status.FAILED


async def test_a_change_is_waited_for_by_revision(running: Engine) -> None:
    async with running.client(poll=OFTEN) as client:
        handle = await client.start("w", instance_id="one")
        before = await handle.status()
        assert (await handle.status()).revision == before.revision
        change = asyncio.create_task(handle.changed(before.revision))
        with pytest.raises(TimeoutError, match=r"'one' has not changed within 0\.01 s"):
            await handle.changed(before.revision, timeout=0.01)
        await handle.suspend("lunch")
        after = await change
        assert (after.status, after.reason) == (Status.SUSPENDED, "lunch")
        assert after.revision != before.revision
        await handle.purge(force=True)
        with pytest.raises(NotFoundError, match="purged"):
            await handle.changed(after.revision)


async def test_a_handle_of_another_process_stands_for_the_same_start(running: Engine) -> None:
    """Also for a start that nobody has waited for: the other handle learns that it was refused."""
    async with running.client() as client, running.client(poll=OFTEN) as other:
        await client.start("w", instance_id="one")
        refused = await client.start("w", instance_id="one", wait=False)
        with pytest.raises(AlreadyExistsError):
            await other.attach(refused.target).started()
