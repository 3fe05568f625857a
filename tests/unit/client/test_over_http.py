"""The client over HTTP: the same tests as through the database, and what only broken connections can show."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tenuto.client import BulkResult, Client, InstanceFilter, bulk_verbs
from tenuto.client.remote import HttpTransport, http_client
from tenuto.codecs import Compression
from tenuto.core.events import EventRaised, ExecutionStarted, encode_events
from tenuto.core.letters import Raise
from tenuto.core.status import Status
from tenuto.errors import (
    AlreadyExistsError,
    GatewayError,
    InstanceOverError,
    NotFoundError,
    SettingsError,
    UsageError,
)
from tenuto.payloads import NULL
from tenuto.settings import ClientSettings, GatewaySettings
from tenuto_gateway.http.app import make_app
from tenuto_gateway.http.callers import Scope, new_token
from tenuto_gateway.http.server import Gateway
from tests.unit.client import test_listing, test_queues, test_start, test_verbs, test_waiting
from tests.unit.client.engine import OFTEN, Engine, engine, until

ONLY_DIRECT = {
    *("test_a_broker_that_is_away_cannot_be_asked",),
    *(
        "test_a_client_that_is_not_open_says_so",
        "test_an_unknown_workflow_is_refused_with_those_that_are_known",
    ),
    *("test_without_any_orchestrator_alive_every_name_is_accepted", "test_ids_come_from_whoever_gives_them"),
    *("test_a_database_that_no_orchestrator_has_ever_seen_is_a_clear_error",),
    *("test_starts_at_the_same_time_are_written_together", "test_the_wait_is_over_by_notification_alone"),
    *("test_refusals_at_the_same_time_cost_one_or_two_looks", "test_a_repetition_waits_for_the_first_start"),
    *(
        "test_there_are_none_before_the_first_orchestrator",
        "test_a_message_id_does_not_go_with_a_transaction",
    ),
    *("test_notifications_go_on_after_the_connection_was_lost", "test_whoever_did_not_start_it_watches_it"),
    *("test_what_was_missed_while_the_connection_was_lost_is_looked_up",),
    *("test_without_a_broker_everything_works_more_slowly", "test_a_result_that_does_not_fit_is_an_error"),
    *("test_the_slow_look_asks_for_everybody_at_once", "test_requests_are_looked_for_together_too"),
    *("test_waits_survive_a_database_that_is_away", "test_any_other_error_of_a_look_reaches_those_who_wait"),
    *("test_a_closed_client_leaves_nothing_on_a_broker_that_stays",),
    *("test_rubbish_on_the_notification_queue_is_dropped_and_acknowledged",),
}
"""Tests that look into the direct transport, or need an engine of their own."""

learning = test_verbs.learning
for module in (test_listing, test_queues, test_start, test_verbs, test_waiting):
    for name, test in vars(module).items():
        if name.startswith("test_") and name not in ONLY_DIRECT:
            globals()[name] = test


class OverHttp(Client):
    """A client whose gateway is in this process, over a client of its own."""

    def __init__(
        self, inner: Client, settings: ClientSettings, *, max_wait: float = 3600.0, **options: Any
    ) -> None:
        self._inner = inner
        self.asked: list[str] = []
        app, _ = make_app(
            inner, GatewaySettings(poll_interval=settings.poll_interval, http_max_wait=max_wait)
        )
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://127.0.0.1:8420",
            event_hooks={"request": [self._note]},
        )
        super().__init__(settings, transport=HttpTransport(settings, http=http), **options)

    async def _note(self, request: httpx.Request) -> None:
        self.asked.append(f"{request.method} {request.url.path}")

    async def open(self) -> None:
        await self._inner.open()
        await super().open()

    async def close(self) -> None:
        await super().close()
        await self._inner.close()


class HttpEngine(Engine):
    """An engine whose clients go over HTTP."""

    def client(self, *, poll: float = 3600.0, request_timeout: float = 3600.0, **options: Any) -> Client:
        settings = self.settings.model_copy(
            update={"poll_interval": poll, "request_timeout": request_timeout}
        )
        inner = super().client(poll=poll, request_timeout=request_timeout)
        return OverHttp(inner, settings, **options)


@pytest.fixture
async def running() -> AsyncIterator[Engine]:
    async with engine() as made:
        yield HttpEngine(**vars(made))


def settings_of(gateway: Gateway, **values: Any) -> ClientSettings:
    return ClientSettings(api_url=gateway.url, **values)


async def test_a_client_that_loses_its_connection_in_wait_goes_on(
    running: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="tenuto.client")
    async with Engine.client(running) as inner:
        first = Gateway(inner, GatewaySettings(http_port=0))
        await first.start()
        async with Client(settings_of(first)) as client:
            handle = await client.start("w", instance_id="one")
            result = asyncio.create_task(handle.result())
            await running.spy.entered["instances"].wait()
            await first.stop()

            async def noticed() -> bool:
                return "the client keeps waiting" in caplog.text

            await until(noticed)
            assert not result.done()
            await running.owner.end("one", output=b"7")
            port = int(first.url.rpartition(":")[2])
            second = Gateway(inner, GatewaySettings(http_port=port))
            await second.start()
            assert await result == 7
            await second.stop()
    assert caplog.text.count("the client keeps waiting") == 1


async def test_a_broken_connection_says_what_is_not_known(running: Engine) -> None:
    async with Engine.client(running) as inner:
        gateway = Gateway(inner, GatewaySettings(http_port=0))
        await gateway.start()
        async with Client(settings_of(gateway)) as client:
            handle = await client.start("w", instance_id="one")
            await gateway.stop()
            with pytest.raises(GatewayError, match="whether the request was carried out is not known"):
                await handle.suspend()
            with pytest.raises(GatewayError, match=r"cannot be reached .*\)\.$"):
                await handle.status()
            with pytest.raises(TimeoutError, match="'one' has not ended within"):
                await handle.result(timeout=0.05)


async def test_the_token_goes_along_and_is_never_shown(running: Engine) -> None:
    token, line = new_token("ada", Scope.READ)
    async with Engine.client(running) as inner:
        gateway = Gateway(inner, GatewaySettings(http_port=0, http_tokens=line))
        await gateway.start()
        settings = settings_of(gateway, api_token=token)
        assert token not in repr(settings)
        async with Client(settings) as client:
            assert [one async for one in client.list()] == []
            with pytest.raises(UsageError, match="ada has the scope read; this needs operate"):
                await client.start("w")
        async with Client(settings_of(gateway)) as stranger:
            with pytest.raises(SettingsError, match="set TENUTO_API_TOKEN"):
                await stranger.get("one").status()
        await gateway.stop()


@pytest.mark.parametrize("token", ["s3\r\ncret", "s3cr\u00e9t", " \n"])
def test_what_can_be_no_token_is_refused_without_being_told(token: str) -> None:
    with pytest.raises(SettingsError, match="TENUTO_API_TOKEN") as caught:
        http_client(ClientSettings(api_url="http://gateway.example", api_token=token))
    assert "s3" not in str(caught.value)


async def test_space_around_a_token_is_left_out() -> None:
    settings = ClientSettings(api_url="http://gateway.example", api_token=" s3cret\n")
    async with http_client(settings) as http:
        assert http.headers["authorization"] == "Bearer s3cret"


async def test_a_header_that_is_none_is_not_quoted() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer s3cret '")

    http = httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://gateway.example")
    transport = HttpTransport(ClientSettings(api_url="http://gateway.example"), http=http)
    with pytest.raises(GatewayError) as caught:
        await transport.status("one")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    await transport.close()


async def test_what_is_no_gateway_is_a_clear_error() -> None:
    settings = ClientSettings(api_url="http://proxy.example")
    for status, words in ((200, "cannot be understood"), (502, "is no Tenuto gateway")):
        nonsense = httpx.Response(status, text="<html>hello</html>")
        mock = httpx.MockTransport(lambda _request, nonsense=nonsense: nonsense)
        http = httpx.AsyncClient(transport=mock, base_url="http://proxy.example")
        transport = HttpTransport(settings, http=http)
        with pytest.raises(GatewayError, match=words):
            await transport.status("one")
        await transport.close()
    with pytest.raises(SettingsError, match="not of the form"):
        http_client(ClientSettings(api_url="proxy.example"))


async def test_ids_that_need_care_in_a_path(running: Engine) -> None:
    async with running.client() as client:
        for instance in ("..", ".", "a/../b", "%2e%2e", "?#", "\u00e9 \U0001f600"):
            handle = await client.start("w", instance_id=instance)
            assert (await handle.status()).instance_id == instance
            await handle.raise_event("a/b?c")
            await handle.terminate()
            assert (await handle.ended()).status is Status.TERMINATED


async def test_a_start_in_a_transaction_needs_the_database(running: Engine) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match="within your own transaction"):
            await client.start("w", connection=object())
        await client.get("one").ring()


async def test_a_refused_start_that_nobody_waited_for(running: Engine) -> None:
    async with running.client(poll=OFTEN) as client:
        await client.start("w", instance_id="one")
        handle = await client.start("w", instance_id="one", wait=False)
        with pytest.raises(AlreadyExistsError):
            await handle.result()
        with pytest.raises(NotFoundError):
            await client.get("two").result()


async def test_sealing_is_left_to_the_gateway() -> None:
    with pytest.raises(SettingsError, match="leaves it to the gateway to seal"):
        Client(ClientSettings(api_url="http://gateway.example"), codecs=[Compression()])


async def test_an_event_of_one_message_id_arrives_once(running: Engine) -> None:
    async with running.client(poll=OFTEN) as client:
        handle = await client.start("w", instance_id="one")
        for _ in range(2):
            await handle.raise_event("paid", 7, message_id="m 1")
        raised = [letter for letter in running.owner.letters if isinstance(letter, Raise)]
    assert [letter.name for letter in raised] == ["paid"]


IMPATIENT = 0.01
"""Seconds that a gateway waits which hands back whoever waits, again and again."""


@asynccontextmanager
async def pausing(running: Engine) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """An owner that takes no letters; within the block, what lets it work once the client asks for the nth time."""
    async with asyncio.TaskGroup() as tasks:
        running.owner.pause()

        async def after(polls: int) -> None:
            async def asked() -> bool:
                return running.spy.calls["waiting"] >= polls

            async def work() -> None:
                await until(asked)
                await running.owner.work()

            running.spy.calls.clear()
            tasks.create_task(work())

        yield after


async def test_requests_are_waited_for_longer_than_the_gateway_waits(running: Engine) -> None:
    """By further long polls, without a lost wake-up: nothing here looks but the polls."""
    async with running.client(max_wait=IMPATIENT) as client, pausing(running) as after:
        await after(2)
        handle = await client.start("w", instance_id="one")
        assert (await handle.status()).status is Status.RUNNING
        await after(2)
        await handle.suspend("lunch")
        assert (await handle.status()).reason == "lunch"
        await after(2)
        await handle.raise_event("go", 1, message_id="m1")
        await after(2)
        assert await handle.terminate(reason="enough")
        await after(2)
        assert await handle.purge() == 1
        with pytest.raises(NotFoundError):
            await handle.status()


async def test_a_refusal_that_came_between_two_polls_is_told(running: Engine) -> None:
    async with running.client(max_wait=IMPATIENT) as client:
        handle = await client.start("w", instance_id="one")
        async with pausing(running) as after:
            await after(2)
            with pytest.raises(AlreadyExistsError):
                await client.start("w", instance_id="one")
            await running.owner.end("one")
            await after(2)
            with pytest.raises(InstanceOverError):
                await handle.suspend()
            await after(2)
            assert not await handle.terminate()


async def test_what_takes_too_long_for_the_client_too_is_a_timeout(running: Engine) -> None:
    async with running.client(max_wait=IMPATIENT) as client:
        handle = await client.start("w", instance_id="one")
        running.owner.pause()
        with pytest.raises(TimeoutError, match=r"Suspend for instance 'one' .* within 0.05 s\. It is stored"):
            await handle.suspend(timeout=0.05)
        with pytest.raises(TimeoutError, match="The start of instance 'two' was not dealt with"):
            await client.start("w", instance_id="two", timeout=0.05)
        with pytest.raises(TimeoutError, match="Purge for instance 'one'"):
            await handle.purge(timeout=0.05)
        with pytest.raises(TimeoutError, match=r"Suspend for 1 instances .* repeat it"):
            await client.suspend_all(InstanceFilter(), timeout=0.05)


async def test_a_result_is_waited_for_longer_than_the_gateway_waits(running: Engine) -> None:
    async with running.client(max_wait=IMPATIENT) as client:
        handle = await client.start("w", instance_id="one")
        result = asyncio.create_task(handle.result())

        async def asked_again() -> bool:
            assert isinstance(client, OverHttp)
            return sum("/wait" in asked for asked in client.asked) > 2

        await until(asked_again)
        await running.owner.end("one", output=b"7")
        assert await result == 7


async def test_many_are_asked_by_one_request_for_each_page(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not instance by instance."""
    monkeypatch.setattr(bulk_verbs, "_PAGE", 3)
    async with running.client(poll=OFTEN) as client:
        assert isinstance(client, OverHttp)
        for number in range(7):
            await client.start("w", instance_id=f"i{number}", tags={"team": "red"})
        await client.start("w", instance_id="other")
        red = InstanceFilter(tags={"team": "red"})
        client.asked.clear()
        assert await client.suspend_all(red, "lunch") == BulkResult(asked=7)
        assert client.asked == 3 * ["POST /api/v1/bulk/suspend"]
        assert (await client.get("i6").status()).reason == "lunch"
        assert await client.resume_all(red) == BulkResult(asked=7)
        assert await client.terminate_all(red, {"by": "me"}, "enough", wait=False) == BulkResult(asked=7)
        assert (await client.get("i0").ended()).output == {"by": "me"}
        for number in range(7):
            await client.get(f"i{number}").ended()
        assert await client.purge_all(red) == BulkResult(asked=7)
        assert await client.terminate_all(red) == BulkResult(asked=0)
        assert await client.purge_all(InstanceFilter(), force=True) == BulkResult(asked=1)
        assert [one async for one in client.list()] == []


