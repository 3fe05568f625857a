"""The synchronous client, over a real broker and database."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, assert_type

import pytest

from tenuto.app import App
from tenuto.client import InstanceFilter
from tenuto.client.portal import Portal
from tenuto.client.sync import SyncClient, SyncWorkflowHandle
from tenuto.core.status import Status
from tenuto.errors import AlreadyExistsError, NotFoundError, SchemaError, UsageError
from tenuto.settings import ClientSettings
from tests.unit.client.engine import NEVER, Engine, engine

T = TypeVar("T")

app = App("orders")


@app.workflow
async def fulfil(ctx: Any, order: str) -> int:
    raise NotImplementedError


@pytest.fixture
async def running(postgres_url: str, rabbitmq_url: str, namespace: str) -> AsyncIterator[Engine]:
    settings = ClientSettings(
        database_url=postgres_url,
        broker_url=rabbitmq_url,
        namespace=namespace,
        poll_interval=NEVER,  # what is not notified is never found
        request_timeout=60,
    )
    async with engine(settings) as made:
        yield made


class Script:
    """Synchronous code on a thread, which can have things done on the test's event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def run(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def test_every_verb(running: Engine) -> None:
    script = Script()

    def use() -> None:
        with SyncClient(running.settings) as client:
            handle = client.start(fulfil, "order", instance_id="one", tags={"team": "red"})
            assert_type(handle, SyncWorkflowHandle[int])
            assert handle.instance_id == "one"
            handle.started()
            handle.suspend("lunch")
            assert handle.status().status is Status.SUSPENDED
            handle.resume()
            handle.raise_event("approved", {"by": "Ada"})
            assert handle.history() == []
            script.do(running.owner.end("one", output=b"5"))
            assert_type(handle.result(), int)
            assert handle.result() == 5
            assert client.get("one", fulfil).result() == 5
            assert not handle.terminate()
            assert handle.purge() == 1
            with pytest.raises(NotFoundError):
                client.get("one").status()

    await script.run(use)


async def test_errors_and_listings(running: Engine) -> None:
    def use() -> None:
        with SyncClient(running.settings) as client:
            for number in range(5):
                client.start("w", instance_id=f"i{number}", tags={"odd": str(number % 2)})
            with pytest.raises(AlreadyExistsError):
                client.start("w", instance_id="i1")
            found = client.list(InstanceFilter(tags={"odd": "1"}), page_size=1)
            assert [instance.instance_id for instance in found] == ["i3", "i1"]
            assert len(client.list_page(limit=2).instances) == 2
            with pytest.raises(TypeError, match="instanceid"):
                client.start("w", instanceid="x")  # type: ignore[call-overload]  # pyright: ignore  - the mistake

    await Script().run(use)


async def test_threads_share_a_client(running: Engine) -> None:
    script = Script()
    client = SyncClient(running.settings)  # connects at the first call, whichever thread makes it
    handles = await asyncio.gather(*(script.run(lambda: client.start("w")) for _ in range(8)))
    assert len({handle.instance_id for handle in handles}) == 8
    assert sum(thread.name == "tenuto client" for thread in threading.enumerate()) == 1
    await script.run(client.close)
    await script.run(client.close)
    with pytest.raises(UsageError, match="was closed"):
        handles[0].status()


async def test_a_database_without_tables_is_an_error_at_the_first_call(postgres_url: str) -> None:
    def use() -> None:
        client = SyncClient(ClientSettings(database_url=postgres_url))
        with pytest.raises(SchemaError, match="tenuto db upgrade"):
            client.list_page()
        assert all(thread.name != "tenuto client" for thread in threading.enumerate())

    await Script().run(use)


async def test_a_forked_process_connects_anew(running: Engine) -> None:
    """As servers do that fork their workers after the application was imported."""
    script = Script()
    client = SyncClient(running.settings)
    handle = await script.run(lambda: client.start("w", instance_id="one"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the very case
        pid = os.fork()
    if pid == 0:  # pragma: no cover - the child's coverage is not collected
        try:
            ok = client.get("one").status().status is Status.RUNNING
            try:
                handle.status()
                ok = False
            except UsageError:
                client.close()
            os._exit(0 if ok else 1)
        except BaseException:  # noqa: BLE001 - the child must not return into the test runner
            os._exit(2)
    _, status = await script.run(lambda: os.waitpid(pid, 0))
    assert os.waitstatus_to_exitcode(status) == 0
    assert (await script.run(handle.status)).status is Status.RUNNING
    await script.run(client.close)


def test_an_interrupt_cancels_what_is_waited_for() -> None:
    portal = Portal()
    cancelled = threading.Event()

    async def wait_forever() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # it waits for this coroutine
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    # Where the tests run in the background, SIGINT is ignored, and Python leaves that as it is.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            portal.call(wait_forever())
    finally:
        signal.signal(signal.SIGINT, before)
    assert cancelled.wait(10)
    portal.close()
    portal.close()
