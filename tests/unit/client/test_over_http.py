"""The client over HTTP: the same tests as through the database, and what only broken connections can show."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tenuto.client import Client
from tenuto.client.remote import HttpTransport, http_client
from tenuto.codecs import Compression
from tenuto.core.letters import Raise
from tenuto.core.status import Status
from tenuto.errors import AlreadyExistsError, GatewayError, NotFoundError, SettingsError, UsageError
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

    def __init__(self, inner: Client, settings: ClientSettings, **options: Any) -> None:
        self._inner = inner
        app, _ = make_app(inner, GatewaySettings(poll_interval=settings.poll_interval, http_max_wait=3600.0))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8420")
        super().__init__(settings, transport=HttpTransport(settings, http=http), **options)

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
