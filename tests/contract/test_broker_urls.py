"""From a URL to a broker, and what is said when there is no way."""

from __future__ import annotations

import pytest

from tenuto.broker import Broker, BrokerOptions, make_broker
from tenuto.broker.memory import MemoryBroker
from tenuto.broker.rabbitmq import RabbitBroker
from tenuto.broker.rabbitmq.address import Address
from tenuto.errors import BrokerUnavailableError, SettingsError

OPTIONS = BrokerOptions(heartbeat=7)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryBroker),
        ("amqp://guest:guest@localhost/", RabbitBroker),
        ("amqps://guest:guest@localhost", RabbitBroker),
        ("AMQP://localhost", RabbitBroker),
    ],
)
def test_the_scheme_chooses(url: str, kind: type[Broker]) -> None:
    broker = make_broker(url, name="test")
    assert isinstance(broker, kind)
    assert isinstance(broker, Broker)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"kafka://.*amqp://.*memory://"):
        make_broker("kafka://localhost")


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "",
        "memory://name",
        "amqp://",
        "amqp://:secret@",
        "amqp://user:secret@host:port/",
        "amqp://user:secret@host:99999/",
        "amqp://user:secret@host/?heartbeat=60",
        "amqp://user:secret@host/?heartbeat=soon",
        "amqp://user:secret@host/?heartbeat=0",
    ],
)
def test_a_malformed_url_is_a_settings_error_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_broker(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where", "virtual_host"),
    [
        ("amqp://u:secret@broker", "broker:5672", "/"),
        ("amqp://u:secret@broker/", "broker:5672", "/"),
        ("amqps://u:secret@broker/orders", "broker:5671", "orders"),
        ("amqp://u:secret@broker:1234/%2Forders", "broker:1234", "/orders"),
    ],
)
def test_an_address(url: str, where: str, virtual_host: str) -> None:
    address = Address.parse(url, OPTIONS)
    assert (address.where, address.virtual_host) == (where, virtual_host)
    assert address.url.query["heartbeat"] == "7"


def test_the_urls_own_heartbeat_wins() -> None:
    assert Address.parse("amqp://broker/?heartbeat=3", OPTIONS).url.query["heartbeat"] == "3"


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    broker = make_broker("amqp://user:secret@127.0.0.1:1/", connect_timeout=0.2)
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 .*0\.2 s") as caught:
        await broker.open()
    assert "secret" not in str(caught.value)
    await broker.close()
