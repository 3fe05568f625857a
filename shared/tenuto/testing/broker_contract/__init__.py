"""The suite that every `Broker` must pass. It needs pytest and pytest-asyncio.

Derive a class whose name begins with `Test` and give it the `make` fixture:

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def make(self) -> BrokerFactory:
            return lambda options: MyBroker.from_url("my://localhost", options)

All brokers that `make` gives are clients of one server. Override `prefix` where queues must be cleaned up by name, and
`queue_type` for a server that has no quorum queues.
"""

from tenuto.testing.broker_contract.administration import AdministrationContract
from tenuto.testing.broker_contract.base import BrokerFactory, Consumer, bodies, numbered, until_inspected
from tenuto.testing.broker_contract.consuming import ConsumingContract
from tenuto.testing.broker_contract.ending import EndingContract
from tenuto.testing.broker_contract.publishing import PublishingContract

__all__ = ["BrokerContract", "BrokerFactory", "Consumer", "bodies", "numbered", "until_inspected"]


class BrokerContract(PublishingContract, ConsumingContract, EndingContract, AdministrationContract):
    """The whole suite."""