async def test_a_history_is_of_one_generation(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that continues as new between two pages is read from its beginning."""
    monkeypatch.setattr("tenuto.client.remote.looking._HISTORY", 2)
    looks = 0

    async def history(_instance: str) -> list[bytes]:
        nonlocal looks
        looks += 1
        generation = 0 if looks <= 2 else 1
        began = ExecutionStarted(
            workflow="w", input=NULL, seed="s", generation=generation, at=datetime.now(UTC)
        )
        raised = [EventRaised(name=f"{generation}", payload=NULL) for _ in range(4)]
        return [encode_events([began, *raised])]

    async with running.client() as client:
        handle = await client.start("w", instance_id="one")
        monkeypatch.setattr(running.spy.inner, "history", history)
        events = await handle.history()
    assert isinstance(events[0], ExecutionStarted)
    names = {event.name for event in events[1:] if isinstance(event, EventRaised)}
    assert (len(events), names) == (5, {"1"})


async def test_a_gateway_that_lets_nobody_wait_is_not_asked_without_end(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that is about to stop."""
    monkeypatch.setattr("tenuto.client.remote.looking._FIRST_PAUSE", 3600.0)
    async with running.client(max_wait=0.000001) as client:
        assert isinstance(client, OverHttp)
        await client._inner.start("w", instance_id="one")
        handle = client.get("one")
        result = asyncio.create_task(handle.result())
        for _ in range(20):
            await handle.status()
        assert client.asked.count("GET /api/v1/instances/one/wait") == 1
        result.cancel()
