"""RabbitMQ against the suite, with quorum queues and with classic ones."""

from __future__ import annotations

import pytest

from tenuto.broker.rabbitmq import RabbitBroker
from tenuto.testing.broker_contract import BrokerContract, BrokerFactory


class TestRabbitBroker(BrokerContract):
    @pytest.fixture
    def make(self, rabbitmq_url: str) -> BrokerFactory:
        return lambda options: RabbitBroker.from_url(rabbitmq_url, options)

    @pytest.fixture
    def prefix(self, namespace: str) -> str:
        return namespace


class TestRabbitBrokerWithClassicQueues(TestRabbitBroker):
    queue_type = "classic"
